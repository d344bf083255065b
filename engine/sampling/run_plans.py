"""How the runs of a session are held to plans of memory, and what its next plans learn from them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from engine.contracts.errors import TesseraError
from engine.contracts.references import ModelRef
from engine.graph.values import LatentValue, ModelHandle
from engine.memory.blueprint import Blueprint
from engine.memory.choice import Chooser
from engine.memory.request import OVERLAP, Request
from engine.sampling.loop import SamplePlan
from engine.sampling.names import CFG_PP_SAMPLERS

if TYPE_CHECKING:
    from engine.sampling.session import Session

log = logging.getLogger(__name__)


class RunPlans:
    """The plans of a session's runs. Without a card, or without a chooser, nothing is held to any."""

    def __init__(self, session: Session, chooser: Chooser | None) -> None:
        self._session, self._chooser = session, chooser
        self._asked_by: WeakKeyDictionary[Any, ModelRef] = WeakKeyDictionary()  # of autoencoders
        self._planned = (0, 0)

    def coder(self, family: Any, ref: ModelRef) -> None:
        """Remember by what reference an autoencoder was asked for."""
        self._asked_by[family] = ref

    def hold(self, handle: ModelHandle, family: Any, latent: LatentValue, plan: SamplePlan, fast: bool = False) -> None:
        """Choose how the parts of a model are kept while it is sampled; `fast` lets weights have eight bits.

        Raises OutOfMemory, naming the smallest change that fits, when no way does.
        """
        memory = self._session.memory
        if memory is None or self._chooser is None:
            return
        request = request_of(family, latent, plan)
        self._planned = (request.width, request.height)
        model = self._blueprint(handle.weights, family)
        self._chooser.hold(memory, model, self._identity(handle.weights), request, fast)

    def learn(self, handle: ModelHandle, family: Any, latent: LatentValue, plan: SamplePlan, step: float) -> None:
        """Remember what a run that has just ended took, for the plans of the next: `step` seconds a step, 0 when that
        is not known. A run that leaves calls of its network out teaches nothing."""
        if self._chooser is None or any(patch.kind == "step_cache" for patch in plan.patches):
            return
        try:
            request = request_of(family, latent, plan)
            self._chooser.learn(self._session.memory, step, self._identity(handle.weights), request)
        except TesseraError as error:  # the picture is there; only the next plan knows less
            log.info("nothing is learnt from this run: %s", error)

    def tile_for(self, family: Any, width: int, height: int) -> int:
        """The edge of the tiles that a picture goes through an autoencoder in, both ways; 0 for whole. Pixels.

        As the plan held to says for a picture of its size, else the largest that fits.
        """
        memory, ref = self._session.memory, self._asked_by.get(family)
        if memory is None or self._chooser is None or ref is None:
            return 0
        if memory.plan is not None and (width, height) == self._planned:
            return memory.plan.vae_tile
        return self._chooser.tile(memory.card.machine(), self._blueprint(ref, family), width, height)

    def _identity(self, ref: ModelRef) -> str:
        """By which measurements know a model: what the index of models has for it."""
        session = self._session
        return session.identify(ref).fingerprint if ref.kind == "checkpoint" else session.fingerprint(ref)

    def _blueprint(self, ref: ModelRef, family: Any) -> Blueprint:
        path = self._session.locate(ref)
        if path.is_file():
            return Blueprint.of_file(family.name, self._session.identify(ref).edition)
        folder = str(path) if path.is_dir() and (path / "model_index.json").is_file() else ""
        return Blueprint(family.name, "", folder)


def request_of(family: Any, latent: LatentValue, plan: SamplePlan) -> Request:
    """What a run asks of memory."""
    factor = 8 if latent.space == "any" else family.latent_space.factor
    extras = [dict(entry.extras) for entry in (*plan.positive, *plan.negative)]
    height, width = (edge * factor for edge in latent.samples.shape[-2:])
    # A run in windows needs what one window needs, however large the picture is.
    window = getattr(family, "window", 0)
    window = window if window < max(height, width) else 0
    return Request(
        width, height, latent.samples.shape[0],
        bool(plan.negative) and (plan.cfg != 1.0 or plan.sampler in CFG_PP_SAMPLERS), steps=plan.steps,
        controls=max((len(item.get("controls", ())) for item in extras), default=0),
        references=max((len(item.get("references", ())) for item in extras), default=0),
        adapters=sum(patch.kind == "lora" for patch in plan.patches),
        prompts=sum(patch.kind == "ip_adapter" for patch in plan.patches),
        window=window, overlap=family.overlap if window else OVERLAP,
    )  # fmt: skip
