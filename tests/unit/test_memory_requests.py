"""Everything that a request asks for counts: ControlNets, adapters, windows, frames, the kernel; and is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from engine.contracts.references import ModelRef
from engine.contracts.workflow import Node, Workflow
from engine.graph.registry import Registry
from engine.memory import measure
from engine.memory.blueprint import Blueprint
from engine.memory.estimates import Estimates
from engine.memory.footprint import GIB, ModelFootprint
from engine.memory.machine import PRESETS, preset
from engine.memory.measure import empty, walk
from engine.memory.planner import choose, nearest_fit, plans, smaller
from engine.memory.request import Request, across
from engine.memory.words import sentence
from engine.memory.workload import Work, work_of
from engine.sampling.windows import starts
from tests.unit.graph_nodes import n

RESOURCES = Path(__file__).resolve().parents[2] / "resources"


@pytest.fixture(scope="module")
def estimates(tmp_path_factory: pytest.TempPathFactory) -> Estimates:
    return Estimates(tmp_path_factory.mktemp("estimates") / "kept.json")


# --- walking


class Block(torch.nn.Module):
    def __init__(self, inner: int, number: int) -> None:
        super().__init__()
        self.layer_idx = number
        self.up, self.down = torch.nn.Linear(8, inner), torch.nn.Linear(inner, 8)

    def forward(self, x: torch.Tensor, beside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x + self.down(torch.relu(self.up(x))), beside


class Stack(torch.nn.Module):
    def __init__(self, *inner: int) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(Block(width, number) for number, width in enumerate(inner))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = []
        beside = x.sum(-1)
        for layer in self.layers:
            x, same = layer(x, beside)
            assert same is beside
            kept.append(x)
        return torch.cat(kept)


def test_repeated_blocks_are_walked_once_with_the_numbers_of_the_whole_walk(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        net = Stack(32, 32, 64, 32, 64)
    calls: list[int] = []
    before = Block.forward

    def counted(self: Block, x: torch.Tensor, beside: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        calls.append(self.layer_idx)
        return before(self, x, beside)

    monkeypatch.setattr(Block, "forward", counted)

    def run() -> object:
        return net(empty(3, 5, 8, dtype=torch.float32))

    once = walk(run, net)
    assert calls == [0, 2]
    monkeypatch.setattr(measure, "streamed_blocks", lambda module: iter(()))
    every = walk(run, net)
    assert calls == [0, 2, 0, 1, 2, 3, 4]
    assert once == every
    assert once.flops == sum(2 * 2 * 15 * 8 * inner for inner in (32, 32, 64, 32, 64))
    assert "forward" not in vars(net.layers[0])


def test_a_plain_kernel_holds_two_matrices_of_tokens_by_tokens() -> None:
    def run() -> object:
        shape = (2, 4, 512, 16)
        return torch.nn.functional.scaled_dot_product_attention(empty(*shape), empty(*shape), empty(*shape))

    matrices = 2 * 2 * 4 * 512 * 512 * 4
    flash, plain = walk(run), walk(run, kernel="plain")
    assert flash.flops == plain.flops
    assert flash.peak < 1 << 20
    assert matrices < plain.peak < 1.1 * matrices


def test_old_cards_have_no_fused_kernel_for_bfloat16() -> None:
    asked = Request()
    assert asked.attended(fused=True, half=False) is asked
    assert asked.attended(fused=False, half=True) is asked
    assert asked.attended(fused=False, half=False).kernel == "plain"


@pytest.mark.parametrize(
    ("family", "variant", "gib"),
    # Bytes of the files of the ControlNets that are used most, in sixteen bits: lllyasviel's, diffusers', InstantX's
    # Canny (SD3 medium), Union (Flux and Qwen-Image), and Z-Image's Union
    [
        ("sd15", "", 0.67), ("sdxl", "", 2.33), ("flux", "dev", 6.15), ("qwen_image", "", 3.3), ("z_image", "", 2.89),
    ],
)  # fmt: skip
def test_a_control_net_weighs_what_its_file_does(estimates: Estimates, family: str, variant: str, gib: float) -> None:
    guided = family not in ("flux", "z_image")
    without, one, two = (
        estimates.of(Blueprint(family, variant), Request(512, 512, guidance=guided, controls=count)).denoiser
        for count in (0, 1, 2)
    )
    assert one.beside / GIB == pytest.approx(gib, rel=0.02)
    assert two.beside == 2 * one.beside
    assert one.weights - without.weights == one.outside - without.outside == one.beside
    assert one.blocks == without.blocks
    assert one.flops > 1.05 * without.flops
    assert two.peak >= one.peak > without.peak  # what it says is kept while the denoiser runs


def test_control_nets_keep_their_bits_and_are_never_streamed(estimates: Estimates) -> None:
    model = estimates.of(Blueprint("sdxl"), Request(512, 512, controls=1))
    beside = model.denoiser.beside
    for plan in plans(model, Request(512, 512, controls=1), replace(PRESETS[24], ram=64 * GIB), "4-bit"):
        assert plan.phases[1].peak > beside


def test_a_lora_takes_main_memory_not_the_card(estimates: Estimates) -> None:
    without, with_one = Request(512, 512), Request(512, 512, adapters=1)
    model = estimates.of(Blueprint("sd15"), without)
    machine = replace(PRESETS[16], ram=64 * GIB)
    a, b, c = (
        choose(estimates.of(Blueprint("sd15"), asked), asked, machine)
        for asked in (without, with_one, replace(with_one, adapters=3))
    )
    assert a is not None
    assert b is not None
    assert c is not None
    assert a.phases == b.phases == c.phases
    assert b.ram - a.ram == c.ram - a.ram == model.denoiser.weights


def test_an_ip_adapter_has_layers_of_its_own(estimates: Estimates) -> None:
    plain, prompted = (estimates.of(Blueprint("sd15"), Request(512, 512, prompts=count)).denoiser for count in (0, 1))
    # 16 layers: 320 and 640 five each, 1280 six times, keys and values of words 768 wide
    assert prompted.beside == 2 * 2 * 768 * (5 * 320 + 5 * 640 + 6 * 1280)
    assert prompted.weights == plain.weights + prompted.beside


def test_a_video_counts_its_frames(estimates: Estimates) -> None:
    """Stable Video Diffusion's network has 1.52 thousand million weights."""
    short, long = (
        estimates.of(Blueprint("svd"), Request(256, 256, frames=frames, guidance=False)) for frames in (2, 8)
    )
    assert short.denoiser.weights / 2 == pytest.approx(1.525e9, rel=0.01)
    assert 3 < long.denoiser.peak / short.denoiser.peak < 4.5
    assert 3 < long.vae.peak / short.vae.peak < 4.5
    assert short.of("text")[0].part == "image_encoder"


