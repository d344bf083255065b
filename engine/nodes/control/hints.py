"""Control pictures from pictures, at once and without weights: lines, colours, surfaces, skeletons."""

from __future__ import annotations

from typing import Annotated

from engine.control import colours, edges, skeleton
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Image

CATEGORY = "Control/Hints"
Share = Annotated[float, In(minimum=0.0, maximum=1.0, step=0.01)]
Edge = Annotated[int, In(minimum=64, maximum=16384, step=8)]


@node("control.soft_edges", category=CATEGORY, outputs=("image",), title="Soft edges",
      search=("HED", "PiDiNet", "softedge", "FakeScribble"))  # fmt: skip
def soft_edges(
    ctx: NodeContext, image: Image, strength: Annotated[float, In(minimum=0.1, maximum=4.0, step=0.05)] = 1.0
) -> Image:
    """Draw broad soft edges white on black, for soft-edge ControlNets.

    image: the pictures
    strength: how bright the edges are
    """
    return edges.soft_edges(image, strength)


@node("control.scribble", category=CATEGORY, outputs=("image",), title="Scribble", search=("ScribblePreprocessor",))
def scribble(
    ctx: NodeContext,
    image: Image,
    threshold: Share = 0.25,
    width: Annotated[int, In(minimum=1, maximum=64, step=1)] = 3,
) -> Image:
    """Draw the outlines as if by hand, for scribble ControlNets.

    image: the pictures
    threshold: weaker edges are left out
    width: of the lines, in pixels
    """
    return edges.scribble(image, threshold, width)


@node("control.line_art", category=CATEGORY, outputs=("image",), title="Line art",
      search=("LineArtPreprocessor", "LineartStandardPreprocessor", "pencil"))  # fmt: skip
def line_art(
    ctx: NodeContext,
    image: Image,
    reach: Annotated[float, In(minimum=1.0, maximum=64.0, step=0.5)] = 6.0,
    threshold: Share = 0.03,
) -> Image:
    """Draw dark lines of pictures white on black, for line-art ControlNets.

    image: the pictures
    reach: what is darker than its surroundings this far around is a line, in pixels
    threshold: weaker differences do not count when the brightness is set
    """
    return edges.line_art(image, reach, threshold)


@node("control.tile", category=CATEGORY, outputs=("image",), title="Tile", search=("TilePreprocessor", "upscale"))
def tile(
    ctx: NodeContext, image: Image, factor: Annotated[float, In(minimum=1.0, maximum=32.0, step=0.5)] = 4.0
) -> Image:
    """Take the detail out of pictures and keep everything else, for tile ControlNets.

    image: the pictures
    factor: how much detail is lost; 1 keeps all
    """
    return colours.tile(image, factor)


@node("control.colour", category=CATEGORY, outputs=("image",), title="Colour grid",
      search=("ColorPreprocessor", "color"))  # fmt: skip
def colour(ctx: NodeContext, image: Image, cell: Annotated[int, In(minimum=4, maximum=512, step=4)] = 64) -> Image:
    """Reduce pictures to squares of their colours, for colour adapters.

    image: the pictures
    cell: edge of a square, in pixels
    """
    return colours.colour_grid(image, cell)


@node("control.segments", category=CATEGORY, outputs=("image",), title="Colour segments",
      search=("segmentation", "superpixels", "posterise"))  # fmt: skip
def segments(
    ctx: NodeContext,
    image: Image,
    count: Annotated[int, In(minimum=2, maximum=64, step=1)] = 6,
    colours_of: Annotated[str, In(choices=("picture", "palette"))] = "picture",
) -> Image:
    """Divide pictures into surfaces of a few colours. They have no names; “Segmentation” finds named things.

    image: the pictures
    count: at most so many colours
    colours_of: picture gives each surface its own mean colour, palette one that differs from all others
    """
    return colours.segments(image, count, palette=colours_of == "palette")


@node("control.normal", category=CATEGORY, outputs=("image",), title="Normals from depth",
      search=("normal map", "MiDaS-NormalMapPreprocessor"))  # fmt: skip
def normal(
    ctx: NodeContext,
    depth: Image,
    strength: Annotated[float, In(minimum=0.1, maximum=32.0, step=0.1)] = 4.0,
    background: Share = 0.0,
) -> Image:
    """Turn depth pictures into normals: red to the right, green up, blue to the viewer.

    depth: depth pictures, near is light
    strength: how deep the scene is taken to be
    background: what is darker faces the viewer
    """
    return colours.normals(depth, strength, background)


@node("control.skeleton", category=CATEGORY, outputs=("image",), title="Skeleton", search=("openpose", "pose editor"))
def skeleton_picture(
    ctx: NodeContext,
    pose: Annotated[str, In(multiline=True)],
    width: Edge = 512,
    height: Edge = 512,
    hands: bool = True,
    face: bool = True,
) -> Image:
    """Draw the figures of keypoints in OpenPose's JSON, for pose ControlNets.

    pose: the keypoints: people with pose_keypoints_2d, in pixels of a canvas or as shares of it
    width: of the picture, in pixels
    height: of the picture, in pixels
    hands: draw them where they are known
    face: draw it where it is known
    """
    return skeleton.draw_pose(skeleton.read_pose(pose, width, height), width, height, hands=hands, face=face)[None]
