"""Metadata of InvokeAI, Fooocus, NovelAI and SwarmUI, from the texts in a picture to plain settings.

Each reader takes all texts of a file and gives (the program's own object, settings), or None when the file is not its.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from engine.interchange.generation_settings import GenerationSettings

Found: TypeAlias = tuple[dict[str, Any], GenerationSettings]
Reader: TypeAlias = Callable[[Mapping[str, str]], Found | None]


def invokeai(raw: Mapping[str, str]) -> Found | None:
    """InvokeAI 3 and later: `invokeai_metadata`."""
    data = json_object(raw.get("invokeai_metadata", ""))
    if data is None:
        return None
    model = data.get("model")
    model = model if isinstance(model, dict) else {}
    sampler, scheduler = _split_invoke(_text(data.get("scheduler")))
    return data, GenerationSettings(
        prompt=_text(data.get("positive_prompt")),
        negative=_text(data.get("negative_prompt")),
        steps=_whole(data.get("steps")),
        sampler=sampler,
        scheduler=scheduler,
        cfg=_number(data.get("cfg_scale")),
        seed=_whole(data.get("seed")),
        width=_whole(data.get("width")),
        height=_whole(data.get("height")),
        model=_text(model.get("name") or model.get("model_name")),
        model_hash=_text(model.get("hash")).rpartition(":")[2][:10],
        denoise=_number(data.get("strength")),
        clip_skip=_whole(data.get("clip_skip")) or 0,
        loras=_invoke_loras(data.get("loras")),
        extra=_scalars(data, ("generation_mode", "app_version", "cfg_rescale_multiplier", "seamless_x", "seamless_y")),
    )


def _invoke_loras(value: Any) -> tuple[tuple[str, float], ...]:
    found = []
    for item in value if isinstance(value, list) else []:
        if not isinstance(item, dict):
            continue
        model = item.get("model") or item.get("lora")
        name = _text(model.get("name") or model.get("model_name")) if isinstance(model, dict) else ""
        if name:
            found.append((name, _number(item.get("weight")) or 0.0))
    return tuple(found)


_INVOKE_SAMPLERS = {
    "euler": "euler", "euler_a": "euler_ancestral", "heun": "heun", "dpmpp_2m": "dpmpp_2m",
    "dpmpp_2m_sde": "dpmpp_2m_sde", "dpmpp_sde": "dpmpp_sde", "ddim": "ddim", "unipc": "uni_pc", "lcm": "lcm",
}  # fmt: skip


def _split_invoke(name: str) -> tuple[str, str]:
    plain = name.removesuffix("_k")
    return _INVOKE_SAMPLERS.get(plain, name), "karras" if plain != name else "normal" if name else ""


def swarmui(raw: Mapping[str, str]) -> Found | None:
    """SwarmUI: JSON in `parameters` with `sui_image_params`."""
    data = json_object(raw.get("parameters", ""))
    values = data.get("sui_image_params") if data else None
    if data is None or not isinstance(values, dict):
        return None
    loras, weights = values.get("loras"), values.get("loraweights")
    names = loras if isinstance(loras, list) else []
    scales = weights if isinstance(weights, list) and len(weights) == len(names) else [1.0] * len(names)
    known = {
        "prompt", "negativeprompt", "steps", "sampler", "scheduler", "cfgscale", "seed", "width", "height", "model",
        "initimagecreativity", "loras", "loraweights",
    }  # fmt: skip
    return data, GenerationSettings(
        prompt=_text(values.get("prompt")),
        negative=_text(values.get("negativeprompt")),
        steps=_whole(values.get("steps")),
        sampler=_text(values.get("sampler")),
        scheduler=_text(values.get("scheduler")),
        cfg=_number(values.get("cfgscale")),
        seed=_whole(values.get("seed")),
        width=_whole(values.get("width")),
        height=_whole(values.get("height")),
        model=_text(values.get("model")),
        model_hash=_swarm_hash(data.get("sui_models")),
        denoise=_number(values.get("initimagecreativity")),
        loras=tuple((_text(n), _number(w) or 0.0) for n, w in zip(names, scales, strict=True) if _text(n)),
        extra=_scalars(values, [key for key in values if key not in known]),
    )


def _swarm_hash(models: Any) -> str:
    for item in models if isinstance(models, list) else []:
        if isinstance(item, dict) and item.get("param") == "model":
            return _text(item.get("hash")).removeprefix("0x")[:10]
    return ""


def fooocus(raw: Mapping[str, str]) -> Found | None:
    """Fooocus with its own scheme: JSON in `parameters`. Its "a1111" scheme is read as infotext, not here."""
    data = json_object(raw.get("parameters", ""))
    if data is None:
        return None
    named = "fooocus" in (raw.get("fooocus_scheme"), data.get("metadata_scheme"))
    if not named and not _text(data.get("version")).startswith("Fooocus"):
        return None
    numbers = re.findall(r"\d+", _text(data.get("resolution")))[:2]
    loras = tuple(
        (_text(item[0]), _number(item[1]) or 0.0)
        for item in _list(data.get("loras"))
        if isinstance(item, list) and len(item) >= 2 and _text(item[0])
    )
    return data, GenerationSettings(
        prompt=_text(data.get("prompt")),
        negative=_text(data.get("negative_prompt")),
        steps=_whole(data.get("steps")),
        sampler=_text(data.get("sampler")).removesuffix("_gpu"),
        scheduler=_text(data.get("scheduler")),
        cfg=_number(data.get("guidance_scale")),
        seed=_whole(data.get("seed")),
        width=int(numbers[0]) if len(numbers) == 2 else None,
        height=int(numbers[1]) if len(numbers) == 2 else None,
        model=_text(data.get("base_model")),
        model_hash=_text(data.get("base_model_hash"))[:10],
        clip_skip=max(0, (_whole(data.get("clip_skip")) or 1) - 1),
        loras=loras,
        extra=_scalars(data, ("styles", "performance", "sharpness", "refiner_model", "vae", "version")),
    )


_NOVELAI_SAMPLERS = {
    "k_euler": "euler", "k_euler_ancestral": "euler_ancestral", "k_heun": "heun", "k_dpmpp_2m": "dpmpp_2m",
    "k_dpmpp_2m_sde": "dpmpp_2m_sde", "k_dpmpp_sde": "dpmpp_sde", "ddim": "ddim", "ddim_v3": "ddim",
}  # fmt: skip


def novelai(raw: Mapping[str, str]) -> Found | None:
    """NovelAI: `Software` is NovelAI and `Comment` a JSON object; the prompt also stands in `Description`."""
    data = json_object(raw.get("Comment", ""))
    if data is None or not raw.get("Software", "").lower().startswith("novelai"):
        return None
    sampler = _text(data.get("sampler"))
    plan = _text(data.get("noise_schedule"))
    return data, GenerationSettings(
        prompt=_text(data.get("prompt")) or _novelai_caption(data.get("v4_prompt")) or raw.get("Description", ""),
        negative=_text(data.get("uc")) or _novelai_caption(data.get("v4_negative_prompt")),
        steps=_whole(data.get("steps")),
        sampler=_NOVELAI_SAMPLERS.get(sampler, sampler),
        scheduler={"native": "normal"}.get(plan, plan),
        cfg=_number(data.get("scale")),
        seed=_whole(data.get("seed")),
        width=_whole(data.get("width")),
        height=_whole(data.get("height")),
        model=raw.get("Source", ""),
        denoise=_number(data.get("strength")),
        extra=_scalars(data, ("cfg_rescale", "uncond_scale", "sm", "sm_dyn", "request_type")),
    )


def _novelai_caption(value: Any) -> str:
    caption = value.get("caption") if isinstance(value, dict) else None
    return _text(caption.get("base_caption")) if isinstance(caption, dict) else ""


def json_object(text: str) -> dict[str, Any] | None:
    """A JSON object from another program's text, NaN allowed; None when it is none or is nested absurdly."""
    if text.lstrip()[:1] != "{":
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _number(value: Any) -> float | None:
    """A finite number, or a text that is one."""
    if isinstance(value, str) and len(value) < 40:
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 1e20 else None


def _whole(value: Any) -> int | None:
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,20}", value):
        return int(value)
    number = _number(value)
    return int(number) if number is not None else None


def _scalars(data: Mapping[str, Any], names: Any) -> dict[str, str]:
    return {name: str(data[name]) for name in names if isinstance(data.get(name), str | int | float | bool)}
