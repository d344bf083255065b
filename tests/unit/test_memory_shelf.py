"""What is kept in main memory between jobs: counted by bytes, the least recently used goes first."""

from __future__ import annotations

import mmap
import shutil
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.contracts.references import ModelRef
from engine.memory.footprint import GIB
from engine.memory.planner import Phase, Plan
from engine.memory.shelf import Held, Shelf, held_by
from engine.sampling.session import Session
from studio_app.engine import session_for
from studio_app.settings.table import BY_KEY
from tests.failure_room import write_lora
from tests.families import room
from tests.memory_room import Room, SimulatedCard

pytestmark = pytest.mark.filterwarnings("ignore:.*is deprecated:FutureWarning")  # diffusers' own
MODELS = ("first", "second", "third")


def of(size: int) -> torch.Tensor:
    return torch.zeros(size, dtype=torch.uint8)


def test_views_of_a_file_are_counted_apart(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(bytes(4096))
    with (tmp_path / "weights").open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # read-only, as models are mapped
        whole = torch.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), dtype=torch.uint8)
    copy = of(300)
    net = torch.nn.Module()
    net.register_buffer("a", whole[:1000])
    net.register_buffer("b", whole[1000:1500])
    net.register_buffer("c", copy[:100])
    net.register_buffer("d", copy[100:])  # of the same memory
    assert held_by(net) == Held(copies=300, mapped=1500)
    assert held_by({"x": [of(3)], "y": of(4)}) == Held(copies=7)
    assert held_by("a tokenizer") == Held()


def test_the_least_recently_used_goes_first() -> None:
    shelf = Shelf(10)
    for name in "abc":
        shelf.begin()
        shelf.put((name,), of(5))
    assert [key for key, _ in shelf.items()] == [("b",), ("c",)]
    shelf.begin()
    assert shelf.get(("b",)) is not None
    shelf.begin()
    shelf.put(("d",), of(5))
    assert [key for key, _ in shelf.items()] == [("b",), ("d",)]
    assert (shelf.copies, shelf.get(("c",))) == (10, None)


def test_what_is_in_use_never_goes() -> None:
    shelf = Shelf(10)
    shelf.begin()
    for name in "abc":  # one use asks for three things
        shelf.put((name,), of(6))
    assert (len(shelf), shelf.copies) == (3, 18)
    shelf.begin()
    assert [key for key, _ in shelf.items()] == [("c",)]  # its end is the next one's beginning; the last used stays
    shelf.put(("huge",), of(20))
    assert [key for key, _ in shelf.items()] == [("huge",)]


def test_what_streaming_copies_counts_too() -> None:
    shelf, beside = Shelf(10), [0]
    shelf.put(("streamed",), of(2), lambda: beside[0])
    shelf.begin()
    shelf.put(("other",), of(5))
    shelf.begin()
    assert len(shelf) == 2
    beside[0] = 8
    shelf.begin()
    assert [key for key, _ in shelf.items()] == [("other",)]


class Files:
    """Three models of their own weights, in float16: run in float32, they are copies."""

    def __init__(self, root: Path) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            first = Path(room.family_module("sd15").tiny(root))
        self.folders = {name: root / name for name in MODELS}
        for place, folder in enumerate(self.folders.values()):
            shutil.copytree(first, folder, ignore=shutil.ignore_patterns(*MODELS))
            for path in folder.glob("*/*.safetensors"):
                save_file({key: (t * (1 + place / 8)).half() for key, t in load_file(path).items()}, path)

    def locate(self, ref: ModelRef) -> Path:
        return self.folders[ref.name]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("models"))


def parts(session: Session, name: str) -> dict[str, Any]:
    """The networks of a model, loaded where they are not."""
    family: Any = session.family(ModelRef(name=name))
    found = {}
    for part in ("text_encoder", "unet", "vae"):
        session._begin()
        found[part] = family._parts(part)
    return found


def test_a_third_model_takes_the_place_of_the_one_not_used_for_longest(files: Files) -> None:
    alone = Session(files)
    size = held_by(list(parts(alone, "first").values())).copies
    assert alone.shelf.copies == size > 100_000
    session = Session(files, budget_bytes=2 * size)
    first, second = parts(session, "first"), parts(session, "second")
    assert session.shelf.copies == 2 * size
    again = parts(session, "first")
    assert all(again[name] is first[name] for name in first)  # at once: the very object
    third = parts(session, "third")
    assert session.shelf.copies == 2 * size
    assert all(part is first[name] for name, part in parts(session, "first").items())
    assert all(part is third[name] for name, part in parts(session, "third").items())
    assert all(part is not second[name] for name, part in parts(session, "second").items())  # read again
    assert session.shelf.copies == 2 * size


def test_merged_adapters_of_models_that_wait_go_before_models(files: Files) -> None:
    made = Room(files.folders["first"], "sd15")
    write_lora(files.folders["first"])
    lora = lora_patch()
    made.run(steps=1, patches=lora)
    session = made.session
    (family,) = session._families.values()
    kept = family.patched  # type: ignore[attr-defined]  # of every family
    assert kept.bytes > 0
    session.shelf.budget = session.shelf.copies
    session._begin()
    assert kept.bytes > 0  # it is the one that was last used
    session._merging = None
    session._begin()
    assert kept.bytes == 0
    assert session.shelf.copies == session.shelf.budget


def lora_patch() -> Any:
    from engine.graph.values import Patch

    return (Patch("lora", (("weights", ModelRef(kind="lora", name="drawn")), ("strength", 1.0))),)


def test_streamed_blocks_count_to_the_budget(files: Files) -> None:
    made = Room(files.folders["first"], "sd15", SimulatedCard())
    memory = made.session.memory
    assert memory is not None
    made.run(steps=1)
    before = made.session.shelf.copies
    phases = tuple(Phase(name, 0, 0.0) for name in ("text", "denoise", "decode"))
    memory.hold_to(Plan(5, "blocks", 16, 0, 0, False, phases, 0, 0.0, False))
    made.run(steps=1)
    packed = sum(part.host_bytes for part in memory.parts)
    assert packed > 10_000
    assert made.session.shelf.copies == before + packed


@pytest.mark.parametrize(("setting", "expected"), [(3.0, 3 * GIB), (0.0, None)])
def test_the_setting_says_how_much_is_kept(tmp_path: Path, setting: float, expected: int | None) -> None:
    import psutil

    values = {key: setting.default for key, setting in BY_KEY.items()} | {
        "engine.device": "cpu",
        "engine.ram_gib": setting,
    }
    session = session_for(SimpleNamespace(), SimpleNamespace(get=values.__getitem__), tmp_path)
    assert session.shelf.budget == (expected or psutil.virtual_memory().total // 2)
