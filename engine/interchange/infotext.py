"""Infotext: the three-part text that AUTOMATIC1111 and Forge put into pictures, written and read by their own rules.

    a red fox in snow
    Negative prompt: blurry
    Steps: 25, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 4, Seed: 7, Size: 512x512, Model: sd15

After modules/infotext_utils.py of stable-diffusion-webui (parse_generation_parameters, quote, unquote).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.contracts.job_spec import JobSpec
from engine.interchange.generation_settings import GenerationSettings, settings_of
from engine.sampling.names import SAMPLER_LABELS

# Forge's rule, with its leading \s* left out (searching skips blanks anyway) and names held to 64 letters, so that
# no text takes more than linear time.
_PARAMETER = re.compile(r'(\w[\w \-/]{1,63}):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
_SIZE = re.compile(r"(\d+)x(\d+)")
_MAX_LAST_LINE = 256 * 1024

SCHEDULE_LABELS: Mapping[str, str] = {
    "normal": "Normal",
    "karras": "Karras",
    "exponential": "Exponential",
    "sgm_uniform": "SGM Uniform",
    "simple": "Simple",
    "beta": "Beta",
}
_SAMPLERS = {label.lower(): name for name, label in SAMPLER_LABELS.items()}
_SCHEDULES = {label.lower(): name for name, label in SCHEDULE_LABELS.items()}
_SCHEDULES["automatic"] = _SCHEDULES["uniform"] = "normal"


@dataclass(frozen=True)
class Infotext:
    """A parsed infotext. `fields` has the names and texts of the last line; "Size" stands as Size-1 and Size-2."""

    prompt: str = ""
    negative: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def settings(self) -> GenerationSettings:
        """The fields this studio knows, in its own words; all others in `extra`. A broken number is left out."""
        sampler, scheduler = sampler_of(self.fields.get("Sampler", ""), self.fields.get("Schedule type", ""))
        known = _KNOWN | {"Sampler", "Schedule type"}
        return GenerationSettings(
            prompt=self.prompt,
            negative=self.negative,
            steps=_whole(self.fields.get("Steps")),
            sampler=sampler,
            scheduler=scheduler,
            cfg=_number(self.fields.get("CFG scale")),
            seed=_whole(self.fields.get("Seed")),
            width=_whole(self.fields.get("Size-1")),
            height=_whole(self.fields.get("Size-2")),
            model=self.fields.get("Model", ""),
            model_hash=self.fields.get("Model hash", ""),
            denoise=_number(self.fields.get("Denoising strength")),
            clip_skip=max(0, (_whole(self.fields.get("Clip skip")) or 1) - 1),
            extra={key: value for key, value in self.fields.items() if key not in known},
        )


_KNOWN = frozenset(
    {"Steps", "CFG scale", "Seed", "Size-1", "Size-2", "Model", "Model hash", "Denoising strength", "Clip skip"}
)


def parse(text: str) -> Infotext:
    """Any text as an infotext: total. The last line counts as parameters only with at least three "Name: value"."""
    *lines, last = text.strip().split("\n")
    pairs = _PARAMETER.findall(last) if len(last) <= _MAX_LAST_LINE else []
    if len(pairs) < 3:
        lines.append(last)
        pairs = []
    prompt: list[str] = []
    negative: list[str] = []
    part = prompt
    for raw in lines:
        line = raw.strip()
        if line.startswith("Negative prompt:"):
            part, line = negative, line[16:].strip()
        if part or line:  # their rule: no empty line at the start of either part
            part.append(line)
    fields: dict[str, str] = {}
    for key, value in pairs:
        value = _unquoted(value)
        size = _SIZE.fullmatch(value)
        if size:
            fields[f"{key}-1"], fields[f"{key}-2"] = size.group(1), size.group(2)
        elif value:
            fields[key] = value
    return Infotext("\n".join(prompt), "\n".join(negative), fields)


def write(source: JobSpec | GenerationSettings, *, target: str = "") -> str:
    """The infotext of a job (as its output node `target` sees it; any sampler when "") or of settings.

    Settings that are not known are left out; without any, the text is the prompts alone.
    """
    settings = settings_of(source, target) if isinstance(source, JobSpec) else source
    fields: dict[str, str | None] = {
        "Steps": _shown(settings.steps),
        "Sampler": SAMPLER_LABELS.get(settings.sampler, settings.sampler) or None,
        "Schedule type": SCHEDULE_LABELS.get(settings.scheduler, settings.scheduler) or None,
        "CFG scale": _shown(settings.cfg),
        "Seed": _shown(settings.seed),
        "Size": f"{settings.width}x{settings.height}" if settings.width and settings.height else None,
        "Model hash": settings.model_hash or None,
        "Model": settings.model or None,
        "Denoising strength": _shown(settings.denoise),
        "Clip skip": str(settings.clip_skip + 1) if settings.clip_skip else None,
        **settings.extra,
    }
    line = ", ".join(f"{key}: {_quoted(value)}" for key, value in fields.items() if value)
    negative = f"\nNegative prompt: {settings.negative}" if settings.negative else ""
    return f"{settings.prompt}{negative}\n{line}".strip()


def sampler_of(label: str, schedule: str = "") -> tuple[str, str]:
    """(sampler, scheduler) ids for A1111's labels; the older "DPM++ 2M Karras" too. The unknown stays as it is."""
    name, plan = label.strip(), schedule.strip()
    if not plan:
        head, _, tail = name.rpartition(" ")
        if head and tail.lower() in ("karras", "exponential"):
            name, plan = head, tail
    return _SAMPLERS.get(name.lower(), name), _SCHEDULES.get(plan.lower(), plan)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ',\n:"') else text


def _unquoted(text: str) -> str:
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def _shown(value: float | None) -> str | None:
    if value is None:
        return None
    return str(value) if isinstance(value, int) else f"{value:g}"


def _whole(text: str | None) -> int | None:
    if text and re.fullmatch(r"-?[0-9]{1,20}", text.strip()):
        return int(text)
    number = _number(text)
    return None if number is None else int(number)


def _number(text: str | None) -> float | None:
    try:
        value = float(text) if text and len(text) < 40 else None
    except ValueError:
        return None
    return value if value is not None and abs(value) < 1e19 else None
