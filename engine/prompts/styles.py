"""Styles laid over a prompt: `{prompt}` in a style says where the prompt goes; without it the style comes after."""

from __future__ import annotations

PLACE = "{prompt}"


def merge_style(prompt: str, style: str) -> str:
    """The prompt with a style's words."""
    style = style.strip()
    if PLACE in style:
        return style.replace(PLACE, prompt.strip())
    prompt = prompt.strip()
    if prompt and style:
        prompt = prompt.rstrip(",").rstrip()
    return f"{prompt}, {style}" if prompt and style else prompt or style