@pytest.mark.parametrize("length", [256, 1000, 1024, 1300, 4096, 8192])
@pytest.mark.parametrize(("size", "overlap"), [(1024, 256), (512, 128), (768, 0)])
def test_windows_are_counted_as_the_sampler_lays_them(length: int, size: int, overlap: int) -> None:
    assert across(length, size, overlap) == len(starts(length // 8, size // 8, overlap // 8))


def test_a_picture_in_windows_needs_what_a_window_needs_and_takes_as_long_as_all(estimates: Estimates) -> None:
    whole = estimates.of(Blueprint("sdxl"), Request(1024, 1024))
    asked = Request(4096, 4096, window=1024)
    cut = estimates.of(Blueprint("sdxl"), asked)
    latents = 6 * 4 * 4 * 512 * 512
    assert cut.denoiser.peak == whole.denoiser.peak + latents
    machine = replace(PRESETS[24], ram=64 * GIB)
    one, many = choose(whole, Request(1024, 1024), machine), choose(cut, asked, machine)
    assert one is not None
    assert many is not None
    assert asked.windows == 25
    assert many.step == pytest.approx(25 * one.step)
    assert "drawn in 25 windows of 1024 pixels" in sentence(many, cut, asked)


def test_a_file_of_estimates_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Estimates(tmp_path / "e.json")
    found = kept.of(Blueprint("sd15"), Request(64, 64))
    monkeypatch.setattr("engine.memory.estimate.estimate", lambda *_: found)
    monkeypatch.setattr(Estimates, "MOST", 5)
    (tmp_path / "e.json").write_text(json.dumps({"[1, old]": {}}))
    for number in range(8):
        kept.of(Blueprint("sd15"), Request(64, 64, steps=number + 1))
    names = list(json.loads((tmp_path / "e.json").read_text()))
    assert len(names) == 5
    assert all(name.startswith(f"[{Estimates.VERSION},") for name in names)


def test_an_autoencoder_that_runs_over_in_float16_is_foreseen_in_float32(estimates: Estimates) -> None:
    """SD 1.5 and SDXL have the same decoder; SDXL's says that it can't run in half precision."""
    half, whole = (estimates.of(Blueprint(family), Request(512, 512)).vae for family in ("sd15", "sdxl"))
    assert (half.single, whole.single) == (False, True)
    assert (whole.weights, whole.flops) == (2 * half.weights, 2 * half.flops)
    assert whole.peak == pytest.approx(2 * half.peak, rel=0.01)
    assert not estimates.of(Blueprint("flux"), Request(512, 512)).vae.single  # bfloat16 reaches as far as float32


# --- refusals


CASES = [
    (family, variant, edge, card)
    for family, variant in (("sd15", ""), ("sdxl", ""), ("flux", "dev"), ("qwen_image", ""), ("z_image", ""))
    for edge in (2048, 4096, 8192)
    for card in (4, 8)
]


@pytest.mark.parametrize(("family", "variant", "edge", "card"), CASES)
def test_every_request_fits_or_is_told_the_smallest_change_that_does(
    estimates: Estimates, family: str, variant: str, edge: int, card: int
) -> None:
    blueprint, machine = Blueprint(family, variant), replace(PRESETS[card], ram=64 * GIB)
    request = Request(edge, edge, guidance=family not in ("flux", "z_image"))

    def footprint_of(asked: Request) -> ModelFootprint:
        return estimates.of(blueprint, asked)

    model = footprint_of(request)
    if choose(model, request, machine) is not None:
        return
    change = nearest_fit(model, request, machine, "exact", footprint_of)
    assert change is not None
    again = choose(footprint_of(change.request), change.request, machine, change.quality)
    assert again is not None
    assert again.peak <= machine.usable
    assert again == change.plan
    if change.request.window:
        assert change.words == f"Draw it in windows of {change.request.window} (tiled sampler)"
        assert (change.request.width, change.request.height) == (edge, edge)
    assert change.words


def test_8192_squared_of_sdxl_on_8_gb_is_drawn_in_windows_and_decoded_in_tiles(estimates: Estimates) -> None:
    asked, machine = Request(8192, 8192), replace(PRESETS[8], ram=32 * GIB)
    model = estimates.of(Blueprint("sdxl"), asked)
    assert choose(model, asked, machine) is None
    change = nearest_fit(model, asked, machine, "exact", lambda other: estimates.of(Blueprint("sdxl"), other))
    assert change is not None
    assert change.words == "Draw it in windows of 1024 (tiled sampler)"
    assert change.plan.vae_tile
    assert change.plan.bits == 16
    assert change.request.windows == 121


def test_the_smallest_change_is_one_that_keeps_the_pictures(estimates: Estimates) -> None:
    """Eight pictures at once don't fit where one does; a batch is never silently a smaller picture."""

    def footprint_of(asked: Request) -> ModelFootprint:
        found = estimates.of(Blueprint("sd15"), replace(asked, batch=1))
        heavy = tuple(
            replace(part, peak=part.peak * asked.batch**2) if part.role != "text" else part for part in found.parts
        )
        return replace(found, parts=heavy, apart=heavy[1].peak, vae_tiles={})

    asked, machine = Request(512, 512, batch=8), preset(4 * GIB, 32 * GIB)
    change = nearest_fit(footprint_of(asked), asked, machine, "exact", footprint_of)
    assert change is not None
    assert change.words == "Make one picture at a time"
    assert change.request == Request(512, 512)


def test_smaller_pictures_keep_the_shape() -> None:
    sizes = list(smaller(Request(2048, 1024)))
    assert sizes[0] == (1792, 896)
    assert all(width == pytest.approx(2 * height, rel=0.15) for width, height in sizes)
    assert sizes == sorted(sizes, reverse=True)


def test_exact_means_no_tiles_while_any_plan_decodes_whole(estimates: Estimates) -> None:
    asked = Request(guidance=False)
    model = estimates.of(Blueprint("flux", "dev"), asked)
    for card in PRESETS:
        plan = choose(model, asked, replace(PRESETS[card], ram=64 * GIB))
        assert plan is not None
        assert plan.vae_tile == 0


def test_a_text_encoder_larger_than_the_card_comes_block_by_block_and_is_said_to(estimates: Estimates) -> None:
    asked = Request()
    model = estimates.of(Blueprint("qwen_image"), asked)
    (text,) = model.of("text")
    words = {}
    for card in (12, 16):
        plan = choose(model, asked, replace(PRESETS[card], ram=64 * GIB))
        assert plan is not None
        words[card] = sentence(plan, model)
        assert f"{plan.ram / GIB:.1f} GiB of main memory" in words[card]
        whole = card == 16  # 14.3 GiB of weights
        assert (plan.phases[0].peak > text.weights) is whole
        assert ("comes block by block" in words[card]) is not whole


# --- workflows


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.builtin()


def works(registry: Registry, *nodes: Node) -> dict[str, Work]:
    return {work.node: work for work in work_of(Workflow(nodes=nodes), registry)}


def begun(width: int = 1024, height: int = 1024) -> tuple[Node, ...]:
    return (
        n("load", "load.checkpoint", checkpoint=ModelRef(name="m")),
        n("prompt", "condition.encode_text", clip="@load.clip", text="a boat"),
        n("empty", "latent.empty", width=width, height=height, batch_size=1),
    )


def sampler(name: str = "sampler", **more: Any) -> Node:
    wires = {"model": "@load.model", "positive": "@prompt.conditioning", "negative": "@prompt.conditioning",
             "latent": "@empty.latent"}  # fmt: skip
    return n(name, "sample.k_sampler", **{**wires, **more})


def test_both_passes_of_a_hires_fix_are_found(registry: Registry) -> None:
    found = works(
        registry, *begun(512, 768), sampler(steps=20),
        n("larger", "latent.scale_by", latent="@sampler.latent", factor=2.0),
        sampler("second", latent="@larger.latent", steps=20, denoise=0.5),
    )  # fmt: skip
    assert found["sampler"].request == Request(512, 768, steps=20)
    assert found["second"].request == Request(1024, 1536, steps=10)


def test_what_steers_the_first_run_does_not_count_for_the_second(registry: Registry) -> None:
    found = works(
        registry, *begun(), n("picture", "image.solid", width=64, height=64),
        n("net", "load.controlnet", control_net=ModelRef(kind="controlnet", name="c")),
        n("steered", "condition.control", conditioning="@prompt.conditioning", control_net="@net.control_net",
          image="@picture.image"),
        sampler(positive="@steered.conditioning"), sampler("second", latent="@sampler.latent"),
    )  # fmt: skip
    assert found["sampler"].request == Request(controls=1)
    assert found["second"].request == Request()


def test_the_tiled_sampler_asks_for_its_windows(registry: Registry) -> None:
    tiled = n(
        "tiled", "sample.tiled", model="@load.model", positive="@prompt.conditioning",
        negative="@prompt.conditioning", latent="@empty.latent", steps=12, tile_size=768, overlap=128,
    )  # fmt: skip
    found = works(registry, *begun(4096, 2048), tiled)["tiled"].request
    assert found == Request(4096, 2048, steps=12, window=768, overlap=128)
    assert found.seen == (768, 768)
    assert works(registry, *begun(512, 512), tiled)["tiled"].request == Request(512, 512, steps=12)


def test_a_chain_of_custom_sampling_is_read(registry: Registry) -> None:
    found = works(
        registry, *begun(),
        n("guider", "sample.cfg_guider", model="@load.model", positive="@prompt.conditioning",
          negative="@prompt.conditioning", cfg=1.0),
        n("levels", "sample.schedule", model="@load.model", steps=30),
        n("split", "sample.split_sigmas", sigmas="@levels.sigmas", step=22),
        n("noise", "sample.noise"), n("solver", "sample.select_sampler"),
        n("first", "sample.custom_advanced", noise="@noise.noise", guider="@guider.guider", sampler="@solver.sampler",
          sigmas="@split.high", latent="@empty.latent"),
        n("second", "sample.custom", model="@load.model", positive="@prompt.conditioning",
          negative="@prompt.conditioning", sampler="@solver.sampler", sigmas="@split.low", latent="@first.latent"),
    )  # fmt: skip
    assert found["first"].request == Request(guidance=False, steps=22)
    assert found["second"].request == Request(steps=8)


def test_part_of_a_schedule_has_fewer_steps(registry: Registry) -> None:
    wires = {"model": "@load.model", "positive": "@prompt.conditioning", "negative": "@prompt.conditioning"}
    found = works(
        registry, *begun(),
        n("first", "sample.k_sampler_advanced", **wires, latent="@empty.latent", steps=20, end_step=12),
        n("second", "sample.k_sampler_advanced", **wires, latent="@first.latent", steps=20, start_step=12),
    )  # fmt: skip
    assert [work.request.steps for work in found.values() if work.request] == [12, 8]


def test_the_templates_that_come_with_the_studio_are_planned(registry: Registry) -> None:
    """Every sampling run whose picture is not read from a file."""
    for name, runs in (("hires_fix", 2), ("two_stages", 2), ("custom_sampling", 1), ("seed_travel", 1)):
        data = json.loads((RESOURCES / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
        found = work_of(Workflow.from_json(data.get("workflow", data)), registry)
        assert len(found) == runs
        assert all(work.request is not None for work in found)
