"""What the Models page says: names of shelves, sizes, speeds, dates. Plain functions without widgets."""

from __future__ import annotations

import time
from pathlib import Path

from engine.models.model_file import FAMILY_WORDS
from studio_app.models.library import Listed

# kind → (the shelf's title, icon), in the order of the shelves
SHELVES: dict[str, tuple[str, str]] = {
    "checkpoint": ("Checkpoints", "layers"), "diffusion_model": ("Diffusion models", "sparkles"),
    "lora": ("LoRAs", "sliders-horizontal"), "embedding": ("Embeddings", "message-square"),
    "controlnet": ("ControlNets", "workflow"), "t2i_adapter": ("T2I-Adapters", "workflow"),
    "ip_adapter": ("IP-Adapters", "image-plus"), "vae": ("VAEs", "box"), "text_encoder": ("Text encoders", "box"),
    "vision_encoder": ("Image encoders", "eye"), "motion_adapter": ("Motion adapters", "play"),
    "upscaler": ("Upscalers", "expand"), "face_restorer": ("Face restorers", "wand-sparkles"),
    "annotator": ("Annotators", "scan"), "unknown": ("Not known", "circle-help"),
}  # fmt: skip
REFUSED = "refused"


def kind_of(item: Listed) -> str:
    return item.file.kind if item.file else REFUSED


def bases_of(item: Listed) -> tuple[str, ...]:
    """The base models it fits, in words; () when the header does not tell."""
    if item.file is None:
        return ()
    families = item.file.fits or (item.file.family,)
    return tuple(FAMILY_WORDS.get(name, name) for name in families if name not in ("unknown", "several"))


def base_of(item: Listed) -> str:
    """ "SDXL", or "SD 1.5 +3" for what fits several; "" when the header does not tell."""
    bases = bases_of(item)
    return f"{bases[0]} +{len(bases) - 1}" if len(bases) > 1 else "".join(bases)


def size_words(count: int) -> str:
    for unit, size in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= size:
            value = count / size
            return f"{value:.0f} {unit}" if value >= 100 else f"{value:.1f} {unit}"
    return f"{count} bytes"


def time_left_words(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s left"
    minutes = round(seconds / 60)
    return f"{minutes} min left" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02} min left"


def day_words(stamp: float) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(stamp))


def card_lines(item: Listed) -> tuple[str, str]:
    """The two lines below a card's name: kind and base; precision, size and licence."""
    if item.file is None:
        return "Refused", size_words(item.size_bytes)
    shelf = {"lora": "LoRA"}.get(item.file.kind, SHELVES[item.file.kind][0].removesuffix("s"))
    form = item.file.details.get("form", "")
    first = (form if item.file.kind == "lora" and form else shelf, base_of(item), item.file.variant)
    licence = item.file.licence if item.file.licence != "unknown" else ""
    second = (item.file.precision, size_words(item.size_bytes), licence, "built in" if item.built_in else "")
    return " · ".join(word for word in first if word), " · ".join(word for word in second if word)


def prompt_words(item: Listed) -> str:
    """What brings a LoRA or embedding into a prompt; "" for other kinds."""
    if item.file is None:
        return ""
    if item.file.kind == "lora":
        return ", ".join((f"<lora:{item.path.stem}:1>", *item.file.trigger_words[:3]))
    return f"embedding:{item.path.stem}" if item.file.kind == "embedding" else ""


def drag_words(item: Listed) -> str:
    """What a drag of the card hands over as text."""
    return prompt_words(item) or (item.path.stem if item.path.is_dir() else item.path.name)


def shortened(path: Path) -> str:
    """The path with the home folder as ~."""
    try:
        return f"~/{path.relative_to(Path.home()).as_posix()}"
    except ValueError:
        return str(path)
