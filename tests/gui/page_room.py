"""What the rooms of single pages share: the real application behind a page, its start, and an orderly end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from pytestqt.qtbot import QtBot

from studio_app.application import Application
from ui import appearance
from ui.bridge.bridge import Bridge

SECONDS = 1000


class Page(Protocol):
    """A page of the studio, as far as its end goes."""

    def close_down(self) -> object: ...
    def hide(self) -> None: ...
    def deleteLater(self) -> None: ...  # noqa: N802  # Qt names it so


def application(data: Path) -> tuple[Application, Bridge]:
    """An application on a folder of its own, in its looks, which warms nothing up by itself."""
    app = Application(data)
    app.settings.set("engine.warm_up", False)
    appearance.apply(app)
    bridge = Bridge()
    bridge.start(app)
    return app, bridge


def start(app: Application, bridge: Bridge, qtbot: QtBot) -> None:
    """Open the store and the engine lane, and wait for them."""
    app.start()
    bridge.announce_ready()
    with qtbot.waitSignal(bridge.ready, timeout=30 * SECONDS):
        pass


@contextmanager
def ended(page: Page, app: Application, bridge: Bridge, qtbot: QtBot) -> Iterator[None]:
    """At the end the page goes first, then what it stands on."""
    try:
        yield
    finally:
        page.close_down()
        page.hide()
        page.deleteLater()
        bridge.close()
        app.close()
        qtbot.wait(1)  # lets Qt delete what asked for it
