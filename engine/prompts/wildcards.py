r"""Wildcards: a prompt with choices in it becomes one of the prompts it stands for; the seed decides which.

    {red|green|blue}            one of them            {2::red|blue}      red twice as often as blue
    {2$$a|b|c}                  two of them: "a, c"    {1-3$$ and $$a|b}  one to three, joined by " and "
    __colours__                 a line of wildcards/colours.txt in the data folder
    __animals/birds__           a line of wildcards/animals/birds.txt

Choices nest, in braces and in files. `\{`, `\}` and `\|` are the plain characters. Braces that do not close and names
of no file stay as they are. In files, blank lines and lines that begin with # are left out, and a line can begin with
a weight: `2::red`.
"""

from __future__ import annotations

import math
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

MAX_CHOICES = 2_000  # made in one text; what is left then stays as it is
MAX_CHARACTERS = 1_000_000
MAX_NESTED_FILES = 16
MAX_FILE_BYTES = 8 * 2**20

_TOKEN = re.compile(r"\\.|__([\w.-][\w./ -]{0,118}?)__|[^\\{}|_]+|[\\{}|_]", re.S)
_COUNT = re.compile(r"(\d{1,3})?(-)?(\d{1,3})?\$\$(?:([^$|{}]*)\$\$)?")
_WEIGHT = re.compile(r"\s*(\d{1,9}(?:\.\d{0,9})?|\.\d{1,9})\s*::")
_ESCAPED = re.compile(r"\\([{}|])")
_FINDS = re.compile(r"(?<!\\)\{[^{}]*(?<!\\)\}|__[\w.-][\w./ -]{0,118}?__")


@dataclass(frozen=True)
class Choice:
    text: str
    weight: float = 1.0


