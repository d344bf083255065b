"""Templates in which a picture steers another, through the ControlNet that ships with the starter model."""

from __future__ import annotations

from engine.contracts.references import STARTER_CONTROLNET, ModelRef
from engine.contracts.workflow import Link
from studio_app.workflows.gallery.drawing import (
    Drawing,
    Placed,
    checkpoint,
    decode,
    empty,
    negative,
    picture,
    prompt,
    sampler,
    save,
)  # fmt: skip

GROUP = "Control"
NEEDS = ("controlnet",)


def _edges(d: Drawing, image: Link, node_id: str = "edges") -> Link:
    """White edges on black, as the starter's ControlNet was trained with."""
    node = d.add(node_id, "image.canny", "Canny edges", image=image, low_threshold=0.1, high_threshold=0.2)
    return node["image"]


def _network(d: Drawing) -> Placed:
    ref = ModelRef(kind="controlnet", name=STARTER_CONTROLNET)
    return d.add("controlnet", "load.controlnet", "ControlNet", controlnet=ref)


def control_edges() -> Drawing:
    d = Drawing(
        "ControlNet",
        "The edges of a picture say where things stand; the prompt says what they are.",
        GROUP, needs=NEEDS,
    )  # fmt: skip
    m, net = checkpoint(d), _network(d)
    edges = _edges(d, picture(d, "shapes.png")["image"])
    d.add("shown", "image.preview", "See the edges", image=edges)
    p = prompt(d, "prompt", m.clip, "a yellow circle on a black background")
    steered = d.add(
        "control", "condition.control_pair", "Control", positive=p, negative=negative(d, m.clip),
        control_net=net["control_net"], image=edges, strength=1.0,
    )  # fmt: skip
    d.show(steered, "strength", "Strength", "How strongly the edges hold")
    latent = sampler(d, m.model, steered["positive"], steered["negative"], empty(d))
    save(d, decode(d, m.vae, latent))
    return d


def two_controls() -> Drawing:
    d = Drawing(
        "Two ControlNets",
        "Two hints in a row add up: edges of a picture hold for the whole run, and a drawn frame for "
        "half of it, more weakly.",
        GROUP, needs=NEEDS,
    )  # fmt: skip
    m, net = checkpoint(d), _network(d)
    edges = _edges(d, picture(d, "shapes.png")["image"])
    box = d.add(
        "box", "mask.rectangle", "Frame", width=128, height=128, x=8, y=8, rectangle_width=112, rectangle_height=112
    )
    drawn = d.add("drawn", "mask.to_image", "As a picture", mask=box["mask"])
    frame = _edges(d, drawn["image"], "frame_edges")
    p = prompt(d, "prompt", m.clip, "a large green circle on a white background")
    positive, blank = p, negative(d, m.clip)
    for name, title, hint, strength, end in (("first", "Edges", edges, 1.0, 1.0), ("second", "Frame", frame, 0.2, 0.5)):
        node = d.add(
            f"control_{name}", "condition.control_pair", title, positive=positive, negative=blank,
            control_net=net["control_net"], image=hint, strength=strength, end=end,
        )  # fmt: skip
        d.show(node, "strength", f"{title}: strength")
        positive, blank = node["positive"], node["negative"]
    save(d, decode(d, m.vae, sampler(d, m.model, positive, blank, empty(d))))
    return d
