"""The main job with the network taken away: whatever reaches for it ends the program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]

# Making a socket, or binding one to this machine to see whether it has IPv6 as libraries do, reaches nothing. Reaching
# ends the program on the spot, whoever would catch it.
WITHOUT_SOCKETS = """
import os, socket, sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        sys.stderr.write(f"reached for the network: {event} {args[1:]}\\n")
        sys.stderr.flush()
        os._exit(99)

sys.addaudithook(refuse)
from studio_app.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_first_picture_needs_no_network(own_data_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    prompt = "a red circle on a blue background"
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_SOCKETS, "generate", prompt, "--seed", "7", "-o", str(target), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    with Image.open(target) as picture:
        pixels = np.asarray(picture.convert("RGB"), dtype=np.int16)
    assert pixels.shape == (128, 128, 3)
    red, green, blue = pixels[..., 0], pixels[..., 1], pixels[..., 2]
    reddish = (red > 120) & (red - blue > 60) & (red - green > 60)
    corners = np.concatenate([pixels[:8, :8], pixels[:8, -8:], pixels[-8:, :8], pixels[-8:, -8:]]).reshape(-1, 3)
    assert 0.03 < reddish.mean() < 0.7  # a shape, neither a speck nor the whole picture
    assert (corners[:, 2] > corners[:, 0] + 40).mean() > 0.9  # on blue
    rows, columns = np.nonzero(reddish)
    height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert abs(height - width) <= 0.25 * max(height, width)  # as wide as high
    assert abs(reddish.sum() / (height * width) - np.pi / 4) < 0.12  # and fills its square as a circle does
