"""Memory that runs out at any moment of a job, on tiny models of several families and the simulated card.

`main.py bench failures` and tests/unit/test_memory_recovery.py run its points.
"""

from __future__ import annotations

import gc
import random
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.contracts.job_events import JobEvent
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node, Workflow
from engine.graph.cache import ValueCache
from engine.graph.execute import execute
from engine.graph.registry import Registry
from engine.graph.services import Services
from engine.memory.choice import Chooser
from engine.memory.planner import RUNGS, Phase, Plan, Residency
from tests.families import room
from tests.families.tiny_parts import EDGE
from tests.memory_room import Pixels, Room, SimulatedCard

REGISTRY = Registry.builtin()
SAMPLER = "euler_ancestral"  # draws noise at each step: going on must not draw twice


@dataclass(frozen=True)
class Scene:
    """A job under failures.

    plan      how weights are kept; "" as they fit, "chosen" as the planner says
    cold      whether models are loaded in the run, and fail there too
    redraws   from a picture, inside a mask: encoded first
    batch     pictures at once; lora: merged for the run; enlarged: by an upscaler, at the end
    """

    family: str
    plan: Residency | str = ""
    bits: int = 16
    cold: bool = False
    redraws: bool = False
    batch: int = 1
    lora: bool = False
    enlarged: bool = False

    @property
    def name(self) -> str:
        said = {
            self.plan: bool(self.plan), f"{self.bits} bits": self.bits < 16, "loading": self.cold,
            "redrawing": self.redraws, f"batch of {self.batch}": self.batch > 1, "LoRA": self.lora,
            "upscaling": self.enlarged,
        }  # fmt: skip
        return ", ".join([self.family, *(word for word, holds in said.items() if holds)])


SCENES = (
    Scene("sd15"), Scene("sd15", cold=True), Scene("sd15", "blocks"), Scene("sd15", "pinned", bits=8),
    Scene("sd15", "leaves"), Scene("sd15", lora=True, cold=True), Scene("sd15", "blocks", lora=True, cold=True),
    Scene("sd15", redraws=True), Scene("sd15", batch=2), Scene("sd15", enlarged=True, cold=True),
    Scene("sd15", "chosen"), Scene("sd15", "disk"),
    Scene("sdxl"), Scene("sdxl", "text_first"), Scene("sdxl", cold=True), Scene("sdxl", "blocks", batch=2),
    Scene("sd3"), Scene("sd3", "pinned", redraws=True), Scene("sd3", "blocks", bits=8),
    Scene("flux"), Scene("flux", "leaves"),
    Scene("z_image"), Scene("z_image", "blocks", redraws=True), Scene("z_image", cold=True),
    Scene("qwen_image"), Scene("qwen_image", cold=True),
    Scene("qwen_image", "swap", redraws=True), Scene("qwen_image", "blocks", bits=4),
)  # fmt: skip


def job(scene: Scene, steps: int = 2) -> JobSpec:
    """The scene as a workflow document."""
    clip, vae = {"clip": Link("load", "clip")}, {"vae": Link("load", "vae")}
    tiny = ModelRef(name="tiny")
    model, latent = Link("load", "model"), Link("empty", "latent")
    nodes = [
        Node(id="load", type="load.checkpoint", inputs={"checkpoint": tiny}),
        Node(id="p", type="condition.encode_text", inputs={**clip, "text": "a red boat at sea"}),
        Node(id="n", type="condition.encode_text", inputs={**clip, "text": ""}),
    ]
    if scene.redraws:
        nodes += [
            Node(id="seen", type="image.gradient", inputs={"width": EDGE, "height": EDGE}),
            Node(id="encoded", type="latent.encode_image", inputs={**vae, "image": Link("seen", "image")}),
            Node(id="mask", type="mask.from_image", inputs={"image": Link("seen", "image")}),
            Node(id="empty", type="latent.set_noise_mask",
                 inputs={"latent": Link("encoded", "latent"), "mask": Link("mask", "mask")}),
        ]  # fmt: skip
    else:
        size: dict[str, Any] = {"width": EDGE, "height": EDGE, "batch_size": scene.batch}
        nodes.append(Node(id="empty", type="latent.empty", inputs=size))
    if scene.lora:
        lora: dict[str, Any] = {"model": model, "lora": ModelRef(kind="lora", name="drawn")}
        nodes.append(Node(id="lora", type="load.lora_model_only", inputs=lora))
        model = Link("lora", "model")
    nodes += [
        Node(
            id="sample", type="sample.k_sampler",
            inputs={
                "model": model, "positive": Link("p", "conditioning"), "negative": Link("n", "conditioning"),
                "latent": latent, "seed": 3, "steps": steps, "cfg": 4.0, "sampler": SAMPLER, "scheduler": "normal",
            },
        ),
        Node(id="made", type="latent.decode_image", inputs={**vae, "latent": Link("sample", "latent")}),
    ]  # fmt: skip
    if scene.enlarged:
        upscaler = ModelRef(kind="upscaler", name="compact")
        nodes += [
            Node(id="net", type="load.upscale_model", inputs={"upscaler": upscaler}),
            Node(id="end", type="image.upscale_with_model",
                 inputs={"upscale_model": Link("net", "upscale_model"), "image": Link("made", "image")}),
        ]  # fmt: skip
    return JobSpec(workflow=Workflow(nodes=tuple(nodes)), targets=("end" if scene.enlarged else "made",))


