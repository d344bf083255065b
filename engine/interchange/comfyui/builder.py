"""One ComfyUI node → one of ours: names and values by the mapping table, placeholders for classes we lack."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from engine.contracts.errors import clip
from engine.contracts.references import ModelRef
from engine.contracts.workflow import InputValue, Link, Node, SeedControl
from engine.graph.ports import WrongValue
from engine.graph.registry import Registry
from engine.interchange.comfyui.classes import classes
from engine.interchange.comfyui.mapping import CLASS_KEY, OWN_PREFIX, PLACEHOLDER, by_type, mapping_of, to_ours
from engine.interchange.comfyui.report import ImportReport, ModelHint, kind_of_folder

_EMBEDDING = re.compile(r"\bembedding:([\w./\\-]{1,200})")
Sockets = Sequence[tuple[str, str]]  # (name, type)


class NodeBuilder:
    """Builds nodes and collects the report. `sources` holds what the file says of its models, by file name."""

    def __init__(self) -> None:
        self.report = ImportReport()
        self.sources: dict[str, ModelHint] = {}
        self._types = Registry.builtin().types

    def read_sources(self, properties: Mapping[str, Any]) -> None:
        """`properties.models` of newer files: where each model comes from."""
        models = properties.get("models")
        for item in models if isinstance(models, list) else ():
            if isinstance(item, dict) and isinstance(item.get("name"), str) and item["name"]:
                texts = {key: str(item.get(key) or "") for key in ("url", "hash", "hash_type", "directory")}
                kind = kind_of_folder(texts["directory"])
                self.sources[item["name"]] = ModelHint(name=item["name"], kind=kind, **texts)

    def node(
        self,
        node_id: str,
        comfy: str,
        inputs: Mapping[str, InputValue],
        raw: Mapping[str, Any],
        sockets: tuple[Sockets, Sockets] | None = None,
        seeds: Mapping[str, SeedControl] | None = None,
        **looks: Any,
    ) -> Node:
        """The node in our terms.

        inputs   literals and links by ComfyUI's names; links already name our outputs
        raw      the node as it stood in the file: a placeholder keeps it
        sockets  its inputs and outputs in the file's order, for a placeholder that is bypassed
        seeds    what becomes of its seeds after a run, by ComfyUI's names
        """
        self.report.nodes += 1
        inputs = {name: value for name, value in inputs.items() if value is not None}
        if comfy.startswith(OWN_PREFIX):
            own_type = comfy.removeprefix(OWN_PREFIX)
            given = self._of_own(own_type, inputs)
            return Node(id=node_id, type=own_type, inputs=given, seeds=self._of_seeds(own_type, seeds or {}), **looks)
        mapping = mapping_of(comfy)
        for value in inputs.values():
            self._find_embeddings(value)
        if mapping is None:
            self.report.lacks(comfy)
            for value in inputs.values():
                if isinstance(value, str) and value in self.sources:
                    self.report.names(self.sources[value])
            ports = sockets or _sockets_of_class(comfy)
            extra: dict[str, Any] = {"comfyui": dict(raw)}
            if ports is not None:
                extra["sockets"] = {"inputs": [list(p) for p in ports[0]], "outputs": [list(p) for p in ports[1]]}
            return Node(id=node_id, type=PLACEHOLDER + comfy, inputs=inputs, extra=extra, **looks)
        ours: dict[str, InputValue] = dict(mapping.fixed)
        for name, value in inputs.items():
            target = mapping.input(name)
            if target.name:
                ours[target.name] = value if isinstance(value, Link) else self.literal(target.form, value)
        self._check_values(node_id, comfy, mapping.type, ours)
        extra = {} if by_type().get(mapping.type) is mapping else {CLASS_KEY: comfy}
        controls = self._of_seeds(mapping.type, {mapping.input(n).name: c for n, c in (seeds or {}).items()})
        return Node(id=node_id, type=mapping.type, inputs=ours, extra=extra, seeds=controls, **looks)

    def _of_seeds(self, type_name: str, seeds: Mapping[str, SeedControl]) -> dict[str, SeedControl]:
        """Those of `seeds` that are seeds with us: a primitive counts other numbers on too."""
        kind = self._types.get(type_name)
        ports = {name: kind.port(name) if kind else None for name in seeds}
        return {name: control for name, control in seeds.items() if (port := ports[name]) and port.schema.seed}

    def literal(self, form: str, value: InputValue) -> InputValue:
        """A ComfyUI literal in our form; models are noted in the report, with what the file says of them."""
        converted: InputValue = to_ours(form, value)
        if not isinstance(converted, ModelRef) or not converted.name:
            return converted
        hint = self.sources.get(converted.name) or self.sources.get(converted.name.rpartition("/")[2])
        said = {key: getattr(hint, key) for key in ("url", "hash", "hash_type", "directory")} if hint else {}
        found = ModelHint(name=converted.name, kind=converted.kind, **said)
        self.report.names(found)
        return found.ref()

    def _of_own(self, type_name: str, inputs: Mapping[str, InputValue]) -> dict[str, InputValue]:
        """Inputs of one of our own types that an export wrote under its name: references stand there as names."""
        kind = self._types.get(type_name)
        out: dict[str, InputValue] = {}
        for name, value in inputs.items():
            port = kind.port(name) if kind else None
            form = f"model:{port.schema.model_kind}" if port and port.schema.model_kind else ""
            form = "blob" if port and "BLOB" in port.types else form
            out[name] = value if isinstance(value, Link) or not form else self.literal(form, value)
        return out

    def _find_embeddings(self, value: InputValue) -> None:
        if isinstance(value, str) and "embedding:" in value:
            for name in _EMBEDDING.findall(value):
                name = name.replace("\\", "/").rstrip(".")
                self.report.names(self.sources.get(name) or ModelHint(name=name, kind="embedding"))

    def _check_values(self, node_id: str, comfy: str, type_name: str, inputs: Mapping[str, InputValue]) -> None:
        """Name values that our node does not take; they are kept, and validation names them too."""
        kind = self._types.get(type_name)
        for name, value in inputs.items():
            port = kind.port(name) if kind else None
            if port is None or isinstance(value, (Link, ModelRef)):
                continue
            try:
                port.read(value)
            except WrongValue as wrong:
                fix = f" {wrong.fix.rstrip('.')}." if wrong.fix and not wrong.fix.endswith("?") else f" {wrong.fix}"
                where = f"node “{clip(node_id, 40)}” ({clip(comfy, 60)}), input “{clip(name, 40)}”"
                self.report.warn(f"{where}: {wrong.what}; kept as it is.{fix.rstrip()}")


def _sockets_of_class(comfy: str) -> tuple[Sockets, Sockets] | None:
    known = classes().get(comfy)
    if known is None:
        return None
    sockets = [(s.name, s.type) for s in known.sockets] + [(w.name, w.type) for w in known.widgets]
    return sockets, [(f"output_{slot}", kind) for slot, kind in enumerate(known.outputs)]


def output_name(comfy: str, slot: int) -> str:
    """Our name of an output of a ComfyUI class; "output_N" for the outputs of a placeholder."""
    if comfy.startswith(OWN_PREFIX):
        own = Registry.builtin().find(comfy.removeprefix(OWN_PREFIX))
        ports = own.schema.outputs if own else ()
        return ports[slot].name if 0 <= slot < len(ports) else f"output_{slot}"
    mapping = mapping_of(comfy)
    return mapping.output(slot) if mapping else f"output_{slot}"
