"""The one way out. Every request of the studio passes here: guarded, in the ledger, stopped by the offline switch."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpcore
import httpx

from engine.contracts.errors import NetworkError, clip
from studio_app.network.guard import GuardedBackend, GuardedTransport, Resolve, check_url, resolved
from studio_app.network.ledger import Call, Ledger
from studio_app.network.secrets import token_for
from studio_app.version import VERSION

REDIRECTS = 5
SMALL = 4 << 20
TIMEOUT = httpx.Timeout(30.0, connect=15.0)


class Answer:
    """An open response: its head, and its body in pieces. Reading stops the moment the offline switch is turned."""

    def __init__(self, response: httpx.Response, url: str, check: Callable[[], None]) -> None:
        self._response, self._check = response, check
        self.url = url
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.received = 0
        self.passed: tuple[Mapping[str, str], ...] = ()  # headers of the answers that led on to this one

    def pieces(self) -> Iterator[bytes]:
        """The body as it comes, undecoded (as its length and hash count). Raises NetworkError."""
        try:
            for piece in self._response.iter_raw():
                self._check()
                self.received += len(piece)
                yield piece
        except (httpx.HTTPError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            raise _failed(self.url, error) from error

    def body(self, limit: int = SMALL) -> bytes:
        """The whole of a small body. Raises NetworkError when it is longer than `limit` bytes."""
        found = bytearray()
        for piece in self.pieces():
            found += piece
            if len(found) > limit:
                raise NetworkError(f"the answer is longer than {limit:,} bytes", where=_host(self.url))
        return bytes(found)


class Network:
    """offline  asked before each request and between pieces
    trusted  hosts that may be private and spoken to over http
    """

    def __init__(
        self, ledger: Ledger, offline: Callable[[], bool], trusted: Callable[[], Collection[str]] = tuple,
        *, resolve: Resolve = resolved, token: Callable[[str], str] = token_for,
    ) -> None:  # fmt: skip
        self.ledger = ledger
        self._offline, self._trusted, self._token = offline, trusted, token
        self._resolve = resolve
        self._client: httpx.Client | None = None

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    @contextmanager
    def ask(
        self, url: str, *, purpose: str, method: str = "GET", headers: Mapping[str, str] | None = None
    ) -> Iterator[Answer]:
        """One request, redirects followed and judged anew; a token goes to the host it is kept for and no further.

        Raises InvalidRequest for an address that may not be asked, NetworkError for what goes wrong on the way.
        Answers of 400 and above come back as they are: what they mean depends on what was asked.
        """
        passed: list[Mapping[str, str]] = []
        for _ in range(REDIRECTS + 1):
            url = self.checked(url)
            self._check()
            with self._one(url, purpose, method, headers or {}) as answer:
                target = answer.headers.get("location", "")
                if answer.status not in (301, 302, 303, 307, 308) or not target:
                    answer.passed = tuple(passed)
                    yield answer
                    return
                passed.append(answer.headers)
                url = urljoin(url, target)
        raise NetworkError(f"it leads on more than {REDIRECTS} times", where=_host(url))

    def checked(self, url: str) -> str:
        """The address, if it may be asked. Raises InvalidRequest."""
        return check_url(url, self._trusted())

    def json(self, url: str, *, purpose: str) -> Any:
        """The JSON an address answers with. Raises InvalidRequest or NetworkError."""
        with self.ask(url, purpose=purpose, headers={"Accept": "application/json"}) as answer:
            if answer.status != 200:
                raise NetworkError(refusal(answer.status), where=_host(url))
            try:
                return httpx.Response(200, content=answer.body()).json()
            except ValueError as error:
                raise NetworkError("the answer is no JSON", where=_host(url)) from error

    @contextmanager
    def _one(self, url: str, purpose: str, method: str, headers: Mapping[str, str]) -> Iterator[Answer]:
        parts = urlsplit(url)
        call = Call(time.time(), purpose, method, parts.hostname or "", parts.path)
        started, answer = time.monotonic(), None
        sent = {"User-Agent": f"TesseraStudio/{VERSION}", "Accept-Encoding": "identity", **headers}
        token = self._token(call.host) if parts.scheme == "https" else ""
        if token:
            sent["Authorization"] = f"Bearer {token}"
        try:
            with self._http().stream(method, url, headers=sent) as response:
                answer = Answer(response, url, self._check)
                yield answer
        except (httpx.HTTPError, httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            failure = _failed(url, error)
            call = replace(call, failure=failure.what)
            raise failure from error
        except NetworkError as error:
            call = replace(call, failure=error.what)
            raise
        finally:
            self.ledger.add(
                replace(
                    call, status=answer.status if answer else 0, received=answer.received if answer else 0,
                    seconds=round(time.monotonic() - started, 3),
                )
            )  # fmt: skip

    def _http(self) -> httpx.Client:
        if self._client is None:
            transport = GuardedTransport(GuardedBackend(self._trusted, self._resolve))
            self._client = httpx.Client(transport=transport, timeout=TIMEOUT, follow_redirects=False, trust_env=False)
        return self._client

    def _check(self) -> None:
        if self._offline():
            raise NetworkError("the studio is offline", fix="Turn the offline switch off to go on")


def refusal(status: int) -> str:
    """What an HTTP status of 400 and above means for the person."""
    if status in (401, 403):
        return f"the host wants you to sign in or to accept its terms first (status {status})"
    if status == 404:
        return "there is nothing at this address (status 404)"
    if status == 429:
        return "the host asks to wait a while (status 429)"
    return f"the host answered with status {status}"


def _failed(url: str, error: Exception) -> NetworkError:
    said = clip(str(error), 160) or type(error).__name__
    if isinstance(error, (httpx.TimeoutException, httpcore.TimeoutException)):
        said = "no answer came in time"
    return NetworkError(f"the host can't be reached ({said})", where=_host(url), fix="Check the connection, try again")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
