"""The samplers and schedules by name, in ComfyUI's spelling, with labels for people. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

SAMPLER_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "euler": "Euler",
        "euler_ancestral": "Euler a",
        "heun": "Heun",
        "dpmpp_2m": "DPM++ 2M",
        "dpmpp_2m_sde": "DPM++ 2M SDE",
        "dpmpp_sde": "DPM++ SDE",
        "ddim": "DDIM",
        "uni_pc": "UniPC",
        "lcm": "LCM",
    }
)
SCHEDULE_LABELS: Mapping[str, str] = MappingProxyType(
    {
        "normal": "Normal (the model’s own)",
        "karras": "Karras",
        "exponential": "Exponential",
        "sgm_uniform": "SGM uniform",
        "simple": "Simple",
        "beta": "Beta",
    }
)
SAMPLERS: tuple[str, ...] = tuple(SAMPLER_LABELS)
SCHEDULES: tuple[str, ...] = tuple(SCHEDULE_LABELS)
SCHEDULERS = SCHEDULES  # the field's usual, if odd, word for the same list

# Samplers that draw noise after the first step: their picture changes with the number of steps.
STOCHASTIC_SAMPLERS = frozenset({"euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde", "lcm"})
# Samplers that run the network twice for each step but the last.
TWO_STAGE_SAMPLERS = frozenset({"heun", "dpmpp_sde"})
