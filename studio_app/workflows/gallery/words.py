"""Templates of what prompts can do: in places, in parts of a run, by chance, together."""

from __future__ import annotations

from studio_app.workflows.gallery.drawing import (
    STEPS,
    Drawing,
    checkpoint,
    decode,
    empty,
    negative,
    prompt,
    sampler,
    save,
)  # fmt: skip

GROUP = "Prompts"


def regional_prompts() -> Drawing:
    d = Drawing(
        "Regional prompts",
        "Two prompts, each for a half of the picture, over one that holds everywhere.",
        GROUP,
    )
    m = checkpoint(d)
    whole = prompt(d, "everywhere", m.clip, "a picture with a grey background", "Everywhere")
    sides = []
    for side, x, text in (
        ("left", 0.0, "a small red circle on the left on a grey background"),
        ("right", 0.5, "a small yellow star on the right on a grey background"),
    ):
        p = prompt(d, f"prompt_{side}", m.clip, text, f"On the {side}")
        area = d.add(
            f"area_{side}", "condition.set_area_fraction", f"{side.capitalize()} half",
            conditioning=p, x=x, y=0.0, width=0.5, height=1.0, strength=1.5,
        )  # fmt: skip
        sides.append(area["conditioning"])
    both = d.add("both", "condition.combine", "Both halves", a=sides[0], b=sides[1])
    every = d.add("all", "condition.combine", "With the whole", a=whole, b=both["conditioning"])
    latent = sampler(d, m.model, every["conditioning"], negative(d, m.clip), empty(d))
    save(d, decode(d, m.vae, latent))
    return d


def masked_prompts() -> Drawing:
    d = Drawing(
        "Prompts by mask",
        "One prompt holds where a mask is white, another where it is black; the border is soft.",
        GROUP,
    )
    m = checkpoint(d)
    ramp = d.add(
        "shape", "mask.rectangle", "Shape", width=128, height=128, x=0, y=64, rectangle_width=128, rectangle_height=64
    )
    soft = d.add("soften", "mask.blur", "Soften", mask=ramp["mask"])
    other = d.add("other", "mask.invert", "The rest", mask=soft["mask"])
    below = prompt(d, "prompt_below", m.clip, "a boat on the sea", "Below")
    above = prompt(d, "prompt_above", m.clip, "snowy mountains, sunset sky", "Above")
    a = d.add("mask_below", "condition.set_mask", "Below", conditioning=below, mask=soft["mask"])
    b = d.add("mask_above", "condition.set_mask", "Above", conditioning=above, mask=other["mask"])
    both = d.add("both", "condition.combine", "Both", a=a["conditioning"], b=b["conditioning"])
    latent = sampler(d, m.model, both["conditioning"], negative(d, m.clip), empty(d))
    save(d, decode(d, m.vae, latent))
    return d


def prompt_schedule() -> Drawing:
    d = Drawing(
        "Prompt schedule",
        "[from:to:when] changes a prompt on the way: the layout of one thing, finished as another. The prompt must "
        "know the number of steps.",
        GROUP,
    )
    m = checkpoint(d)
    steps = d.add("steps", "utility.integer", "Steps", value=STEPS)
    d.show(steps, "value", "Steps", advanced=True)
    node = d.add(
        "prompt", "condition.encode_text", "Prompt", clip=m.clip, steps=steps["value"],
        text="a large [circle:star:0.3] in [red:yellow:0.4] on a black background",
    )  # fmt: skip
    d.show(node, "text", "Prompt", "[from:to:0.5] changes in the middle of the run")
    latent = sampler(d, m.model, node["conditioning"], negative(d, m.clip), empty(d), steps=steps["value"])
    save(d, decode(d, m.vae, latent))
    return d


def wildcards() -> Drawing:
    d = Drawing(
        "Wildcards",
        "{a|b|c} picks one, anew with each seed. Files of your own are named as __name__.",
        GROUP,
    )
    m = checkpoint(d)
    seed = d.add("seed", "utility.seed", "Seed", value=3)
    d.show(seed, "value", "Seed", "Chooses the words and the noise")
    text = d.add(
        "choices", "text.wildcard", "Choices", seed=seed["value"],
        text="a {small|large} {red|green|blue|yellow|purple} {circle|square|star|heart} on a {white|grey|black} "
             "background",
    )  # fmt: skip
    d.show(text, "text", "Prompt with choices")
    d.add("shown", "utility.show", "What was chosen", value=text["text"])
    p = prompt(d, "prompt", m.clip, text["text"])
    latent = sampler(d, m.model, p, negative(d, m.clip), empty(d), seed=seed["value"])
    save(d, decode(d, m.vae, latent))
    return d


def and_composition() -> Drawing:
    d = Drawing(
        "AND: prompts together",
        "AND lets several prompts hold at once, each with a weight, the model answering to each on its own.",
        GROUP,
    )
    m = checkpoint(d)
    text = "hills, day, clouds in the sky AND a house beside a tree :0.6"
    latent = sampler(d, m.model, prompt(d, "prompt", m.clip, text), negative(d, m.clip), empty(d), seed=4)
    save(d, decode(d, m.vae, latent))
    return d


def blend_prompts() -> Drawing:
    d = Drawing(
        "Between two prompts",
        "The average of two prompts is a prompt of its own; the share says how near the first it lies.",
        GROUP,
    )
    m = checkpoint(d)
    a = prompt(d, "prompt_a", m.clip, "a yellow desert, the sun in the sky, day", "First prompt")
    b = prompt(d, "prompt_b", m.clip, "a blue sea, the moon in the sky, night", "Second prompt")
    mixed = d.add("average", "condition.average", "Average", a=a, b=b, weight=0.5)
    d.show(mixed, "weight", "Share of the first")
    latent = sampler(d, m.model, mixed["conditioning"], negative(d, m.clip), empty(d), seed=9)
    save(d, decode(d, m.vae, latent))
    return d
