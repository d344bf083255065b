"""The main memory that the studio may fill on this machine now. Torch-free: the engine and the window ask the same."""

from __future__ import annotations


def main_room() -> int:
    """Bytes: what is free, and what this process holds itself, which a plan counts again."""
    import psutil

    held = psutil.Process().memory_info()
    # Mapped files count as free already: the system lets go of them when room is needed.
    own = held.rss - held.shared if hasattr(held, "shared") else 0
    return int(psutil.virtual_memory().available) + max(own, 0)
