"""Control pictures by networks of the model library: HED's edges, depth, named segments, poses."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.contracts.node_schema import Effects
from engine.contracts.references import ModelRef
from engine.graph.node import In, NodeContext, node
from engine.graph.values import Checkpoint, Image
from engine.media.pixels import batched
from engine.nodes.control.hints import CATEGORY

LANE = Effects(parallel_safe=False)
Annotator = Annotated[Checkpoint, In(model_kind="annotator")]


@node("control.hed", category=CATEGORY, outputs=("image",), title="HED edges", effects=LANE,
      search=("HEDPreprocessor", "softedge"))  # fmt: skip
def hed(ctx: NodeContext, image: Image, annotator: Annotator) -> Image:
    """Draw soft edges by the HED network. “Soft edges” draws similar ones without any weights.

    image: the pictures
    annotator: ControlNetHED as safetensors
    """
    from engine.control.edges import three
    from engine.control.hed import HolisticEdges

    network = _loaded(ctx, annotator, "ControlNetHED as safetensors", "or use “Soft edges”, which needs no weights")
    if not isinstance(network, HolisticEdges):
        raise _other(annotator, "HED's edges")
    return three(network.edges(image))


@node("control.depth", category=CATEGORY, outputs=("image",), title="Depth", effects=LANE,
      search=("DepthAnything", "MiDaS", "ZoeDepth"))  # fmt: skip
def depth(ctx: NodeContext, image: Image, annotator: Annotator) -> Image:
    """Measure how near everything is, near white and far black.

    image: the pictures
    annotator: a folder of Depth Anything, DPT or another depth network
    """
    from engine.control.edges import three

    return three(_estimator(ctx, annotator, "depth", "Depth Anything or DPT").depth(image))


@node("control.segmentation", category=CATEGORY, outputs=("image",), title="Segmentation", effects=LANE,
      search=("UperNet", "OneFormer", "ADE20K"))  # fmt: skip
def segmentation(ctx: NodeContext, image: Image, annotator: Annotator) -> Image:
    """Find named things and paint each kind in its colour of ADE20K. “Colour segments” needs no weights.

    image: the pictures
    annotator: a folder of Segformer, UperNet or another segmentation network
    """
    found: Image = _estimator(ctx, annotator, "segments", "Segformer or UperNet").segments(image)
    return found


@node("control.pose", category=CATEGORY, outputs=("image", "pose"), title="Pose (DWPose)", effects=LANE,
      search=("DWPreprocessor", "openpose"))  # fmt: skip
def pose(
    ctx: NodeContext, image: Image, detector: Annotator, estimator: Annotator, hands: bool = True, face: bool = True
) -> tuple[Image, str]:
    """Find the people of pictures and draw their skeletons.

    image: the pictures
    detector: yolox_l.onnx, which finds people
    estimator: dw-ll_ucoco_384.onnx, which finds their points
    hands: draw them
    face: draw it
    """
    from engine.control.dwpose import OnnxNetwork, find_people
    from engine.control.skeleton import draw_pose, write_pose

    networks = []
    for ref, file in ((detector, "yolox_l.onnx"), (estimator, "dw-ll_ucoco_384.onnx")):
        network = _loaded(ctx, ref, file, "or give keypoints to “Skeleton”")
        if not isinstance(network, OnnxNetwork):
            raise _other(ref, "people")
        networks.append(network)
    drawn, texts = [], []
    for item in batched(image):
        ctx.check_cancelled()
        found = find_people(item, networks[0], networks[1])
        drawn.append(draw_pose(found, found.width, found.height, hands=hands, face=face))
        texts.append(write_pose(found))
    return np.stack(drawn), texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"


def _estimator(ctx: NodeContext, ref: ModelRef, task: str, examples: str) -> Any:
    from engine.control.annotators import Estimator

    network = _loaded(ctx, ref, f"a folder of {examples} (config.json beside model.safetensors)", "")
    if not isinstance(network, Estimator) or network.task != task:
        raise _other(ref, task)
    return network


def _loaded(ctx: NodeContext, ref: ModelRef, wanted: str, otherwise: str) -> Any:
    try:
        return ctx.session.other(ref)
    except MissingModel as error:
        name = f"the annotator “{ref.name}”" if ref.name else "the annotator"
        fix = f"Put {wanted} into the annotators folder of your models"
        raise MissingModel(
            f"{name} is not on this machine", fix=f"{fix}, {otherwise}" if otherwise else fix
        ) from error  # fmt: skip


def _other(ref: ModelRef, what: str) -> InvalidRequest:
    return InvalidRequest(f"“{ref.name}” does not find {what}", where="annotator", fix="Choose another annotator")
