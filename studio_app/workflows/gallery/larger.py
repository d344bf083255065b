"""Templates for larger pictures and for runs in stages."""

from __future__ import annotations

from engine.contracts.workflow import InputValue
from studio_app.workflows.gallery.drawing import (
    CFG,
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

GROUP = "Larger and finer"


def hires_fix() -> Drawing:
    d = Drawing(
        "Hires fix",
        "A picture is made at the model's own size, its latent enlarged, and a second, weaker pass draws the detail.",
        GROUP,
    )
    m = checkpoint(d)
    p = prompt(d, "prompt", m.clip, "a house beside a tree on a field, the sun in the sky, day")
    n = negative(d, m.clip)
    first = sampler(d, m.model, p, n, empty(d))
    larger = d.add("larger", "latent.scale_by", "Enlarge", latent=first, method="bislerp", factor=1.25)
    d.show(larger, "factor", "Enlarge by")
    second = sampler(
        d, m.model, p, n, larger["latent"], node_id="second", title="Second pass", shown=False, denoise=0.1, steps=40
    )
    save(d, decode(d, m.vae, second))
    return d


def tiled_upscale() -> Drawing:
    d = Drawing(
        "Tiled upscale",
        "A picture is enlarged, redrawn a little, and encoded and decoded a tile at a time, so that memory does not "
        "grow with it.",
        GROUP,
    )
    m = checkpoint(d)
    image = picture(d, "landscape.png")["image"]
    larger = d.add("larger", "image.scale_by", "Enlarge", image=image, factor=2.0, method="lanczos")
    d.show(larger, "factor", "Enlarge by")
    start = d.add(
        "encode", "latent.encode_image_tiled", "Encode in tiles", vae=m.vae, image=larger["image"],
        tile_size=128, overlap=32,
    )  # fmt: skip
    p = prompt(d, "prompt", m.clip, "a house in front of mountains at sunset")
    made = sampler(d, m.model, p, negative(d, m.clip), start["latent"], denoise=0.025, steps=40)
    whole = d.add(
        "decode", "latent.decode_image_tiled", "Decode in tiles", vae=m.vae, latent=made, tile_size=128, overlap=32
    )
    save(d, whole["image"])
    return d


def two_stages() -> Drawing:
    d = Drawing(
        "Two stages",
        "Two samplers share one schedule: the first lays out with one prompt and hands its noisy latent on, the "
        "second finishes with another.",
        GROUP,
    )
    m = checkpoint(d)
    first = prompt(d, "prompt", m.clip, "mountains over the sea at dawn", "First prompt")
    second = prompt(d, "second_prompt", m.clip, "mountains over the sea at night, the moon", "Second prompt")
    n, latent = negative(d, m.clip), empty(d)
    steps = d.add("steps", "utility.integer", "Steps", value=20)
    d.show(steps, "value", "Steps", advanced=True)
    half = d.add("half", "maths.expression", "Half of them", expression="a // 2", a=steps["value"])
    common: dict[str, InputValue] = {"cfg": CFG, "sampler": "ddim", "scheduler": "simple"}
    a = d.add(
        "first", "sample.k_sampler_advanced", "First stage", model=m.model, positive=first, negative=n, latent=latent,
        seed=3, steps=steps["value"], end_step=half["whole"], return_with_leftover_noise=True, **common,
    )  # fmt: skip
    d.show(a, "seed", "Seed")
    b = d.add(
        "second", "sample.k_sampler_advanced", "Second stage", model=m.model, positive=second, negative=n,
        latent=a["latent"], add_noise=False, seed=3, steps=steps["value"], start_step=half["whole"], **common,
    )  # fmt: skip
    save(d, decode(d, m.vae, b["latent"]))
    return d
