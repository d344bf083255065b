"""`prompt`: how a prompt is read."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.contracts.references import STARTER_NAME
from studio_app.cli.console import print_json, require, say, whole_number

if TYPE_CHECKING:
    from engine.prompts.grammar import ParsedPrompt

NAME = "prompt"
HELP = "show how a prompt is read"
DESCRIPTION = """\
“prompt parse TEXT” shows how the studio reads a prompt: the branches that AND joins, what each says at which step, its
pieces with their weights, and the LoRAs it asks for. With --json it prints
{"branches": [{"weight": 1.0, "schedule": [{"until": LAST_STEP, "text": "...", "pieces": [["text", weight], ...]}]}],
"loras": [...]}. Nothing is made and no model is loaded.
"""
EPILOG = """\
examples:
  main.py prompt parse "a (red:1.2) house AND [fog:snow:0.5] :0.7" --steps 20
  main.py prompt parse "a {red|green} __animals/birds__" --seed 7
"""

MAX_STEPS = 1000
STEPS = 20


def add(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("parse",), help="parse: read TEXT")
    parser.add_argument("text", metavar="TEXT", help="the prompt; “-” reads it from standard input")
    parser.add_argument("--steps", type=whole_number, default=STEPS, metavar="N", help=f"steps of the run ({STEPS})")
    parser.add_argument("--seed", type=whole_number, metavar="N", help="first choose among wildcards, with this seed")
    parser.add_argument("--model", default="", metavar="NAME", help="count tokens as this model does")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    from engine.prompts.grammar import parse
    from engine.prompts.wildcards import expand
    from studio_app.application import Application

    require(1 <= args.steps <= MAX_STEPS, f"the number of steps is {args.steps}", f"Use 1 to {MAX_STEPS}")
    app = Application(args.data_dir)  # nothing is opened: it knows where wildcards and models lie
    text = sys.stdin.read() if args.text == "-" else args.text
    if args.seed is not None:
        text = expand(text, args.seed)
    prompt = parse(text, args.steps)
    tokens = {}
    if args.model or not args.json:
        tokens = _tokens(prompt, app.models.find(args.model or STARTER_NAME).path)
    if args.json:
        print_json(prompt.to_json() | ({"tokens": tokens} if args.model else {}))
        return 0
    _tell(prompt, tokens)
    return 0


def _tokens(prompt: ParsedPrompt, model: Path) -> dict[str, Any]:
    """{encoder: {"tokens", "limit", "chunks"}} of the longest wording."""
    from engine.prompts.tokens import count_prompt, token_limit, tokenizers_of

    out: dict[str, Any] = {}
    for folder in tokenizers_of(model):
        count, limit = count_prompt(prompt, folder), token_limit(folder)
        out[folder.name] = {"tokens": count, "limit": limit}
    return out


def _tell(prompt: ParsedPrompt, tokens: dict[str, Any]) -> None:
    for number, branch in enumerate(prompt.branches, 1):
        if len(prompt.branches) > 1 or branch.weight != 1.0:
            say(f"branch {number}, weight {branch.weight:g}")
        begin = 1
        for span in branch.schedule:
            if len(branch.schedule) > 1:
                say(f"  step {begin}" if begin == span.until else f"  steps {begin} to {span.until}")
            begin = span.until + 1
            for piece in span.pieces:
                say("    BREAK" if piece.is_break else f"    {piece.weight:<8.4g} {piece.text}")
    for lora in prompt.loras:
        say(f"LoRA {lora.name}, text {lora.te:g}, model {lora.unet:g}")
    for tag in prompt.tags:
        if tag.kind.lower() not in ("lora", "lyco"):
            say(f"tag {tag.text}")
    for name in prompt.embeddings:
        say(f"embedding {name}")
    for name, count in tokens.items():
        limit = f", {count['limit']} to a chunk" if count["limit"] else ""
        say(f"{name}: {count['tokens']} tokens{limit}")
