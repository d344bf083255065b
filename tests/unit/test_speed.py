"""What makes a card faster: each lever does what it says, equal where it is called exact, and the record says it."""

from __future__ import annotations

import copy
import gc
import logging
import sys
import types
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the field's own name for it
from torch._dynamo.testing import CompileCounter

from engine.contracts.errors import Cancelled, InvalidRequest
from engine.graph.interruption import attending
from engine.graph.numerics import noting
from engine.memory import attention
from engine.memory.attention import KERNELS, computed_by, installed, lacking, usable
from engine.memory.compiled import compile_blocks
from engine.memory.fast import eased
from engine.memory.speed import Speed, arranged, prepare_card, prepare_part, summing
from engine.models.interruptible import watch_layers
from engine.sampling.loop import SamplePlan
from engine.sampling.session import Session
from studio_app import diagnostics
from studio_app.application import Application
from studio_app.diagnostics import SystemReport
from studio_app.engine import session_for
from studio_app.settings.table import TABLE, setting
from tests.families import room
from tests.memory_room import Room

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),  # diffusers' own, about its own
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:diffusers"),
]

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return room.tiny_folders(tmp_path_factory.mktemp)


def network_of(made: Room) -> Any:
    return made.session.network_of(made.session.denoiser(made.handles()[0]))


def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[bool, bool]]:
    """(whether PyTorch may use its flash kernel, whether its plain one) at each call of its attention."""
    found: list[tuple[bool, bool]] = []
    own = F.scaled_dot_product_attention

    def spy(*args: Any, **kwargs: Any) -> Any:
        switches: Any = torch.backends.cuda
        found.append((switches.flash_sdp_enabled(), switches.mem_efficient_sdp_enabled()))
        return own(*args, **kwargs)

    monkeypatch.setattr(F, "scaled_dot_product_attention", spy)
    return found


