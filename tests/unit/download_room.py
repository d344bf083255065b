"""A small web server on this machine for tests of downloads."""

from __future__ import annotations

import contextlib
import http.server
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

HOST = "127.0.0.1"


@dataclass
class House:
    """A small web server: paths → bodies or answers; what it was asked; how many bytes it gives before it hangs up."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    redirects: dict[str, str] = field(default_factory=dict)
    heads: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    cut_after: int | None = None
    etag: str = '"one"'

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}{path}"


@contextlib.contextmanager
def open_house() -> Iterator[House]:
    """A running server; it is gone afterwards."""
    house = House()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.answer(with_body=False)

        def do_GET(self) -> None:
            self.answer(with_body=True)

        def answer(self, with_body: bool) -> None:
            path = self.path.partition("?")[0]
            house.asked.append((self.command, self.path, dict(self.headers)))
            if path in house.redirects:
                self.send_response(302)
                self.send_header("Location", house.redirects[path])
                for name, value in house.heads.get(path, {}).items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if path not in house.files:
                self.send_error(404)
                return
            body, start = house.files[path], 0
            wanted = self.headers.get("Range")
            if wanted and self.headers.get("If-Range", house.etag) == house.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("ETag", house.etag)
            self.end_headers()
            if with_body:
                end = len(body) if house.cut_after is None else start + house.cut_after
                with contextlib.suppress(ConnectionError):  # whoever asked went away, as a cancelled download does
                    self.wfile.write(body[start:end])

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
    house.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield house
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