@dataclass(frozen=True)
class Outcome:
    """`picture` None for a refusal, whose remedy is `fix`; `said` are the sentences, `numerics` the record's."""

    picture: Pixels | None
    fix: str
    said: tuple[str, ...]
    numerics: Mapping[str, object]


@dataclass(frozen=True)
class Point:
    """Where it fails: those allocations on the card, all above a size, or those in main memory beside it."""

    failing: tuple[int, ...] = ()
    above: int = 1 << 40
    beside: tuple[int, ...] = ()


class Trial:
    """A scene with its session, card and the picture that it makes when nothing fails."""

    def __init__(self, scene: Scene, folder: Path) -> None:
        self.scene = scene
        self.card = SimulatedCard()
        chooser = Chooser(folder / "plans") if scene.plan == "chosen" else None
        self.room = Room(folder, scene.family, self.card, chooser=chooser)
        self._services = Services(blobs=self.room, models=self.room, session=self.room.session)  # type: ignore[arg-type]
        self._spec = job(scene)
        self.run(watched=False)  # what is made once in a process is made now
        self.end()
        first = self.run()
        assert first.picture is not None
        self.picture, self.sizes, self.peak = first.picture, tuple(self.card.sizes), self.card.peak
        self.beside = self.card.beside_allocations
        del first
        assert self.end() == 0, "bytes are left without any failure"

    def run(self, point: Point | None = None, *, watched: bool = True) -> Outcome:
        """One job, with the failures of a point."""
        scene, session = self.scene, self.room.session
        if scene.plan in RUNGS and session.memory is not None:
            residency: Residency = scene.plan
            phases = tuple(Phase(name, 0, 0.0) for name in ("text", "denoise", "decode"))
            pinned = 2 if residency == "pinned" else 0
            session.memory.hold_to(
                Plan(RUNGS[residency], residency, scene.bits, pinned, 0, False, phases, 0, 0.0, False)
            )
        self.card.again(*((point.failing, point.above, point.beside) if point is not None else ()))
        events: list[JobEvent] = []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if watched:
                with self.card.watching():
                    done = self._executed(events)
            else:
                done = self._executed(events)
        return done

    def _executed(self, events: list[JobEvent]) -> Outcome:
        result = execute(
            self._spec, registry=REGISTRY, services=self._services, cache=ValueCache(1 << 24), on_event=events.append
        )
        said = tuple(str(event.data["text"]) for event in events if event.kind == "log")
        numerics = {**self.room.session.numerics(self._spec), **result.numerics.get(self._spec.targets[0], {})}
        if result.outcome == "succeeded":
            (target,) = self._spec.targets
            return Outcome(np.array(result.outputs[target]["image"]), "", said, numerics)
        failure = result.failures[0]
        assert "memory" in failure.cause, failure.cause
        return Outcome(None, failure.hint, said, numerics)

    def end(self) -> int:
        """Let go of everything; bytes on the card that are still alive."""
        session = self.room.session
        assert session.memory is not None
        if self.scene.cold:
            session.free()
        else:
            session.memory.free()
        return self.card.settled()


