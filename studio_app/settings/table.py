"""Every setting of the studio, once: the preferences dialog, validation and docs/settings.md come from this table."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from engine.contracts.codec import describe
from engine.contracts.errors import InvalidRequest, UnknownChoice
from engine.memory.attention import KERNELS, lacking

Kind = Literal["bool", "int", "float", "text", "choice", "path", "json"]


@dataclass(frozen=True)
class Setting:
    """One setting. `key` is "<group>.<name>"; `hidden` settings are the studio's own memory, not a preference.

    minimum, maximum  for int and float        choices  (value, label) for choice
    presets           (value, label): usual values of a float, offered beside the number
    lacking           gives choices that can't be had on this machine, and why
    page              the group it stands in, where that is not the key's own
    An empty path means "the usual place", which `help` names.
    """

    key: str
    kind: Kind
    default: Any
    label: str
    help: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[tuple[str, str], ...] = ()
    presets: tuple[tuple[float, str], ...] = ()
    hidden: bool = False
    restart: bool = False
    lacking: Callable[[], Mapping[str, str]] | None = None
    page: str = ""

    @property
    def group(self) -> str:
        return self.page or self.key.partition(".")[0]

    def check(self, value: Any) -> Any:
        """The value in its proper type. Raises InvalidRequest or UnknownChoice with one sentence."""
        if self.kind == "choice":
            known = [choice for choice, _ in self.choices]
            if value not in known:
                raise UnknownChoice("choice", str(value), known, where=self._where())
            why = (self.lacking() if self.lacking is not None else {}).get(value)
            if why:
                raise InvalidRequest(f"“{dict(self.choices)[value]}” can't be used: {why}", where=self._where(),
                                     fix="Install it, or choose another")  # fmt: skip
            return value
        if self.kind == "json":
            return _checked_json(value, self.key)
        wanted = {"bool": bool, "int": int, "float": float, "text": str, "path": str}[self.kind]
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
            raise InvalidRequest(f"expected {_KIND_WORDS[self.kind]}, found {describe(value)}", where=self._where())
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            self._check_range(value)
        return value

    def _check_range(self, value: float) -> None:
        low = -math.inf if self.minimum is None else self.minimum
        high = math.inf if self.maximum is None else self.maximum
        if not low <= value <= high:  # also refuses NaN
            raise InvalidRequest(f"{value:g} is out of range", where=self._where(), fix=f"Use {low:g} to {high:g}")

    def _where(self) -> str:
        return f"Setting {self.key}"


_KIND_WORDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "text": "text", "path": "a path"}

GROUPS: tuple[tuple[str, str], ...] = (
    ("ui", "Appearance"),
    ("create", "Create"),
    ("generation", "Pictures"),
    ("engine", "Engine"),
    ("memory", "Memory"),
    ("speed", "Speed"),
    ("models", "Models"),
    ("nodes", "Nodes"),
    ("network", "Network"),
)

CARD_SIZES: tuple[tuple[float, str], ...] = (
    (0.0, "All that is free"), *((float(size), f"{size} GB card") for size in (4, 6, 8, 12, 16, 24)),
)  # fmt: skip
LEFT_FREE: tuple[tuple[float, str], ...] = (
    (0.0, "Nothing"), (0.5, "A desktop, 0.5 GB"), (1.0, "A browser, 1 GB"), (2.0, "A game or a video editor, 2 GB"),
)  # fmt: skip

ATTENTION = {
    "auto": "Automatic", "native": "PyTorch’s choice", "flash": "FlashAttention",
    "efficient": "PyTorch’s memory-efficient kernel", "math": "Plain arithmetic (slow, for comparison)",
    "sage": "SageAttention (eight bits: changes the picture)", "xformers": "xFormers",
}  # fmt: skip

TABLE: tuple[Setting, ...] = (
    Setting(
        "ui.theme", "choice", "system", "Theme", "Colours of the window. “As the system” follows your desktop.",
        choices=(("system", "As the system"), ("dark", "Dark"), ("light", "Light"),
                 ("contrast", "High contrast")),
    ),
    Setting(
        "ui.scale", "float", 1.0, "Text and control size",
        "1 is the normal size; the desktop's own scaling comes on top.",
        minimum=0.75, maximum=3.0,
    ),
    Setting("ui.reduced_motion", "bool", False, "Less motion", "Turns off animations in the window."),
    Setting("ui.mode", "choice", "simple", "Controls",
            "Simple shows what a first picture needs; advanced keeps every setting in view.",
            choices=(("simple", "Simple"), ("advanced", "Advanced"))),
    Setting("ui.geometry", "text", "", "Window geometry", "Where the window was, in the toolkit's words.", hidden=True),
    Setting("ui.state", "json", {}, "Window state", "Panels, splitters and folds as they were left.", hidden=True),
    Setting("ui.shortcuts", "json", {}, "Shortcuts", "Keys that differ from those the studio came with.", hidden=True),
    Setting("ui.welcomed", "bool", False, "Welcome shown", "Whether the first-run page has been seen.", hidden=True),
    Setting("create.last_request", "json", {}, "Last request", "What Create showed when it was closed.", hidden=True),
    Setting("create.seed_locked", "bool", False, "Keep the seed",
            "Uses the same seed again instead of drawing a new one for each Generate."),
    Setting("create.live_preview", "bool", True, "Live preview", "Shows the picture forming while it is made."),
    Setting(
        "create.megapixels", "float", 0.0, "Picture area (megapixels)",
        "The area that every shape keeps to, where the model can make it; 0 is each model's best.",
        minimum=0.0, maximum=16.0,
    ),
    Setting(
        "generation.output_folder", "path", "", "Save pictures in",
        "Every finished picture is saved here. Empty means “Tessera Studio” in your pictures folder.",
    ),
    Setting("generation.export", "bool", True, "Save each picture",
            "Saves every finished picture as a file of its own; otherwise pictures are kept in the library only."),
    Setting(
        "generation.name_pattern", "text", "%date%-%prompt%-%seed%", "File names",
        "May hold %date%, %time%, %prompt%, %seed%, %model%, %width%, %height% and %index%; a number is added "
        "when the name is taken.",
    ),
    Setting(
        "generation.file_format", "choice", "png", "File format",
        "PNG keeps every pixel exactly; WebP and JPEG are smaller.",
        choices=(("png", "PNG"), ("webp", "WebP"), ("jpeg", "JPEG")),
    ),
    Setting("engine.device", "choice", "auto", "Device",
            "Where pictures are made. “Automatic” takes the best there is.",
            choices=(("auto", "Automatic"), ("cpu", "Processor"), ("cuda", "NVIDIA or AMD card"), ("mps", "Apple GPU")),
            restart=True),
    Setting("engine.warm_up", "bool", True, "Get ready at start",
            "Loads the engine in the background after the window shows, so that the first picture starts sooner."),
    Setting("engine.vram_gib", "float", 0.0, "Memory of the card to use (GiB)",
            "0 uses what is free when the studio starts. Plans are made for this much.",
            minimum=0.0, maximum=1024.0, restart=True, presets=CARD_SIZES, page="memory"),
    Setting("engine.leave_gib", "float", 0.0, "Leave to other programs (GiB)",
            "So much of the card is left free for them.", minimum=0.0, maximum=1024.0, restart=True, presets=LEFT_FREE,
            page="memory"),
    Setting("engine.ram_gib", "float", 0.0, "Main memory for models (GiB)",
            "So much is kept of loaded models between jobs, beside what lies in their files; the least recently used "
            "goes first. 0 takes half of what the machine has.", minimum=0.0, maximum=4096.0, restart=True,
            page="memory"),
    Setting("engine.quality", "choice", "exact", "Weights",
            "How far a plan may go to fit or to be faster. Exact weights give the very picture; eight bits need half "
            "the memory and change it a little, four bits about a quarter and change it more.",
            choices=(("exact", "Exact, always"), ("8-bit", "Eight bits where that helps"),
                     ("4-bit", "Four bits where that helps")),
            restart=True, page="memory"),
    Setting("engine.cache_mib", "int", 1024, "Cache of intermediate results (MiB)",
            "Memory for values that a later run can re-use.", minimum=0, maximum=262_144, restart=True, page="memory"),
    Setting("engine.disk_cache_mib", "int", 2048, "Cache of results on the disk (MiB)",
            "What took long to make is kept there, so that a later start need not make it again. 0 keeps nothing.",
            minimum=0, maximum=4_194_304, restart=True, page="memory"),
    Setting("engine.text_cache_mib", "int", 256, "Cache of read prompts (MiB)",
            "A prompt that was read before needs no text encoder, which is then not even loaded: bit for bit the same. "
            "So much is kept in memory, and as much on the disk, under a hash. 0 reads each prompt anew.",
            minimum=0, maximum=262_144, restart=True, page="memory"),
    Setting("engine.unsaved_mib", "int", 512, "Memory for unsaved pictures (MiB)",
            "How much may be held in memory while pictures can't be written.", minimum=16, maximum=65_536,
            page="memory"),
    Setting("engine.attention", "choice", "auto", "Attention",
            "Which kernel computes attention, the largest part of the work. All but one give the same picture to "
            "rounding; SageAttention computes in eight bits and changes it a little.",
            choices=tuple((name, ATTENTION[name]) for name in KERNELS), restart=True, page="speed", lacking=lacking),
    Setting("engine.half_sums", "choice", "fast", "Half-precision sums",
            "GeForce cards multiply twice as fast when sums keep sixteen bits instead of thirty-two. That changes "
            "pictures of Stable Diffusion 1, 2 and XL a little; the record says so.",
            choices=(("fast", "Where weights may have fewer bits"), ("always", "Always"), ("never", "Never")),
            restart=True, page="speed"),
    Setting("engine.compile", "bool", False, "Compile models",
            "Makes steps on a card faster; the first picture of each size takes ten seconds to two minutes longer. The "
            "picture is the same to rounding.",
            restart=True, page="speed"),
    Setting("engine.fast_cache", "bool", False, "Go fast leaves out steps",
            "A picture made with Go fast asks the model less often, where its answer would be about the last one. It "
            "changes the picture: usually little, now and then much.",
            restart=True, page="speed"),
    Setting("models.folders", "json", [], "Model folders",
            "A list of more folders that are searched for models, beside “models” in the studio's data folder."),
    Setting("models.largest_download_gib", "float", 64.0, "Largest download (GiB)",
            "A model that is larger is not fetched.", minimum=0.01, maximum=4096.0),
    Setting("nodes.folders", "json", [], "Node folders",
            "A list of more folders that are searched for nodes of your own, beside “nodes” in the studio's data "
            "folder. What is found runs only once you enable it."),
    Setting("network.offline", "bool", False, "Offline", "Nothing leaves this machine while this is on."),
    Setting("network.trusted_hosts", "json", [], "Trusted hosts",
            "A list of host names that may lie in a private network and be spoken to without https, such as a server "
            "of your own."),
)  # fmt: skip

BY_KEY: dict[str, Setting] = {setting.key: setting for setting in TABLE}


def setting(key: str) -> Setting:
    """The table's entry. Raises UnknownChoice for a key that is not in the table."""
    found = BY_KEY.get(key)
    if found is None:
        raise UnknownChoice("setting", key, tuple(BY_KEY))
    return found


def _checked_json(value: Any, key: str, depth: int = 0) -> Any:
    """A deep copy of plain JSON values; anything else is refused."""
    if depth > 50:
        raise InvalidRequest("it is nested too deeply", where=f"Setting {key}")
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, (list, tuple)):
        return [_checked_json(item, key, depth + 1) for item in value]
    if isinstance(value, dict) and all(isinstance(k, str) for k in value):
        return {k: _checked_json(item, key, depth + 1) for k, item in value.items()}
    raise InvalidRequest(f"expected plain JSON values, found {describe(value)}", where=f"Setting {key}")
