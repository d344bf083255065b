"""Templates that make several pictures, and that are made of parts."""

from __future__ import annotations

from engine.contracts.workflow import Link, Node, Socket, Subgraph
from studio_app.workflows.gallery.drawing import (
    CFG,
    STEPS,
    Drawing,
    checkpoint,
    decode,
    empty,
    negative,
    picture,
    prompt,
    sampler,
    save,
)  # fmt: skip

GROUP = "Several"
FOLDER = "{templates}/pictures"  # where the gallery's own pictures lie; filled in when a template is opened


def prompt_list() -> Drawing:
    d = Drawing(
        "A list of prompts",
        "Each line is a prompt of its own; what follows runs once for each, and the results come together again.",
        GROUP,
    )
    m = checkpoint(d)
    lines = d.add(
        "prompts", "text.split", "One prompt a line", delimiter="\\n",
        text="a red circle on a white background\na blue square on a grey background\n"
                       "a green star on a black background\na yellow heart on a purple background",
    )  # fmt: skip
    d.show(lines, "text", "Prompts", "One for each line")
    p = prompt(d, "prompt", m.clip, lines["texts"])
    made = sampler(d, m.model, p, negative(d, m.clip), empty(d))
    together = d.add("together", "image.batch_list", "Together", images=decode(d, m.vae, made))
    sheet = d.add("grid", "image.grid", "Contact sheet", image=together["image"], columns=2, gap=4, colour="#202020")
    save(d, sheet["image"])
    return d


def xy_grid() -> Drawing:
    d = Drawing(
        "XY grid",
        "Three prompts down, three guidances across: number i of nine takes prompt i // 3 and guidance i % 3.",
        GROUP,
    )
    m = checkpoint(d)
    numbers = d.add("numbers", "utility.range", "0 to 8", count=9, start=0.0, step=1.0)
    row = d.add("row", "maths.expression", "Row", expression="a // 3", a=numbers["items"])
    cfg = d.add(
        "cfg",
        "maths.expression",
        "Guidance of the column",
        expression="b + c * (a % 3)",
        a=numbers["items"],
        b=1.0,
        c=2.0,
    )
    d.show(cfg, "b", "First guidance", group="Across")
    d.show(cfg, "c", "Step", group="Across")
    lines = d.add(
        "prompts", "text.split", "Down", delimiter="\\n",
        text="a house on hills, day\na pine tree on snow, night\na sailboat on the sea, sunset",
    )  # fmt: skip
    d.show(lines, "text", "Prompts down", "Three, one for each line")
    text = d.add("text", "utility.pick", "Prompt of the row", items=lines["texts"], index=row["whole"])
    p = prompt(d, "prompt", m.clip, text["item"])
    made = sampler(d, m.model, p, negative(d, m.clip), empty(d), cfg=cfg["number"], steps=12)
    image = decode(d, m.vae, made)
    name = d.add("name", "text.format", "Name", template="cfg {a:g}", a=cfg["number"])
    label = d.add("label", "image.text_overlay", "Label", image=image, text=name["text"], size=11, colour="#ffffff",
                  place="bottom", margin=3)  # fmt: skip
    together = d.add("together", "image.batch_list", "Together", images=label["image"])
    sheet = d.add("grid", "image.grid", "Grid", image=together["image"], columns=3, gap=2, colour="#000000")
    save(d, sheet["image"])
    return d


def folder_batch() -> Drawing:
    d = Drawing(
        "Batch over a folder",
        "Every picture of a folder is redrawn with one prompt, and saved under a name of its own.",
        GROUP,
    )
    m = checkpoint(d)
    folder = d.add("folder", "image.folder", "Folder", folder=FOLDER, pattern="*.png", limit=8)
    d.show(folder, "folder", "Folder", "The whole path of a folder with pictures")
    d.show(folder, "pattern", "Names", "Such as *.png", advanced=True)
    d.show(folder, "limit", "At most", advanced=True)
    scaled = d.add("scale", "image.scale", "Fit size", image=folder["image"], width=128, height=128, crop="center")
    start = d.add("encode", "latent.encode_image", "Encode", vae=m.vae, image=scaled["image"])
    p = prompt(d, "prompt", m.clip, "snowy mountains at night")
    made = sampler(d, m.model, p, negative(d, m.clip), start["latent"], denoise=0.6, steps=16)
    save(d, decode(d, m.vae, made))
    return d


