"""The colours of the starter model's world, by name. All are sRGB, 0..255."""

from __future__ import annotations

from typing import TypeAlias

Colour: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (220, 40, 40),
    "orange": (245, 140, 30),
    "yellow": (250, 215, 50),
    "green": (50, 160, 70),
    "blue": (45, 90, 215),
    "purple": (135, 60, 180),
    "pink": (250, 140, 185),
    "white": (248, 248, 248),
    "black": (25, 25, 28),
    "gray": (135, 138, 142),
    "brown": (130, 85, 50),
    "teal": (40, 170, 175),
}

SKIES: dict[str, tuple[Colour, Colour]] = {
    "day": ((95, 170, 240), (205, 232, 250)),
    "sunset": ((95, 60, 130), (255, 160, 80)),
    "night": ((12, 14, 45), (38, 48, 100)),
    "dawn": ((150, 170, 220), (255, 205, 190)),
}
"""Time of day → colour at the top and at the bottom of the sky."""

MOUNTAINS: dict[str, Colour] = {
    "blue": (60, 95, 170),
    "purple": (110, 75, 150),
    "green": (60, 130, 80),
    "gray": (115, 120, 130),
    "red": (175, 70, 60),
}
MOUNTAIN_MEADOW: Colour = (85, 150, 75)
SNOW_CAP: Colour = (245, 248, 252)

GROUNDS: dict[str, Colour] = {
    "hills": (95, 170, 80),
    "desert": (230, 190, 115),
    "field": (150, 190, 80),
    "snow": (238, 243, 250),
}
SEA: tuple[Colour, Colour] = ((60, 140, 205), (25, 80, 150))
SEA_AT_SUNSET: tuple[Colour, Colour] = ((225, 130, 100), (70, 60, 120))

CROWNS: dict[str, Colour] = {
    "green": (60, 160, 65),
    "pine": (30, 110, 70),
    "autumn": (225, 120, 35),
    "pink": (250, 160, 195),
}
"""Kind of tree → colour of its crown."""

TRUNK: Colour = (105, 70, 45)
DOOR: Colour = (100, 65, 40)
HULL: Colour = (140, 70, 45)
MOONS: dict[str, Colour] = {"white": (240, 240, 245), "yellow": (250, 230, 140)}
CLOUDS: dict[str, Colour] = {
    "day": (255, 255, 255),
    "dawn": (255, 235, 232),
    "sunset": (250, 190, 160),
    "night": (75, 82, 125),
}


def roof(house: str) -> Colour:
    """The roof of a house of the colour called `house`: one that is seen against it."""
    return (90, 60, 55) if house == "red" else (150, 60, 50)


def window(time: str) -> Colour:
    """Windows are lit in the evening."""
    return (255, 225, 120) if time in ("night", "sunset") else (190, 225, 245)


def sun_or_moon(kind: str, name: str) -> Colour:
    """The colour of a sun or moon that is called `name`."""
    return COLOURS[name] if kind == "sun" else MOONS[name]


def scale(colour: Colour, factor: float) -> Colour:
    """`colour` made lighter (factor > 1) or darker, kept in range."""
    r, g, b = (int(min(255, channel * factor)) for channel in colour)
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """`a` with `share` (0..1) of `b` in it."""
    r, g, b_ = (int(x * (1 - share) + y * share) for x, y in zip(a, b, strict=True))
    return r, g, b_


def tint(colour: Colour, time: str) -> Colour:
    """How a thing of this colour looks in the light of `time`."""
    if time == "dawn":
        return mix(colour, (240, 190, 180), 0.15)
    if time == "sunset":
        return mix(scale(colour, 0.85), (180, 80, 60), 0.15)
    if time == "night":
        return mix(scale(colour, 0.5), (20, 25, 70), 0.3)
    return colour


def sea(time: str) -> tuple[Colour, Colour]:
    """The sea at the horizon and at the lower edge of the picture."""
    if time == "sunset":
        return SEA_AT_SUNSET
    far, near = SEA
    return tint(far, time), tint(near, time)
