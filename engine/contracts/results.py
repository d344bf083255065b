"""What was made, and everything needed to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from engine.contracts.codec import Document
from engine.contracts.job_spec import JobSpec
from engine.contracts.references import BlobRef


@dataclass(frozen=True, kw_only=True)
class NumericsPlan(Document):
    """The arithmetic really used. Same spec and same numerics plan: same picture.

    attention   "sdpa", or the kernel that was asked for by name; "sage" computes in eight bits
    sums        "float16" where products of float16 were summed in it
    step_cache  "" or the threshold and the share of the run between which calls of the network could be left out
    compiled    whether blocks were compiled: equal to rounding
    apart       whether sides of the guidance, or pictures, went in turn for want of memory: equal to rounding
    """

    device: str = "cpu"
    dtype: str = "float32"
    attention: str = "sdpa"
    vae_tile: int = 0
    quantisation: str = "none"
    apart: bool = False
    sums: str = "float32"
    step_cache: str = ""
    compiled: bool = False
    threads: int = 0


@dataclass(frozen=True, kw_only=True)
class ResultRecord(Document):
    """One artifact of one job: unique by (job, node, index). `created` is Unix seconds, `seconds` the job's time."""

    format: ClassVar[str] = "tessera.result"

    id: str
    job: str
    node: str
    index: int
    artifact: BlobRef
    spec: JobSpec
    numerics: NumericsPlan = NumericsPlan()
    versions: Mapping[str, str] = field(default_factory=dict)
    created: float = 0.0
    seconds: float = 0.0
    parents: tuple[BlobRef, ...] = ()
    width: int = 0
    height: int = 0
    seed: int | None = None
    parameters: str = ""  # the A1111-style text embedded in the file
    facts: Mapping[str, Any] = field(default_factory=dict)
