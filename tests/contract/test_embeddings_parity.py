"""Embeddings by name: what the encoders say equals diffusers' load_textual_inversion; every layout is read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from engine.contracts.errors import InvalidRequest, MissingModel
from engine.contracts.references import ModelRef
from engine.graph.values import ConditioningEntry
from engine.nodes.condition.text import encode_text
from engine.nodes.load.checkpoint import checkpoint
from tests.benchmarks.parity import Context
from tests.benchmarks.tiny_models import write_tiny_sd15
from tests.families import flux, sdxl


class Room(Context):
    """A model, and embeddings in a folder of their own."""

    def __init__(self, folder: Path, embeddings: Path) -> None:
        super().__init__(folder)
        self._embeddings = embeddings
        embeddings.mkdir(exist_ok=True)

    def locate(self, ref: ModelRef) -> Path:
        if ref.kind != "embedding":
            return self.folder
        path = self._embeddings / f"{ref.name}.safetensors"
        if not path.exists():
            raise MissingModel("it is not on this machine", fix="Did you mean “dusk”?")
        return path

    def list(self, kind: str) -> list[ModelRef]:
        found = sorted(self._embeddings.glob("*.safetensors")) if kind == "embedding" else []
        return [ModelRef(kind="embedding", name=path.stem) for path in found]

    def add(self, name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        save_file(dict(tensors), self._embeddings / f"{name}.safetensors")

    def log(self, text: str, level: str = "info") -> None:
        self.logs.append(text)

    def read(self, text: str) -> ConditioningEntry:
        self.logs.clear()
        (entry,) = encode_text(self, checkpoint(self)[1], text)  # type: ignore[arg-type]
        return entry

    def part(self, name: str) -> Any:
        return self.session.family(checkpoint(self)[1].weights)._parts(name)  # type: ignore[attr-defined, arg-type]


def vectors(count: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed)) * 0.05


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_sd15(tmp_path_factory.mktemp("sd15"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdxl")
    sdxl.write(folder)
    return folder


@pytest.fixture
def room(model: Path, tmp_path: Path) -> Room:
    return Room(model, tmp_path / "embeddings")


def width_of(room: Room, part: str = "text_encoder") -> int:
    return int(room.part(part).config.hidden_size)


@torch.no_grad()
def as_diffusers(room: Room, tensors: Mapping[str, torch.Tensor], text: str) -> torch.Tensor:
    """`text` names the embedding “<dusk>”."""
    import copy

    from diffusers import StableDiffusionPipeline

    parts = {name: copy.deepcopy(room.part(name)) for name in ("text_encoder", "tokenizer", "vae", "unet")}
    pipeline = StableDiffusionPipeline(
        **parts, scheduler=None, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )
    pipeline.load_textual_inversion(dict(tensors), token="<dusk>")
    said: torch.Tensor = pipeline.encode_prompt(text, "cpu", 1, False)[0]
    return said


@pytest.mark.parametrize("count", [1, 3])
def test_equal_to_diffusers(room: Room, count: int) -> None:
    learned = vectors(count, width_of(room))
    room.add("dusk", {"emb_params": learned})
    wanted = as_diffusers(room, {"emb_params": learned}, "a red circle, <dusk> on blue")
    for text in ("a red circle, embedding:dusk on blue", "a red circle, dusk on blue", "a red circle, Dusk on blue"):
        assert torch.equal(room.read(text).embedding, wanted), text
        assert room.logs == []
    assert not torch.equal(room.read("a red circle, dawn on blue").embedding, wanted)


def test_every_layout_of_one_encoder_means_the_same(room: Room) -> None:
    learned = vectors(1, width_of(room))
    for name, tensors in {
        "a1111": {"emb_params": learned}, "hub": {"<dusk>": learned[0]}, "named": {"clip_l": learned},
    }.items():  # fmt: skip
        room.add(name, tensors)
    said = [room.read(f"a embedding:{name} circle").embedding for name in ("a1111", "hub", "named")]
    assert torch.equal(said[0], said[1])
    assert torch.equal(said[0], said[2])


def test_emphasis_and_chunks_count_its_vectors(room: Room) -> None:
    room.add("dusk", {"emb_params": vectors(5, width_of(room))})
    plain, stressed = room.read("embedding:dusk").embedding, room.read("(embedding:dusk:1.5)").embedding
    expected = plain.clone()
    expected[0, 1:6] *= 1.5
    expected *= plain.mean() / expected.mean()
    assert torch.equal(stressed, expected)
    room_for = plain.shape[1] - 2
    words = "red " * (room_for - 5)
    assert room.read(words + "embedding:dusk").embedding.shape[1] == plain.shape[1]
    assert room.read(words + "red embedding:dusk").embedding.shape[1] == 2 * plain.shape[1]


def test_the_encoder_stays_as_it_is(room: Room) -> None:
    room.add("dusk", {"emb_params": vectors(2, width_of(room))})
    encoder = room.part("text_encoder")
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    plain = room.read("a red circle").embedding
    room.read("a red embedding:dusk")
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(room.read("a red circle").embedding, plain)


def test_an_unknown_name_is_said_once_and_read_as_words(room: Room) -> None:
    entry = room.read("a red circle, (embedding:dust:1.2)")
    assert room.logs == [
        "There is no embedding “dust” on this machine, so its name is read as words. Did you mean “dusk”?"
    ]
    assert entry.embedding.isfinite().all()


def test_one_for_another_width_is_refused(room: Room) -> None:
    room.add("wide", {"emb_params": vectors(1, 768)})
    with pytest.raises(InvalidRequest) as caught:
        room.read("embedding:wide")
    assert "“wide” has vectors 768 wide and" in str(caught.value)
    assert f"reads {width_of(room)}" in str(caught.value)


def test_the_ending_of_a_file_may_stand_in_the_prompt(room: Room) -> None:
    room.add("dusk", {"emb_params": vectors(1, width_of(room))})
    assert torch.equal(room.read("embedding:dusk.pt").embedding, room.read("embedding:dusk").embedding)


@torch.no_grad()
def test_two_encoders_each_get_their_own(large: Path, tmp_path: Path) -> None:
    import copy

    from diffusers import StableDiffusionXLPipeline

    room = Room(large, tmp_path / "embeddings")
    small, big = vectors(2, width_of(room)), vectors(2, width_of(room, "text_encoder_2"), 1)
    room.add("dusk", {"clip_l": small, "clip_g": big})
    parts = {
        name: copy.deepcopy(room.part(name))
        for name in ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "vae", "unet")
    }
    pipeline = StableDiffusionXLPipeline(**parts, scheduler=None, add_watermarker=False)
    pipeline.load_textual_inversion(
        {"clip_l": small}, token="<dusk>", text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer
    )
    pipeline.load_textual_inversion(
        {"clip_g": big}, token="<dusk>", text_encoder=pipeline.text_encoder_2, tokenizer=pipeline.tokenizer_2
    )
    words, _, pooled, _ = pipeline.encode_prompt("a <dusk> circle", device="cpu", do_classifier_free_guidance=False)
    entry = room.read("a embedding:dusk circle")
    assert torch.equal(entry.embedding, words)
    assert entry.pooled is not None
    torch.testing.assert_close(entry.pooled, pooled, rtol=0, atol=2e-6)


@torch.no_grad()
def test_the_summary_of_an_encoder_that_looks_for_the_highest_number_stays_at_the_end_mark(
    large: Path, tmp_path: Path
) -> None:
    """CLIP-L's and bigG's published configs have eos_token_id 2, with which transformers takes the highest token."""
    room = Room(large, tmp_path / "embeddings")
    room.add("dusk", {"clip_g": vectors(1, width_of(room, "text_encoder_2"))})
    wanted = room.read("a embedding:dusk circle").pooled
    encoder = room.part("text_encoder_2")
    inner = getattr(encoder, "text_model", encoder)
    usual = encoder.config.eos_token_id
    try:
        encoder.config.eos_token_id = inner.eos_token_id = 2
        assert torch.equal(room.read("a embedding:dusk circle").pooled, wanted)  # type: ignore[arg-type]
    finally:
        encoder.config.eos_token_id = inner.eos_token_id = usual


@torch.no_grad()
@pytest.mark.parametrize("count", [1, 3])
def test_flux_reads_them_in_clips_summary_and_t5_reads_on_without_the_name(tmp_path: Path, count: int) -> None:
    import copy

    from diffusers import FluxPipeline

    room = Room(flux.write(tmp_path / "flux"), tmp_path / "embeddings")
    learned = vectors(count, width_of(room))
    room.add("dusk", {"clip_l": learned})
    names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "vae", "transformer")
    pipeline = FluxPipeline(**{name: copy.deepcopy(room.part(name)) for name in names}, scheduler=None)
    pipeline.load_textual_inversion(
        {"clip_l": learned}, token="<dusk>", text_encoder=pipeline.text_encoder, tokenizer=pipeline.tokenizer
    )
    limit = room.read("a red circle").embedding.shape[1]
    words, pooled, _ = pipeline.encode_prompt(
        "a red circle, <dusk> on blue", "a red circle,  on blue", device="cpu", max_sequence_length=limit
    )
    entry = room.read("a red circle, embedding:dusk on blue")
    assert room.logs == []
    assert torch.equal(entry.embedding, words)
    assert entry.pooled is not None
    torch.testing.assert_close(entry.pooled, pooled, rtol=0, atol=2e-6)
    plain = room.read("a red circle,  on blue")
    assert plain.pooled is not None
    assert float((entry.pooled - plain.pooled).abs().max()) > 1e-3
    long = room.read("red circle " * 60 + "embedding:dusk")  # behind the 77 tokens that CLIP reads
    cut = room.read("red circle " * 60)
    assert long.pooled is not None
    assert cut.pooled is not None
    torch.testing.assert_close(long.pooled, cut.pooled, rtol=0, atol=2e-6)
    room.add("wide", {"emb_params": vectors(1, width_of(room) + 8)})
    with pytest.raises(InvalidRequest, match="“wide” has vectors"):
        room.read("embedding:wide")