@pytest.mark.parametrize("family", room.families())
def test_a_kernel_that_is_asked_for_computes_every_familys_attention(
    folder: Any, family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Room(folder(family), family)
    calls = seen(monkeypatch)
    exact = made.run(steps=1)
    assert (True, True) in calls  # PyTorch chooses
    network = network_of(made)
    for name, allowed in (("math", (False, False)), ("efficient", (False, True))):
        plain = vars(network).get("forward")
        assert arranged(network, "transformer", Speed(attention=name)) == (f"{name} attention",)  # type: ignore[arg-type]
        calls.clear()
        notes: dict[str, Any] = {}
        with noting(notes):
            picture = made.run(steps=1)
        assert calls.count(allowed) > 0
        assert notes == {"attention": name}
        np.testing.assert_allclose(picture, exact, atol=1e-5)
        if plain is None:
            del network.forward
        else:
            network.forward = plain
    switches: Any = torch.backends.cuda
    assert switches.flash_sdp_enabled()


@pytest.fixture
def sage(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """A package that stands for SageAttention: shapes it was given; it says zeros, and knows no heads of 64."""
    asked: list[tuple[int, ...]] = []

    def sageattn(query: Any, key: Any, value: Any, **_: Any) -> Any:
        asked.append(tuple(query.shape))
        if query.shape[-1] == 64:
            raise ValueError("unsupported head_dim")
        return torch.zeros_like(query)

    module = types.ModuleType("sageattention")
    module.sageattn = sageattn  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sageattention", module)
    monkeypatch.setattr(attention, "_failed", set())
    return asked


def test_a_package_takes_the_calls_it_can_and_leaves_the_others(sage: Any, caplog: pytest.LogCaptureFixture) -> None:
    def ask(width: int = 32, dtype: torch.dtype = torch.bfloat16, **more: Any) -> torch.Tensor:
        q = torch.ones(1, 2, 4, width, dtype=dtype)
        return F.scaled_dot_product_attention(q, q, q, **more)

    notes: dict[str, Any] = {}
    with noting(notes), computed_by("sage"):
        assert not ask().any()
        assert ask(dtype=torch.float32).all()
        assert ask(attn_mask=torch.zeros(4, 4, dtype=torch.bfloat16)).all()
        assert ask(width=256).all()
        assert ask(is_causal=True).any() == torch.tensor(False)
        assert len(sage) == 2
        with caplog.at_level(logging.WARNING):
            assert ask(width=64).all()  # it can't: PyTorch's is used, and said once
            assert ask().all()
    assert notes == {"attention": "sage"}
    assert len(sage) == 3
    assert [record.getMessage() for record in caplog.records] == [
        "SageAttention can't be used on this card (unsupported head_dim), so PyTorch's choice is used."
    ]
    assert ask().all()
    with noting(notes := {}), computed_by("sage"):
        assert ask().all()
    assert notes == {}  # it is not used any more, and the record does not say so


def test_what_is_not_there_is_not_used_and_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert installed() == ("auto", "native", "efficient", "math")
    assert set(lacking()) == {"flash", "xformers", "sage"}
    assert usable("flash", "cuda") == (
        "auto", "FlashAttention is not installed, so PyTorch's choice is used for attention."
    )  # fmt: skip
    assert usable("efficient", "cpu")[1].startswith("PyTorch's memory-efficient kernel needs a graphics card")
    assert usable("math", "cpu") == ("math", "")
    assert usable("efficient", "cuda") == ("efficient", "")
    with pytest.raises(InvalidRequest, match="“FlashAttention” can't be used: it is not installed"):
        setting("engine.attention").check("flash")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert setting("engine.attention").check("flash") == "flash"
    assert usable("sage", "cpu")[0] == "auto"
    assert usable("other", "cuda")[0] == "auto"
    found: Any = None
    session = Session(found, "cpu", speed=Speed(attention="flash"))
    assert session.speed.attention == "auto"
    assert session.remark == "FlashAttention needs a graphics card, so PyTorch's choice is used for attention."


def test_the_doctor_names_what_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name == "xformers" else None)
    monkeypatch.setattr("studio_app.diagnostics.metadata.packages_distributions", lambda: {"xformers": ["xformers"]})
    monkeypatch.setattr("studio_app.diagnostics.metadata.version", lambda name: "0.0.33")
    app = Application(tmp_path)
    app.settings.set("engine.attention", "math")
    report = SystemReport()
    diagnostics._attention(report, app)
    assert report.facts["Attention"] == (
        "PyTorch’s own; FlashAttention not installed; xFormers 0.0.33; SageAttention not installed (computes in eight "
        "bits); plain arithmetic is used"
    )


def test_the_choices_are_the_kernels_and_the_lossy_one_says_so() -> None:
    choices = dict(setting("engine.attention").choices)
    assert tuple(choices) == tuple(KERNELS)
    assert [name for name, kernel in KERNELS.items() if kernel.lossy] == ["sage"]
    assert "eight bits" in choices["sage"]
    titles = {entry.key: entry.group for entry in TABLE}
    for key in ("attention", "half_sums", "compile", "fast_cache"):
        assert titles[f"engine.{key}"] == "speed"
    for key in ("vram_gib", "cache_mib", "disk_cache_mib", "text_cache_mib"):
        assert titles[f"engine.{key}"] == "memory"


def test_a_network_is_let_go_though_a_kernel_was_chosen_for_it() -> None:
    network: Any = torch.nn.Sequential(torch.nn.Linear(4, 4, bias=False)).requires_grad_(False)
    assert attention.arrange(network, "math")
    twin = copy.deepcopy(network)
    network[0].weight.zero_()
    assert not network(torch.ones(1, 4)).any()
    assert twin(torch.ones(1, 4)).any()  # a copy computes with its own weights
    gone = weakref.ref(network)
    gc.disable()
    try:
        del network
        assert gone() is None
    finally:
        gc.enable()
    assert twin(torch.ones(1, 4)).shape == (1, 4)


def test_float16_is_summed_in_float16_where_the_person_lets_it(monkeypatch: pytest.MonkeyPatch) -> None:
    matmul = types.SimpleNamespace(allow_fp16_accumulation=False)  # PyTorch's switch; its builds without a card lack it
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    card, half = "NVIDIA GeForce RTX 4090", torch.float16

    def inside(
        speed: Speed, device: torch.device = CUDA, name: str = card, dtype: torch.dtype = half, *, fast: bool
    ) -> Any:
        notes: dict[str, Any] = {}
        with noting(notes), summing(speed, device, name, dtype, fast=fast):
            found = matmul.allow_fp16_accumulation
        assert matmul.allow_fp16_accumulation is False
        return found, notes

    said = (True, {"sums": "float16"})
    plain: tuple[bool, dict[str, Any]] = (False, {})
    assert inside(Speed(), fast=False) == plain  # exact unless the run may go fast
    assert inside(Speed(), fast=True) == said
    assert inside(Speed(half_sums="never"), fast=True) == plain
    assert inside(Speed(), dtype=torch.bfloat16, fast=True) == plain  # nothing to gain, nothing to say
    assert inside(Speed(), CPU, "cpu", fast=True) == plain
    assert inside(Speed(), name="NVIDIA H200", fast=True) == plain
    assert prepare_card(CUDA, Speed(), card) == ()
    assert prepare_card(CUDA, Speed(half_sums="always"), card) == ("float16 sums",)
    assert matmul.allow_fp16_accumulation
    assert prepare_card(CUDA, Speed(), card) == ()
    assert not matmul.allow_fp16_accumulation
    assert prepare_card(CPU, Speed(half_sums="always")) == ()


def test_a_session_is_given_what_the_settings_say(tmp_path: Path) -> None:
    app = Application(tmp_path)
    locator: Any = None
    assert session_for(locator, app.settings, None).speed == Speed()
    app.settings.set("engine.quality", "8-bit")  # loss is allowed to every run
    app.settings.set("engine.attention", "math")
    app.settings.set("engine.compile", True)
    app.settings.set("engine.fast_cache", True)
    wanted = Speed("math", "always", True, True)
    assert session_for(locator, app.settings, None).speed == wanted
    app.settings.set("engine.half_sums", "never")
    assert session_for(locator, app.settings, None).speed == replace(wanted, half_sums="never")


def test_convolutions_lie_as_tensor_cores_read_them_and_say_the_same(folder: Any) -> None:
    made = Room(folder("sd15"), "sd15")
    exact = made.run(steps=2)
    network, vae = network_of(made), made.session.autoencoder(made.handles()[2])._parts("vae")  # type: ignore[attr-defined]
    for part, module in (("unet", network), ("vae", vae)):
        before = {name: tensor.clone() for name, tensor in module.named_parameters()}
        assert arranged(module, part, Speed()) == ("channels last",)
        for name, tensor in module.named_parameters():
            assert torch.equal(tensor, before[name])
            assert tensor.ndim != 4 or tensor.is_contiguous(memory_format=torch.channels_last)
    # The numbers are the same; the processor sums them in another order.
    np.testing.assert_allclose(made.run(steps=2), exact, atol=1e-5)
    assert arranged(torch.nn.Linear(2, 2), "transformer", Speed()) == ()
    assert prepare_part(torch.nn.Conv2d(1, 1, 3), "unet", CPU, Speed(compiled=True)) == ()


class Block(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = torch.nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = torch.relu(self.line(x)) + x
        return found


class Net(torch.nn.Module):
    """Six blocks of one kind, that no list of diffusers' names, and a last layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.transformer_blocks = torch.nn.ModuleList([Block() for _ in range(6)])
        self.last = torch.nn.Linear(8, 2)
        self.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.transformer_blocks:
            x = block(x)
        found: torch.Tensor = self.last(x)
        return found


def test_blocks_that_repeat_are_compiled_once_for_all_of_them() -> None:
    torch._dynamo.reset()
    net, counted = Net(), CompileCounter()
    watch_layers(net)
    x = torch.linspace(-1, 1, 32).reshape(4, 8)
    exact = net(x)
    assert compile_blocks(net, counted) == 6
    assert torch.equal(net(x), exact)
    assert counted.frame_count <= 2  # of six: the first is given a tensor of another making
    first = counted.frame_count
    # Other sizes, and weights that an adapter changed, need no more of it.
    for rows in (7, 30):
        torch.testing.assert_close(net(torch.ones(rows, 8)), Net()(torch.ones(rows, 8)))
    assert counted.frame_count <= first + 1
    first = counted.frame_count
    changed = {f"transformer_blocks.{n}.line.weight": torch.full((8, 8), n / 10) for n in range(0, 6, 2)}
    wanted = torch.func.functional_call(Net(), changed, (x,))
    torch.testing.assert_close(torch.func.functional_call(net, changed, (x,)), wanted)
    assert counted.frame_count <= first + 2  # once more for tensors that are no parameters
    before = counted.frame_count
    torch.func.functional_call(net, {key: tensor * 2 for key, tensor in changed.items()}, (x,))
    assert torch.equal(net(x), exact)
    assert counted.frame_count == before


def test_a_cancelled_job_stops_between_compiled_blocks() -> None:
    torch._dynamo.reset()
    net = Net()
    watch_layers(net)
    compile_blocks(net, "eager")
    asked: list[int] = []

    def check() -> None:
        asked.append(1)
        if len(asked) == 4:
            raise Cancelled

    with attending(check), pytest.raises(Cancelled):
        net(torch.ones(1, 8))
    assert len(asked) == 4


def test_a_block_that_can_not_be_compiled_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    torch._dynamo.reset()

    def broken(*_: Any) -> Any:
        raise RuntimeError("no compiler on this machine")

    net = Net()
    exact = net(torch.ones(2, 8))
    compile_blocks(net, broken)
    with caplog.at_level(logging.WARNING, "engine.memory.compiled"):
        assert torch.equal(net(torch.ones(2, 8)), exact)
    assert "Block can't be compiled here and runs as it is" in caplog.text
    assert arranged(torch.nn.Linear(2, 2), "unet", Speed(compiled=True)) == ("channels last",)


@pytest.mark.parametrize("family", ["sd15", "sd3"])
def test_a_familys_network_is_compiled_and_makes_the_same_picture(folder: Any, family: str) -> None:
    torch._dynamo.reset()
    made, counted = Room(folder(family), family), CompileCounter()
    exact = made.run(steps=1)
    assert "compiled" in arranged(network_of(made), "transformer", Speed(compiled=True, compiler=counted))
    notes: dict[str, Any] = {}
    with noting(notes):
        assert np.array_equal(made.run(steps=1), exact)
    assert notes == {"compiled": True}
    assert 1 <= counted.frame_count <= 2
    before = counted.frame_count
    made.run(steps=2)
    assert counted.frame_count == before
    torch._dynamo.reset()


def test_going_fast_leaves_out_steps_only_where_the_settings_say_so() -> None:
    plan = SamplePlan((), (), 0, 4, 1.0, "euler", "normal")

    class Given:
        speed = Speed()

    assert eased(plan, Given(), True) is plan
    Given.speed = Speed(fast_cache=True)
    assert eased(plan, Given(), False) is plan
    (patch,) = eased(plan, Given(), True).patches
    assert (patch.kind, dict(patch.settings)["threshold"]) == ("step_cache", 0.2)
    already = SamplePlan((), (), 0, 4, 1.0, "euler", "normal", patches=(patch,))
    assert eased(already, Given(), True) is already
    assert eased(plan, object(), True) is plan
