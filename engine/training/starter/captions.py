"""The starter model's language: a scene in words, and the scene back from its words.

`write` chooses among the phrasings the model is trained on; `parse` understands each of them, so that
`parse(write(scene, rng)) == scene` for every scene.
"""

from __future__ import annotations

import re

import numpy as np

from engine.training.starter.scenes import (
    COLOUR_NAMES,
    SHAPES,
    Figure,
    Landscape,
    LandscapeObject,
    Scene,
    ShapesScene,
    pick,
)

_PLACES = {
    "left": (" on the left",),
    "right": (" on the right",),
    "top": (" at the top",),
    "bottom": (" at the bottom",),
    "center": (" in the center", " in the middle"),
    "": ("",),
}
_RELATIONS = {
    "and": (" and ",),
    "beside": (" beside ",),
    "left": (" left of ", " to the left of "),
    "right": (" right of ", " to the right of "),
    "above": (" above ",),
    "below": (" below ",),
}
_TREES = {
    "green": ("green tree",),
    "pine": ("pine tree",),
    "autumn": ("autumn tree", "orange tree"),
    "pink": ("pink tree", "cherry tree"),
}
_BOATS = ("boat with {article} sail", "{colour} sailboat")
_GROUNDS = {
    "hills": ("green hills",),
    "sea": ("the sea",),
    "desert": ("the desert",),
    "field": ("a field",),
    "snow": ("a snowy field", "the snow"),
}
_STANDING = {
    "sea": "on ",
    "snow": "in ",
    "hills": "on ",
    "mountains": "in front of ",
    "desert": "in ",
    "field": "in ",
}
_TIMES = {
    "day": (" by day", " in the daytime", "", " under a blue sky"),
    "sunset": (" at sunset",),
    "night": (" at night", " at night", " under a starry sky"),
    "dawn": (" at dawn", " at sunrise"),
}
_CLOUDS = (" with clouds", ", clouds")
_LEADS = ("a drawing of ", "a picture of ", "an illustration of ")
SPELLINGS = {"gray": "grey", "center": "centre"}
"""Words that have a second, British, spelling."""


def write(scene: Scene, rng: np.random.Generator) -> str:
    """A caption of `scene`, in one of the phrasings of the grammar."""
    caption = _write_shapes(scene, rng) if isinstance(scene, ShapesScene) else _write_landscape(scene, rng)
    return pick(rng, _LEADS) + caption if rng.random() < 0.06 else caption


def vary(caption: str, rng: np.random.Generator) -> str:
    """The caption as people also type it: now and then with British spelling, or without articles."""
    if rng.random() < 0.4:
        for american, british in SPELLINGS.items():
            caption = re.sub(rf"\b{american}\b", british, caption)
    return re.sub(r"\b(a|an|the) ", "", caption) if rng.random() < 0.07 else caption


def parse(caption: str) -> Scene | None:
    """The scene that `caption` describes, or None when it is outside the grammar."""
    text = " ".join(caption.lower().split())
    for american, british in SPELLINGS.items():
        text = re.sub(rf"\b{british}\b", american, text)
    text = re.sub(r"^(a |an )?(drawing|picture|illustration) of ", "", text)
    text = re.sub(r"\b(a|an|the) ", "", text)
    return _parse_shapes(text) or _parse_landscape(text)