class WildcardFolder:
    """The files of one folder. A file is read again when it has changed. Any thread may use it."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read: dict[Path, tuple[tuple[int, int], tuple[Choice, ...]]] = {}

    def choices(self, name: str) -> tuple[Choice, ...] | None:
        """The lines of a wildcard, or None when there is no such file."""
        file = self._file(name)
        if file is None:
            return None
        try:
            status = file.stat()
            stamp = (status.st_mtime_ns, status.st_size)
            with self._lock:
                known = self._read.get(file)
            if known is not None and known[0] == stamp:
                return known[1]
            if status.st_size > MAX_FILE_BYTES:
                return None
            lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
        except OSError:
            return None
        found = tuple(choice_of(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#"))
        with self._lock:
            self._read[file] = (stamp, found)
        return found

    def names(self) -> list[str]:
        """Every wildcard there is, by the name it is called with."""
        if self.path is None or not self.path.is_dir():
            return []
        files = (file for file in self.path.rglob("*.txt") if file.is_file())
        return sorted(file.relative_to(self.path).with_suffix("").as_posix() for file in files)

    def fingerprint(self) -> str:
        """Changes when any file does: pictures made with other lines are other pictures."""
        stamps = []
        for name in self.names():
            file = self._file(name)
            try:
                status = file.stat() if file else None
            except OSError:
                status = None
            stamps.append(f"{name}:{status.st_mtime_ns}:{status.st_size}" if status else name)
        return "\n".join(stamps)

    def _file(self, name: str) -> Path | None:
        parts = PurePosixPath(name.strip()).parts
        # A prompt can come from anywhere: it may name what lies in the folder and nothing else.
        if self.path is None or not parts or any(part in ("..", "/", ".") or ":" in part for part in parts):
            return None
        file = self.path.joinpath(*parts[:-1], parts[-1] + ".txt")
        try:
            inside = file.resolve().is_relative_to(self.path.resolve())
            return file if inside and file.is_file() else None
        except (OSError, ValueError):
            return None


# Where the studio's wildcards lie; the application says so once, at its start.
FOLDER = WildcardFolder()


def has_choices(text: str) -> bool:
    """Whether `expand` may change this text."""
    return _FINDS.search(text) is not None


def choice_of(text: str) -> Choice:
    """ "2::red" → red with weight 2."""
    match = _WEIGHT.match(text)
    return Choice(text[match.end() :], float(match[1])) if match else Choice(text)


def expand(text: str, seed: int, folder: WildcardFolder | None = None) -> str:
    """The text with every choice made. The same text, seed and files give the same prompt."""
    return _Expander(random.Random(seed), FOLDER if folder is None else folder).expand(text, 0)


@dataclass
class _Frame:
    """An open brace: the finished choices, and the parts of the one being read."""

    choices: list[list[str]] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    wildcard: tuple[str, int] | None = None  # the last one read, and which part it became


class _Expander:
    def __init__(self, chooser: random.Random, folder: WildcardFolder) -> None:
        self._chooser, self._folder = chooser, folder
        self._left = MAX_CHOICES
        self._characters = MAX_CHARACTERS

    def expand(self, text: str, depth: int) -> str:
        root = _Frame()
        frames = [root]
        for match in _TOKEN.finditer(text):
            token, name = match[0], match[1]
            frame = frames[-1]
            if name is not None:
                frame.wildcard = name, len(frame.parts)
                frame.parts.append(self._from_file(token, name, depth))
            elif token == "{":
                frames.append(_Frame())
            elif token == "}" and len(frames) > 1:
                frames.pop()
                frame.choices.append(frame.parts)
                frames[-1].parts.append(self._pick(frame, depth))
            elif token == "|" and len(frames) > 1:
                frame.choices.append(frame.parts)
                frame.parts = []
            else:
                frame.parts.append(_ESCAPED.sub(r"\1", token))
        for frame in frames[1:]:  # never closed: as it was written
            frame.choices.append(frame.parts)
            root.parts.append("{" + "|".join("".join(parts) for parts in frame.choices))
        return "".join(root.parts)

    def _spend(self, text: str) -> bool:
        """Whether this text may still be put in."""
        if self._left <= 0 or len(text) > self._characters:
            return False
        self._left -= 1
        self._characters -= len(text)
        return True

    def _from_file(self, written: str, name: str, depth: int) -> str:
        choices = self._folder.choices(name) if depth < MAX_NESTED_FILES else None
        if not choices or not self._spend(""):
            return written
        chosen = self._one(choices)
        return self.expand(chosen, depth + 1) if self._spend(chosen) else written

    def _pick(self, frame: _Frame, depth: int) -> str:
        texts = ["".join(parts) for parts in frame.choices]
        count = _COUNT.match(texts[0])
        if count is not None and not (count[1] or count[3]):
            count = None
        if count is not None:
            texts[0] = texts[0][count.end() :]
        choices: Sequence[Choice] = (self._lines_of(frame, depth) if count is not None else ()) or [
            choice_of(text) for text in texts
        ]
        if not self._spend(""):
            return "{" + "|".join(texts) + "}"
        if count is None:
            return self._one(choices)
        low = int(count[1] or 1)
        high = int(count[3]) if count[3] else (len(choices) if count[2] else low)
        separator = ", " if count[4] is None else count[4]
        number = min(self._chooser.randint(min(low, high), max(low, high)), len(choices))
        return separator.join(self._several(choices, number))

    def _lines_of(self, frame: _Frame, depth: int) -> list[Choice]:
        """For `{2$$__name__}`: every line of the file is a choice."""
        if frame.wildcard is None or len(frame.choices) > 1 or depth >= MAX_NESTED_FILES:
            return []
        name, place = frame.wildcard
        parts = frame.choices[0]
        if place != len(parts) - 1 or not _COUNT.fullmatch("".join(parts[:place]).strip()):
            return []
        lines = self._folder.choices(name) or ()
        return [Choice(self.expand(line.text, depth + 1), line.weight) for line in lines if self._spend(line.text)]

    def _one(self, choices: Sequence[Choice]) -> str:
        weights = [choice.weight for choice in choices]
        if all(weight == 1.0 for weight in weights) or not math.fsum(weights) > 0:
            return self._chooser.choice(choices).text
        return self._chooser.choices(choices, weights)[0].text

    def _several(self, choices: Sequence[Choice], number: int) -> list[str]:
        """`number` different choices in the order they are written."""
        places = list(range(len(choices)))
        if all(choice.weight == 1.0 for choice in choices):
            return [choices[place].text for place in sorted(self._chooser.sample(places, number))]
        taken: list[int] = []
        for _ in range(number):
            weights = [choices[place].weight for place in places]
            place = self._chooser.choices(places, weights)[0] if sum(weights) > 0 else self._chooser.choice(places)
            places.remove(place)
            taken.append(place)
        return [choices[place].text for place in sorted(taken)]