def points(trial: Trial, count: int, seed: int) -> Iterator[Point]:
    """Failures over the whole length of a run, so that late phases get theirs: one, two in a row, three anywhere, or
    every allocation above a size; or one, or two, in main memory, where blocks are gathered and weights quantised."""
    drawn = random.Random(seed)
    total = len(trial.sizes)
    for place in range(count):
        at = int((place + drawn.random()) / count * total)
        kind = drawn.choice(("one", "one", "two", "three", "above", *["beside"] * bool(trial.beside)))
        if kind == "above":
            yield Point((), drawn.choice(trial.sizes) - 1)
        elif kind == "beside":
            where = at * trial.beside // total
            yield Point(beside=(where, where + drawn.randrange(2)))
        elif kind == "three":
            yield Point((at, *drawn.sample(range(total), 2)))
        else:
            yield Point((at,) if kind == "one" else (at, at + 1))


def tried(trial: Trial, point: Point) -> str:
    """What became of a point: "equal", "to rounding" or "refused". Raises AssertionError for anything else."""
    where = f"{trial.scene.name}: {point}"
    done = trial.run(point)
    told = f"{where} {done.said} {done.numerics}"
    for line in done.said:
        assert line.count(".") == 1, told
        assert line.endswith("."), told
        assert "\n" not in line, told
    if done.picture is None:
        assert done.fix, told
        verdict = "refused"
    elif np.array_equal(done.picture, trial.picture):
        verdict = "equal"
    else:
        assert done.numerics.get("apart"), told  # the record says so
        np.testing.assert_allclose(done.picture, trial.picture, atol=1e-5, err_msg=told)
        verdict = "to rounding"
    del done
    left = trial.end()
    assert left == 0, f"{left} bytes are left after {told}"
    after = trial.run(watched=False)
    assert after.picture is not None, told
    np.testing.assert_array_equal(after.picture, trial.picture, err_msg=f"the job after {told}")
    trial.end()
    return verdict


def folders(root: Path, names: set[str]) -> dict[str, Path]:
    """The tiny models, with a LoRA and an upscaler beside each."""
    made = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sorted(names):
            made[name] = Path(room.family_module(name).tiny(root / name))
            if name == "sd15":
                write_lora(made[name])
                write_upscaler(made[name])
    return made


def write_lora(folder: Path) -> None:
    from safetensors.torch import save_file

    (folder / "loras").mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(1)
    unet = room.load_module(folder / "unet", "diffusers", "UNet2DConditionModel", torch.float32)
    drawn = {}
    for name, layer in unet.named_modules():
        if name.endswith(("to_q", "to_v")):
            drawn[f"unet.{name}.lora_A.weight"] = torch.randn(2, layer.in_features, generator=generator)
            drawn[f"unet.{name}.lora_B.weight"] = torch.randn(layer.out_features, 2, generator=generator) * 0.3
    save_file(drawn, folder / "loras" / "drawn.safetensors")


def write_upscaler(folder: Path) -> Path:
    """Real-ESRGAN's compact network, small and random, among the models of `folder`; its file."""
    from safetensors.torch import save_file

    (folder / "upscalers").mkdir(exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    shapes = {"body.0": (12, 3), **{f"body.{2 * i}": (12, 12) for i in range(1, 5)}, "body.10": (12, 12)}
    tensors: dict[str, torch.Tensor] = {}
    for name, (out, into) in shapes.items():
        tensors[f"{name}.weight"] = torch.randn((out, into, 3, 3), generator=generator) * 0.15
        tensors[f"{name}.bias"] = torch.zeros(out)
        if name != "body.10":
            tensors[f"body.{int(name[5:]) + 1}.weight"] = torch.full((out,), 0.2)
    path = folder / "upscalers" / "compact.safetensors"
    save_file(tensors, path)
    return path


def run_points(models: dict[str, Path], scene: Scene, count: int, seed: int) -> Counter[str]:
    """`count` points of a scene; how many ended in which way."""
    trial = Trial(scene, models[scene.family])
    ended: Counter[str] = Counter()
    gc.collect()
    gc.freeze()  # the collector is run after each failure; it need not look through every module each time
    try:
        for point in points(trial, count, seed):
            ended[tried(trial, point)] += 1
    finally:
        gc.unfreeze()
        trial.room.session.free()
    return ended


def shared(count: int, scenes: tuple[Scene, ...] = SCENES) -> Iterator[tuple[int, Scene, int]]:
    """(seed, scene, points): `count` points in all."""
    for place, scene in enumerate(scenes):
        yield place, scene, count * (place + 1) // len(scenes) - count * place // len(scenes)