def _article(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _write_shapes(scene: ShapesScene, rng: np.random.Generator) -> str:
    ground = f"{scene.background} and {scene.gradient} gradient" if scene.gradient else scene.background
    names = [" ".join(filter(None, (figure.size, figure.colour, figure.shape))) for figure in scene.figures]
    if len(names) == 2:
        pair = _article(names[0]) + pick(rng, _RELATIONS[scene.relation]) + _article(names[1])
        return f"{pair} on {_article(ground)} background" if rng.random() < 0.85 else f"{pair}, {ground} background"
    name = names[0]
    place = pick(rng, _PLACES[scene.figures[0].position])
    form = rng.random()
    if form < 0.7:
        return f"{_article(name)}{place} on {_article(ground)} background"
    if form < 0.8:
        return f"{_article(name)} on {ground}{place}"
    if form < 0.9:
        return f"{name}, {ground} background" + ("," + place if place else "")
    return f"{_article(ground)} background with {_article(name)}{place}"


def _write_landscape(scene: Landscape, rng: np.random.Generator) -> str:
    if scene.ground == "mountains":
        ground = " ".join(filter(None, ("snowy" if scene.snowy else "", scene.mountain_colour, "mountains")))
    else:
        ground = pick(rng, _GROUNDS[scene.ground])
    sky = f"{scene.celestial_colour} {scene.celestial}" if scene.celestial else ""
    if scene.celestial_side:
        sky += {"left": " on the left", "right": " on the right", "middle": " in the middle"}[scene.celestial_side]
    time = pick(rng, _TIMES[scene.time]) + (pick(rng, _CLOUDS) if scene.clouds else "")
    things = [_article(_object_name(thing, rng)) for thing in scene.objects]
    objects = pick(rng, (" beside ", " and ", " next to ")).join(things)
    standing = _STANDING[scene.ground]
    if sky and objects:
        forms = (
            f"{objects} {standing}{ground} with {_article(sky)}{time}",
            f"{_article(sky)} over {ground} and {objects}{time}",
        )
    elif sky:
        forms = (f"{_article(sky)} over {ground}{time}", f"{ground} with {_article(sky)}{time}")
    elif objects:
        forms = (f"{objects} {standing}{ground}{time}", f"{objects}{time}, {ground}")
    else:
        return f"{ground}{time}"
    return pick(rng, forms)


def _object_name(thing: LandscapeObject, rng: np.random.Generator) -> str:
    if thing.kind == "tree":
        return pick(rng, _TREES[thing.variant])
    if thing.kind == "house":
        return f"{thing.variant} house"
    return pick(rng, _BOATS).format(colour=thing.variant, article=_article(thing.variant))


_COLOUR = "(" + "|".join(COLOUR_NAMES) + ")"
_FIGURE = re.compile(rf"(?:(small|large) )?{_COLOUR} ({'|'.join(SHAPES)})\b")
_BACKGROUND = re.compile(rf"{_COLOUR}(?: and {_COLOUR} gradient)? background")
_BARE_BACKGROUND = re.compile(rf" on {_COLOUR}(?: and {_COLOUR} gradient)?\b")
_SUN_OR_MOON = re.compile(rf"{_COLOUR} (sun|moon)(?: (?:on|in) (left|right|middle))?\b")
_THINGS = re.compile(
    r"(green|pine|autumn|orange|pink|cherry) (tree)|(white|red|yellow|blue) (house)"
    r"|boat with (white|red|yellow) sail|(white|red|yellow) sailboat"
)


def _parse_shapes(text: str) -> ShapesScene | None:
    found = list(_FIGURE.finditer(text))
    rest = _FIGURE.sub("", text) if len(found) == 1 else text[found[-1].end() :] if found else ""
    ground = _BACKGROUND.search(rest) or _BARE_BACKGROUND.search(rest)
    if not found or len(found) > 2 or not ground:
        return None
    background, gradient = ground[1], ground[2] or ""
    figures = [Figure(match[3], match[2], match[1] or "") for match in found]
    if len(figures) == 2:
        between = text[found[0].end() : found[1].start()]
        words = re.search(r"\b(and|beside|left|right|above|below)\b", between)
        return ShapesScene(background, (figures[0], figures[1]), words[1], gradient) if words else None
    place = re.search(r"\b(?:on|at|in) (left|right|top|bottom|center|middle)\b", rest)
    position = "" if not place else "center" if place[1] == "middle" else place[1]
    only = Figure(figures[0].shape, figures[0].colour, figures[0].size, position)
    return ShapesScene(background, (only,), "", gradient)


def _parse_landscape(text: str) -> Landscape | None:
    ground = next((name for name in ("mountains", "hills", "sea", "desert") if re.search(rf"\b{name}\b", text)), "")
    if not ground:
        field = re.search(r"\b(snow|snowy field|field)\b", text)
        if not field:
            return None
        ground = "field" if field[1] == "field" else "snow"
    mountains = re.search(rf"(?:(snowy) )?(?:{_COLOUR} )?mountains", text)
    sky = _SUN_OR_MOON.search(text)
    time = "day"
    for name, pattern in (("night", r"night|starry"), ("sunset", "sunset"), ("dawn", "dawn|sunrise")):
        if re.search(rf"\b({pattern})\b", text):
            time = name
    return Landscape(
        time=time,
        ground=ground,
        mountain_colour=(mountains[2] or "") if mountains else "",
        snowy=bool(mountains and mountains[1]),
        celestial=sky[2] if sky else "",
        celestial_colour=sky[1] if sky else "",
        celestial_side=(sky[3] or "") if sky else "",
        objects=tuple(_object_from(match) for match in _THINGS.finditer(text)),
        clouds="clouds" in text,
    )


def _object_from(match: re.Match[str]) -> LandscapeObject:
    if match[2]:
        return LandscapeObject("tree", {"orange": "autumn", "cherry": "pink"}.get(match[1], match[1]))
    if match[4]:
        return LandscapeObject("house", match[3])
    return LandscapeObject("boat", match[5] or match[6])
