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
        "dpmpp_2s_ancestral": "DPM++ 2S a",
        "dpmpp_3m_sde": "DPM++ 3M SDE",
        "dpm_2": "DPM2",
        "dpm_2_ancestral": "DPM2 a",
        "lms": "LMS",
        "uni_pc_bh2": "UniPC bh2",
        "res_multistep": "RES multistep",
        "res_multistep_ancestral": "RES multistep a",
        "gradient_estimation": "Gradient estimation",
        "er_sde": "ER SDE",
        "euler_cfg_pp": "Euler CFG++",
        "euler_ancestral_cfg_pp": "Euler a CFG++",
        "dpmpp_2s_ancestral_cfg_pp": "DPM++ 2S a CFG++",
        "dpmpp_2m_cfg_pp": "DPM++ 2M CFG++",
        "res_multistep_cfg_pp": "RES multistep CFG++",
        "res_multistep_ancestral_cfg_pp": "RES multistep a CFG++",
        "gradient_estimation_cfg_pp": "Gradient estimation CFG++",
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
        "ddim_uniform": "DDIM uniform",
        "kl_optimal": "KL optimal",
        "linear_quadratic": "Linear quadratic",
    }
)
SAMPLERS: tuple[str, ...] = tuple(SAMPLER_LABELS)
SCHEDULES: tuple[str, ...] = tuple(SCHEDULE_LABELS)
SCHEDULERS = SCHEDULES  # the field's usual, if odd, word for the same list

# Samplers that draw noise after the first step: their picture changes with the number of steps.
STOCHASTIC_SAMPLERS = frozenset(
    {
        "euler_ancestral", "dpmpp_2m_sde", "dpmpp_sde", "lcm", "dpmpp_2s_ancestral", "dpmpp_3m_sde", "dpm_2_ancestral",
        "res_multistep_ancestral", "er_sde", "euler_ancestral_cfg_pp", "dpmpp_2s_ancestral_cfg_pp",
        "res_multistep_ancestral_cfg_pp",
    }
)  # fmt: skip
# Samplers that run the network twice for each step but the last.
TWO_STAGE_SAMPLERS = frozenset(
    {"heun", "dpmpp_sde", "dpmpp_2s_ancestral", "dpm_2", "dpm_2_ancestral", "dpmpp_2s_ancestral_cfg_pp"}
)
# Samplers that need what the network says without guidance beside what it says with it, whatever the scale.
CFG_PP_SAMPLERS = frozenset(name for name in SAMPLER_LABELS if name.endswith("_cfg_pp"))
