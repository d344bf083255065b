"""Templates of the first hour: from words, from a picture, and how settings differ."""

from __future__ import annotations

from studio_app.workflows.gallery.drawing import (
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

GROUP = "Basics"


def text_to_picture() -> Drawing:
    d = Drawing(
        "Text to picture",
        "Words become conditioning, noise becomes a latent that follows them, the autoencoder makes pixels of it.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "a house in front of mountains at sunset")
    latent = sampler(d, m.model, p, negative(d, m.clip), empty(d))
    save(d, decode(d, m.vae, latent))
    return d


def variations() -> Drawing:
    d = Drawing(
        "Variations",
        "Four pictures of one prompt in one pass, each with a seed of its own, side by side in a contact sheet.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "a sailboat on the sea, the moon in a starry sky, night")
    latent = sampler(d, m.model, p, negative(d, m.clip), empty(d, count=4), seed=21)
    images = decode(d, m.vae, latent)
    sheet = d.add("grid", "image.grid", "Contact sheet", image=images, columns=2, gap=4, colour="#202020")
    save(d, sheet["image"], title="Save the sheet")
    return d


def picture_to_picture() -> Drawing:
    d = Drawing(
        "Picture to picture",
        "A picture is encoded and partly drowned in noise; what comes back keeps its layout and follows the prompt. "
        "Strength says how much is made anew.",
        GROUP,
    )
    m = checkpoint(d)
    scaled = d.add(
        "scale", "image.scale", "Fit size",
        image=picture(d, "landscape.png")["image"], width=128, height=128, method="lanczos", crop="center",
    )  # fmt: skip
    start = d.add("encode", "latent.encode_image", "Encode", vae=m.vae, image=scaled["image"])
    p = prompt(d, "prompt", m.clip, "a house in front of snowy mountains at night, the moon in the sky")
    latent = sampler(d, m.model, p, negative(d, m.clip), start["latent"], denoise=0.65)
    save(d, decode(d, m.vae, latent))
    return d


def compare_settings() -> Drawing:
    d = Drawing(
        "Compare two settings",
        "The same prompt and seed at weak and at strong guidance, named and laid side by side.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "a large red star on a gradient background")
    n, latent = negative(d, m.clip), empty(d)
    seed = d.add("seed", "utility.seed", "Seed", value=5)
    d.show(seed, "value", "Seed", "Both sides share it")
    sides = []
    for side, cfg in (("left", 1.0), ("right", 5.0)):
        made = sampler(
            d, m.model, p, n, latent, node_id=f"sampler_{side}", title=f"Guidance {cfg:g}", shown=False,
            seed=seed["value"], cfg=cfg,
        )  # fmt: skip
        image = decode(d, m.vae, made, f"decode_{side}")
        label = d.add(f"label_{side}", "image.text_overlay", "Label", image=image, text=f"cfg {cfg:g}", size=12,
                      colour="#ffffff", place="bottom", margin=4)  # fmt: skip
        sides.append(label["image"])
    both = d.add("stitch", "image.stitch", "Side by side", a=sides[0], b=sides[1], direction="right", spacing=4)
    save(d, both["image"])
    return d


def custom_sampling() -> Drawing:
    d = Drawing(
        "Custom sampling",
        "The sampler taken apart: noise, guider, solver and noise levels are nodes, so that each can be exchanged.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "a pine tree on snowy hills, clouds in the sky, day")
    n, latent = negative(d, m.clip), empty(d)
    noise = d.add("noise", "sample.noise", "Noise", seed=11)
    d.show(noise, "seed", "Seed")
    guider = d.add("guider", "sample.cfg_guider", "Guider", model=m.model, positive=p, negative=n, cfg=3.0)
    solver = d.add("solver", "sample.select_sampler", "Solver", sampler="dpmpp_2m")
    sigmas = d.add("sigmas", "sample.schedule", "Noise levels", model=m.model, steps=14, scheduler="karras")
    d.show(sigmas, "steps", "Steps", advanced=True)
    made = d.add(
        "sampler", "sample.custom_advanced", "Sampler", noise=noise["noise"], guider=guider["guider"],
        sampler=solver["sampler"], sigmas=sigmas["sigmas"], latent=latent,
    )  # fmt: skip
    save(d, decode(d, m.vae, made["latent"]))
    return d


def model_patches() -> Drawing:
    d = Drawing(
        "Patches on a model",
        "A model passes through patches before it is sampled: here strong guidance is kept from burning out "
        "(rescaled CFG) and FreeU strengthens the features.",
        GROUP,
    )
    m = checkpoint(d)
    rescaled = d.add("rescale", "model.rescale_cfg", "Rescale CFG", model=m.model, multiplier=0.7)
    d.show(rescaled, "multiplier", "Rescale", "0 leaves guidance as it is")
    freeu = d.add("freeu", "model.freeu", "FreeU", model=rescaled["model"], b1=1.05, b2=1.05, s1=0.95, s2=0.95)
    p = prompt(d, "prompt", m.clip, "a blue heart in the centre on a white background")
    latent = sampler(d, freeu["model"], p, negative(d, m.clip), empty(d), cfg=6.0)
    save(d, decode(d, m.vae, latent))
    return d