def seed_travel() -> Drawing:
    d = Drawing(
        "Travel between two seeds",
        "Frames of a short film: the noise goes from one seed to another in even steps, and each frame is sampled "
        "from its own mixture.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "a sailboat on the sea, the sun in the sky, sunrise")
    n, blank = negative(d, m.clip), empty(d)
    ends = []
    for name, seed in (("first", 1), ("last", 2)):
        noise = d.add(
            f"{name}_noise", "latent.noise", f"{name.capitalize()} noise", latent=blank, seed=seed, strength=1.0
        )
        d.show(noise, "seed", f"{name.capitalize()} seed")
        ends.append(noise["latent"])
    frames = d.add("frames", "utility.range", "Frames", count=6, start=1.0, step=-0.2)
    d.show(frames, "count", "Frames", advanced=True)
    mixed = d.add("mix", "latent.interpolate", "Mix", a=ends[0], b=ends[1], ratio=frames["items"])
    sigmas = d.add("sigmas", "sample.schedule", "Noise levels", model=m.model, steps=STEPS, scheduler="simple")
    solver = d.add("solver", "sample.select_sampler", "Solver", sampler="ddim")
    still = d.add("still", "sample.no_noise", "No more noise")
    half = d.add("half", "latent.multiply", "Stronger", latent=mixed["latent"], multiplier=3.8)
    peak = d.add("peak", "latent.multiply", "To the first level", latent=half["latent"], multiplier=3.8)
    guider = d.add("guider", "sample.cfg_guider", "Guider", model=m.model, positive=p, negative=n, cfg=CFG)
    made = d.add(
        "sampler", "sample.custom_advanced", "Sampler", noise=still["noise"], guider=guider["guider"],
        sampler=solver["sampler"], sigmas=sigmas["sigmas"], latent=peak["latent"],
    )  # fmt: skip
    together = d.add("together", "image.batch_list", "Together", images=decode(d, m.vae, made["latent"]))
    sheet = d.add("strip", "image.grid", "Film strip", image=together["image"], columns=3, gap=2, colour="#000000")
    d.add("shown", "image.preview", "Frames", image=together["image"])
    save(d, sheet["image"])
    return d


def subgraph_example() -> Drawing:
    d = Drawing(
        "A node of one's own",
        "Prompt, sampler and decoder as one node, used twice with other words. Open it to see inside; expose more of "
        "its inputs, or keep it in the library.",
        GROUP,
    )
    m = checkpoint(d)
    inner = (
        Node(id="prompt", type="condition.encode_text", title="Prompt", inputs={"text": "a red circle"}),
        Node(id="empty_prompt", type="condition.encode_text", title="No negative", inputs={"text": ""}),
        Node(id="latent", type="latent.empty", title="Size", inputs={"width": 128, "height": 128}),
        Node(
            id="sampler", type="sample.k_sampler", title="Sampler",
            inputs={
                "positive": Link("prompt", "conditioning"), "negative": Link("empty_prompt", "conditioning"),
                "latent": Link("latent", "latent"), "steps": STEPS, "cfg": CFG, "sampler": "ddim",
                "scheduler": "simple",
            },
        ),
        Node(id="decode", type="latent.decode_image", title="Decode", inputs={"latent": Link("sampler", "latent")}),
    )  # fmt: skip
    inputs = (
        Socket(name="model", node="sampler", socket="model"), Socket(name="clip", node="prompt", socket="clip"),
        Socket(name="clip_negative", node="empty_prompt", socket="clip"),
        Socket(name="vae", node="decode", socket="vae"),
        Socket(name="text", node="prompt", socket="text", label="Prompt"),
        Socket(name="seed", node="sampler", socket="seed", label="Seed"),
    )  # fmt: skip
    outputs = (Socket(name="image", node="decode", socket="image"),)
    d.subgraphs.append(
        Subgraph(
            id="draw", name="Draw", description="Words to a picture in one node.", nodes=inner, inputs=inputs,
            outputs=outputs,
        )
    )  # fmt: skip
    sides = []
    for side, text, seed in (("left", "a large green heart on a white background", 1),
                             ("right", "a large purple star on a black background", 2)):  # fmt: skip
        node = d.add(
            f"draw_{side}", "subgraph:draw", f"Draw ({side})", model=m.model, clip=m.clip, clip_negative=m.clip,
            vae=m.vae, text=text, seed=seed,
        )  # fmt: skip
        d.show(node, "text", f"Prompt on the {side}")
        d.show(node, "seed", f"Seed on the {side}", advanced=True)
        sides.append(node["image"])
    both = d.add("stitch", "image.stitch", "Side by side", a=sides[0], b=sides[1], direction="right", spacing=4)
    save(d, both["image"])
    return d


def repeat_refine() -> Drawing:
    d = Drawing(
        "Repeat a part",
        "A subgraph that enlarges and sharpens is run again and again, each turn on what the last one gave.",
        GROUP,
    )
    image = picture(d, "shapes.png")
    inner = (
        Node(id="larger", type="image.scale_by", title="Enlarge", inputs={"factor": 1.25, "method": "lanczos"}),
        Node(
            id="sharpen", type="image.sharpen", title="Sharpen",
            inputs={"image": Link("larger", "image"), "amount": 0.4},
        ),
    )  # fmt: skip
    d.subgraphs.append(
        Subgraph(
            id="step", name="Enlarge and sharpen", nodes=inner,
            inputs=(Socket(name="value", node="larger", socket="image"),),
            outputs=(Socket(name="value", node="sharpen", socket="image"),),
        )
    )  # fmt: skip
    turned = d.add(
        "repeat", "utility.repeat", "Repeat", value=image["image"], subgraph="step", times=3,
        input_name="value", output_name="value",
    )  # fmt: skip
    d.show(turned, "times", "Turns")
    save(d, turned["value"])
    return d
