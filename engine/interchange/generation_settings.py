"""What people mean by "the settings of a picture": prompts, sampler, seed, size, model; read out of a job's graph."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from engine.contracts.job_spec import JobSpec, Sweep
from engine.contracts.references import ModelRef
from engine.contracts.workflow import Link, Node
from engine.prompts.wildcards import expand


@dataclass(frozen=True)
class GenerationSettings:
    """The settings of one picture in this studio's words; None or "" where not known.

    sampler, scheduler  ids of engine.sampling.names where they are known there, else the other program's word
    denoise             0..1, None for a whole txt2img run       clip_skip  layers left out, 0 = none
    model_hash          first 10 digits of the sha256: a hint    loras      (name, weight)
    extra               everything else, as texts by the other program's names
    """

    prompt: str = ""
    negative: str = ""
    steps: int | None = None
    sampler: str = ""
    scheduler: str = ""
    cfg: float | None = None
    seed: int | None = None
    width: int | None = None
    height: int | None = None
    model: str = ""
    model_hash: str = ""
    denoise: float | None = None
    clip_skip: int = 0
    loras: tuple[tuple[str, float], ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    def item(self, index: int) -> GenerationSettings:
        """The settings of item `index` of a batch: its seed is the batch's plus its index."""
        return self if self.seed is None else replace(self, seed=(self.seed + index) % 2**64)


def settings_of(spec: JobSpec, target: str = "") -> GenerationSettings:
    """The settings that made what reaches node `target`, from the nearest sampler above it; of any sampler when "".

    Total: a graph without a sampler gives empty settings. Bindings are laid over; of a sweep the first value counts.
    """
    graph = _Graph(spec)
    sampler = graph.above(target, _is_sampler) or graph.above(target, _is_tiled) if target else None
    sampler = sampler or (None if target else next((n for n in graph.nodes.values() if _is_sampler(n)), None))
    if sampler is None:
        return GenerationSettings()
    latent = graph.linked(sampler, "latent")
    empty = graph.above(latent, lambda n: n.type == "latent.empty") if latent else None
    skip = graph.above(graph.linked(sampler, "positive"), lambda n: n.type == "condition.clip_skip")
    loader = graph.above(graph.linked(sampler, "model"), lambda n: n.type.startswith("load."))
    model = next((v for v in loader.inputs.values() if isinstance(v, ModelRef)), None) if loader else None
    denoise = _number(graph.literal(sampler, "denoise"))
    return GenerationSettings(
        prompt=graph.texts(sampler, "positive"),
        negative=graph.texts(sampler, "negative"),
        steps=_whole(graph.literal(sampler, "steps")),
        sampler=_text(graph.literal(sampler, "sampler")),
        scheduler=_text(graph.literal(sampler, "scheduler")),
        cfg=_number(graph.literal(sampler, "cfg")),
        seed=_whole(graph.literal(sampler, "seed")),
        width=_whole(graph.literal(empty, "width")) if empty else None,
        height=_whole(graph.literal(empty, "height")) if empty else None,
        model=model.name if model else "",
        model_hash=model.sha256[:10] if model else "",
        denoise=denoise if denoise is not None and denoise < 1.0 else None,
        clip_skip=_whole(graph.literal(skip, "skip")) or 0 if skip else 0,
    )


def _is_tiled(node: Node) -> bool:
    """Makes larger what another sampler made, as a rule: that one says more."""
    return node.type == "sample.tiled"


def _is_sampler(node: Node) -> bool:
    return node.type in ("sample.k_sampler", "sample.k_sampler_advanced")


class _Graph:
    """A spec's nodes with its bindings laid over and its subgraphs opened, walked against the links."""

    def __init__(self, spec: JobSpec) -> None:
        laid_over: dict[str, dict[str, Any]] = {}
        for key, binding in spec.bindings.items():
            node_id, _, name = key.rpartition(".")
            laid_over.setdefault(node_id, {})[name] = binding.values[0] if isinstance(binding, Sweep) else binding
        self.nodes: dict[str, Node] = {}
        if any(node.mode != "active" or node.type.startswith("subgraph:") for node in spec.workflow.nodes):
            from engine.graph.registry import Registry
            from engine.graph.subgraphs import flatten

            for node_id, flat in flatten(spec.workflow, Registry.builtin().types, laid_over).nodes.items():
                self.nodes[node_id] = replace(flat.node, id=node_id, inputs=dict(flat.inputs))
            return
        for node in spec.workflow.nodes:
            more = laid_over.get(node.id)
            self.nodes[node.id] = replace(node, inputs={**node.inputs, **more}) if more else node

    def linked(self, node: Node | None, name: str) -> str:
        value = node.inputs.get(name) if node else None
        return value.node if isinstance(value, Link) else ""

    def walk(self, start: str) -> list[Node]:
        """`start` and everything above it, nearest first, each once."""
        seen: set[str] = set()
        found: list[Node] = []
        waiting = deque([start])
        while waiting:
            node = self.nodes.get(waiting.popleft())
            if node is None or node.id in seen:
                continue
            seen.add(node.id)
            found.append(node)
            waiting.extend(value.node for value in node.inputs.values() if isinstance(value, Link))
        return found

    def above(self, start: str, wanted: Callable[[Node], bool]) -> Node | None:
        return next((node for node in self.walk(start) if wanted(node)), None)

    def literal(self, node: Node | None, name: str, depth: int = 8) -> Any:
        """The value of an input: its literal, that of the constant it is linked to, or the choice a wildcard makes.

        None when it is computed otherwise.
        """
        value = node.inputs.get(name) if node else None
        for _ in range(depth):
            if not isinstance(value, Link):
                return value
            source = self.nodes.get(value.node)
            if source is not None and source.type == "text.wildcard":
                text, seed = _text(self.literal(source, "text", depth - 1)), _whole(self.literal(source, "seed"))
                return expand(text, seed or 0)
            if source is None or not source.type.startswith("utility."):
                return None
            value = source.inputs.get("value")
        return None

    def texts(self, sampler: Node, name: str) -> str:
        encoders = (node for node in self.walk(self.linked(sampler, name)) if node.type == "condition.encode_text")
        return " AND ".join(text for node in encoders if (text := _text(self.literal(node, "text"))))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
