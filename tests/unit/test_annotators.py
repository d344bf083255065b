"""Annotators with weights: tiny random networks in true layout give the very numbers of their own libraries."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import BadInput, InvalidDocument, InvalidRequest, MissingModel, UnsafeModel
from engine.contracts.references import ModelRef
from engine.control import dwpose
from engine.control.annotators import Preparation, load_annotator
from engine.control.classes import painted, palette
from engine.control.hed import HolisticEdges
from engine.control.skeleton import read_pose
from engine.nodes.control import annotate
from tests.benchmarks.parity import Context

CPU = torch.device("cpu")


class Library(Context):
    def locate(self, ref: ModelRef) -> Path:
        path = self.folder / ref.name
        if not path.exists():
            raise MissingModel(f"the model “{ref.name}” is not on this machine")
        return path


def named(name: str) -> ModelRef:
    return ModelRef(kind="annotator", name=name)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Any:
    import transformers

    folder = tmp_path_factory.mktemp("annotators")
    torch.manual_seed(0)
    backbone = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=28, patch_size=14,
        out_indices=[1, 2], reshape_hidden_states=False,
    )  # fmt: skip
    depth = transformers.DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=16, patch_size=14, reassemble_factors=[2, 1],
        neck_hidden_sizes=[8, 8], fusion_hidden_size=8, head_hidden_size=4,
    )  # fmt: skip
    network = transformers.DepthAnythingForDepthEstimation(depth)
    for parameter in network.parameters():  # so that its depths differ by more than rounding
        torch.nn.init.normal_(parameter, std=0.3)
    network.head.conv3.bias.data.fill_(20.0)
    network.save_pretrained(folder / "depth")
    prepared = {"size": {"height": 28, "width": 28}, "ensure_multiple_of": 14, "keep_aspect_ratio": True}
    (folder / "depth" / "preprocessor_config.json").write_text(json.dumps(prepared), encoding="utf-8")
    segments = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[2, 1], hidden_sizes=[8, 8], num_attention_heads=[1, 2],
        patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2], decoder_hidden_size=16, num_labels=150,
    )  # fmt: skip
    transformers.SegformerForSemanticSegmentation(segments).save_pretrained(folder / "segments")
    words = transformers.BertConfig(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    transformers.BertModel(words).save_pretrained(folder / "words")
    edges = HolisticEdges(((2, 4), (1, 6)))
    save_file({f"netNetwork.{key}": value for key, value in edges.state_dict().items()}, folder / "hed.safetensors")
    save_file({"other": torch.zeros(2)}, folder / "other.safetensors")
    return Library(folder)


def picture(*shape: int) -> Any:
    return np.random.default_rng(7).random((*shape, 3), dtype=np.float32)


def test_depth_is_the_networks_own_scaled_to_near_and_far(library: Any) -> None:
    import transformers

    image = picture(2, 42, 56)
    found = annotate.depth(library, image, named("depth"))
    assert found.shape == image.shape
    assert found.min() == 0
    assert found.max() == 1
    network = transformers.DepthAnythingForDepthEstimation.from_pretrained(library.folder / "depth")
    pixels = torch.from_numpy(image).permute(0, 3, 1, 2)
    # The edge that changes less decides: 42 → 28, so the width becomes 37.3, of which 42 is the next multiple of 14.
    small = torch.nn.functional.interpolate(pixels, (28, 42), mode="bicubic", antialias=True)
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )  # fmt: skip
    with torch.no_grad():
        raw = network((small - mean) / deviation).predicted_depth
    whole = torch.nn.functional.interpolate(raw[:, None], (42, 56), mode="bicubic")[0, 0].numpy()
    np.testing.assert_allclose(found[0, ..., 0], (whole - whole.min()) / np.ptp(whole), atol=1e-5)


def test_metres_are_turned_round(library: Any) -> None:
    image = picture(1, 28, 28)
    estimator = load_annotator(library.folder / "depth", CPU, torch.float32)
    near_is_large = estimator.depth(image)
    estimator.network.config.depth_estimation_type = "metric"
    np.testing.assert_allclose(estimator.depth(image), 1 - near_is_large, atol=1e-6)


def test_segments_are_painted_in_the_colours_of_their_classes(library: Any) -> None:
    found = annotate.segmentation(library, picture(1, 40, 48), named("segments"))
    assert found.shape == (1, 40, 48, 3)
    colours = {tuple(row) for row in np.round(found.reshape(-1, 3) * 255).astype(int).tolist()}
    assert colours <= {tuple(row) for row in palette().tolist()}
    assert palette().shape == (150, 3)
    np.testing.assert_array_equal(painted(np.array([0, 2, 149, 150])) * 255, palette()[[0, 2, 149, 0]])


def test_hed_is_the_sigmoid_of_the_mean_of_its_sides(library: Any) -> None:
    image = picture(1, 32, 32)
    found = annotate.hed(library, image, named("hed.safetensors"))
    assert found.shape == image.shape
    network = load_annotator(library.folder / "hed.safetensors", CPU, torch.float32)
    x = torch.from_numpy(image).permute(0, 3, 1, 2) * 255 - network.norm
    first, side = network.block1(x)
    _, other = network.block2(torch.nn.functional.max_pool2d(first, 2))
    other = torch.nn.functional.interpolate(other, (32, 32), mode="bilinear")
    expected = torch.sigmoid((side + other) / 2)[0, 0].detach().numpy()
    np.testing.assert_allclose(found[0, ..., 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("run", "name", "error", "said"),
    [
        (annotate.depth, "none", MissingModel, "“none” is not on this machine.*Depth Anything or DPT"),
        (annotate.hed, "none", MissingModel, "ControlNetHED as safetensors.*or use “Soft edges”"),
        (annotate.segmentation, "none", MissingModel, "Segformer or UperNet"),
        (annotate.depth, "segments", InvalidRequest, "“segments” does not find depth"),
        (annotate.hed, "depth", InvalidRequest, "“depth” does not find HED's edges"),
        (annotate.depth, "words", BadInput, "“words” holds BertModel, which finds neither depth nor segments"),
        (annotate.hed, "other.safetensors", BadInput, r"“other\.safetensors” is no annotator that is known here"),
    ],
)
def test_what_is_missing_or_of_another_kind_is_one_sentence(
    library: Any, run: Any, name: str, error: Any, said: str
) -> None:
    with pytest.raises(error, match=said):
        run(library, picture(1, 28, 28), named(name))


def test_a_folder_that_asks_for_code_or_is_damaged_is_refused(library: Any, tmp_path: Path) -> None:
    folder = tmp_path / "depth"
    folder.mkdir()
    config = json.loads((library.folder / "depth" / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "x.Y"}}), encoding="utf-8")
    with pytest.raises(UnsafeModel, match="remote code"):
        load_annotator(folder, CPU, torch.float32)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(BadInput, match=r"no model\.safetensors"):
        load_annotator(folder, CPU, torch.float32)
    save_file({"x": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(InvalidDocument, match="can't be built"):
        load_annotator(folder, CPU, torch.float32)


@pytest.mark.parametrize("config", [{"size": {"height": 10**6}}, {"size": [1, 2, 3]}, {"image_mean": [1, 2]}])
def test_a_preparation_out_of_range_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidDocument, match="names no usable"):
        Preparation.of(config)


class Detector:
    """Stands for YOLOX: one cell of the coarsest grid says that a person is there."""

    name, height, width = "detector", 64, 64

    def run(self, page: Any) -> list[Any]:
        self.page = page
        out = np.zeros((1, 64 + 16 + 4, 85), np.float32)
        out[0, 80, :6] = (0.5, 0.5, np.log(16 / 32), np.log(24 / 32), 0.9, 0.9)  # middle 16, 16: 16 wide, 24 high
        out[0, 81, :6] = (-0.45, 0.5, np.log(16 / 32), np.log(24 / 32), 0.8, 0.9)  # the same person again
        return [out]


class Estimator:
    """Stands for RTMPose: every point in the middle, shoulders a quarter to the sides, the face unseen."""

    name, height, width = "estimator", 384, 288

    def run(self, picture: Any) -> list[Any]:
        across, down = np.zeros((1, 133, 576), np.float32), np.zeros((1, 133, 768), np.float32)
        across[0, :, 288] = down[0, :, 384] = 0.8
        across[0, 5], across[0, 6] = 0, 0
        across[0, 5, 432] = across[0, 6, 144] = 0.8
        across[0, 23:91, 288] = 0.1
        return [across, down]


def test_people_are_where_the_networks_say() -> None:
    detector: Any = Detector()
    estimator: Any = Estimator()
    pose = dwpose.find_people(picture(32, 64), detector, estimator)
    assert detector.page.shape == (1, 3, 64, 64)
    assert (detector.page[0, :, 32:] == 114).all()
    assert len(pose.people) == 1
    person = pose.people[0]
    assert person.body is not None
    # The box is 16 × 24 about (16, 16); widened by 1.25 it is 22.5 × 30 at the network's shape.
    np.testing.assert_allclose(person.body[0, :2], (16, 16), atol=0.1)
    np.testing.assert_allclose(person.body[2, :2], (16 - 22.5 / 4, 16), atol=0.1)  # right shoulder
    np.testing.assert_allclose(person.body[1], (16, 16, 0.8), atol=0.1)  # the neck lies between
    assert person.face is None
    assert person.left_hand is not None


def test_networks_of_another_form_are_named() -> None:
    detector: Any = Detector()
    estimator: Any = Estimator()
    with pytest.raises(InvalidRequest, match="“estimator” is no YOLOX detector"):
        dwpose.find_people(picture(32, 64), estimator, estimator)
    with pytest.raises(InvalidRequest, match="“detector” is no whole-body pose network"):
        dwpose.find_people(picture(32, 64), detector, detector)


# --- ONNX files, written here field by field (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto)


def field(number: int, value: bytes | int) -> bytes:
    def varint(number: int) -> bytes:
        out = b""
        while number > 127:
            out, number = out + bytes([number & 127 | 128]), number >> 7
        return out + bytes([number])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def onnx_constant(path: Path, shape: tuple[int, ...], outputs: list[Any]) -> Path:
    """A network that reads a picture [1, 3, *shape] and says `outputs` whatever it sees."""

    def value_info(name: str, dims: tuple[int, ...]) -> bytes:
        tensor_shape = b"".join(field(1, field(1, size)) for size in dims)
        return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, tensor_shape)))

    def tensor(name: str, array: Any) -> bytes:
        dims = b"".join(field(1, size) for size in array.shape)
        values = struct.pack(f"<{array.size}f", *array.ravel())
        return dims + field(2, 1) + field(8, name.encode()) + field(9, values)

    def node(index: int, array: Any) -> bytes:
        value = field(1, b"value") + field(5, tensor(f"t{index}", array)) + field(20, 4)
        return field(2, f"out{index}".encode()) + field(4, b"Constant") + field(5, value)

    graph = b"".join(field(1, node(index, array)) for index, array in enumerate(outputs)) + field(2, b"graph")
    graph += field(11, value_info("pixels", (1, 3, *shape)))
    graph += b"".join(field(12, value_info(f"out{index}", array.shape)) for index, array in enumerate(outputs))
    path.write_bytes(field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13)))
    return path


def test_the_pose_node_runs_onnx_files(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    onnx_constant(tmp_path / "yolox.onnx", (64, 64), Detector().run(np.zeros((1, 3, 64, 64))))
    onnx_constant(tmp_path / "pose.onnx", (384, 288), Estimator().run(None))
    library: Any = Library(tmp_path)
    drawn, text = annotate.pose(library, picture(1, 32, 64), named("yolox.onnx"), named("pose.onnx"))
    assert drawn.shape == (1, 32, 64, 3)
    assert drawn.any()
    assert len(read_pose(text).people) == 1
    with pytest.raises(MissingModel, match=r"Put yolox_l\.onnx into the annotators folder"):
        annotate.pose(library, picture(1, 32, 64), named("gone.onnx"), named("pose.onnx"))


def test_an_onnx_file_with_external_data_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    external = field(1, 4) + field(2, 1) + field(8, b"w") + field(13, field(1, b"location") + field(2, b"/etc/passwd"))
    (tmp_path / "x.onnx").write_bytes(field(1, 8) + field(7, field(5, external + field(14, 1))))
    with pytest.raises(UnsafeModel, match="other files"):
        load_annotator(tmp_path / "x.onnx", CPU, torch.float32)
