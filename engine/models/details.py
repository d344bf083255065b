"""What a file says of itself: trigger words, title, licence, prediction, preview picture. Torch-free."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path

from engine.models.contents import Contents

PREVIEW_ENDINGS = (
    ".preview.png", ".preview.jpg", ".preview.jpeg", ".preview.webp", ".png", ".jpg", ".jpeg", ".webp",
)  # fmt: skip
MAX_TRIGGER_WORDS = 8
MAX_TEXT = 300
MAX_TAGS_BYTES = 4 * 1024 * 1024


def trigger_words(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The words that call it: as stated, else the tags that were on most pictures of its training."""
    stated = metadata.get("modelspec.trigger_phrase", "").strip()
    if stated:
        words = [" ".join(word.split())[:MAX_TEXT] for word in stated.split(",")]
        return tuple(word for word in words if word)[:MAX_TRIGGER_WORDS]
    return _frequent_tags(metadata.get("ss_tag_frequency", ""))


def _frequent_tags(text: str) -> tuple[str, ...]:
    """Tags on at least half as many pictures as the commonest one, commonest first."""
    if not text or len(text) > MAX_TAGS_BYTES:
        return ()
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return ()
    counts: Counter[str] = Counter()
    for tags in data.values() if isinstance(data, dict) else ():
        for tag, count in tags.items() if isinstance(tags, dict) else ():
            if isinstance(count, int) and not isinstance(count, bool) and tag.strip():
                counts[" ".join(tag.split())[:MAX_TEXT]] += count
    if not counts:
        return ()
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return tuple(tag for tag, count in ranked if 2 * count >= ranked[0][1])[:MAX_TRIGGER_WORDS]


def title(metadata: Mapping[str, str]) -> str:
    """The name its maker gave it, or ""."""
    return _stated(metadata, "modelspec.title", "ss_output_name", "general.name")


def licence(metadata: Mapping[str, str]) -> str:
    """The licence it states; "unknown" when it states none."""
    return _stated(metadata, "modelspec.license", "modelspec.licence", "license", "general.license") or "unknown"


def prediction(contents: Contents) -> str:
    """ "epsilon", "v", "edm" or "" when neither metadata nor a marker tensor says."""
    if "edm_mean" in contents.shapes:
        return "edm"
    if "v_pred" in contents.shapes:
        return "v"
    stated = contents.metadata.get("modelspec.prediction_type", "").strip().lower()
    if stated:
        return {"v": "v", "v_prediction": "v", "v-prediction": "v", "epsilon": "epsilon", "eps": "epsilon"}.get(
            stated, ""
        )
    return "v" if contents.metadata.get("ss_v_parameterization", "").lower() == "true" else ""


def preview_beside(path: Path, metadata: Mapping[str, str], siblings: Collection[str] | None) -> str:
    """The name of the picture beside a model, "embedded" for one in its header, or ""."""
    for ending in PREVIEW_ENDINGS:
        name = path.stem + ending
        if (path.parent / name).is_file() if siblings is None else name in siblings:
            return name
    return "embedded" if metadata.get("modelspec.thumbnail", "").startswith("data:image/") else ""


def _stated(metadata: Mapping[str, str], *keys: str) -> str:
    for key in keys:
        text = " ".join(metadata.get(key, "")[: 4 * MAX_TEXT].split())
        if text and text.lower() not in ("none", "unknown"):
            return text[:MAX_TEXT]
    return ""
