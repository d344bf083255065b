"""`bench model_index`: listing 10,000 model files that have not changed. Issue 4's goal: under a second.

Tiny synthetic LoRAs in 50 folders. The first scan reads every header; the second finds every file by its size and
time in the index, as the studio does at each start.
"""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path

from studio_app.application import Application
from tests.benchmarks.harness import Report, cpu_ms, median_cpu_ms

FILES = 10_000
GOAL_SECONDS = 1.0


def make_files(folder: Path, count: int) -> None:
    """`count` LoRAs of one layer, each with its own trigger phrase, 200 to a folder."""
    for number in range(count):
        place = folder / f"loras-{number // 200}"
        place.mkdir(parents=True, exist_ok=True)
        layer = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_k"
        header = {
            "__metadata__": {"modelspec.trigger_phrase": f"style {number}"},
            f"{layer}.lora_down.weight": {"dtype": "F16", "shape": [1, 768], "data_offsets": [0, 1536]},
            f"{layer}.lora_up.weight": {"dtype": "F16", "shape": [320, 1], "data_offsets": [1536, 2176]},
        }
        raw = json.dumps(header).encode()
        (place / f"lora-{number:05}.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + bytes(2176))


def run(files: int = FILES) -> Report:
    with tempfile.TemporaryDirectory(prefix="tessera-bench-") as name:
        data = Path(name)
        make_files(data / "models", files)
        app = Application(data)
        try:
            first = cpu_ms(app.model_library.scan) / 1000
            listed = len(app.model_library.list())
            app.close()
            app = Application(data)  # as a new start: nothing in memory
            again = cpu_ms(app.model_library.list) / 1000
            repeated = median_cpu_ms(app.model_library.list, rounds=3) / 1000
        finally:
            app.close()
    return Report(
        "model_index",
        {"files": listed, "first_scan_cpu_s": first, "relist_cpu_s": again, "relist_warm_cpu_s": repeated},
        {"files": ("==", files), "relist_cpu_s": ("<=", GOAL_SECONDS)},
    )
