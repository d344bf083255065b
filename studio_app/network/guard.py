"""Where a request may go: https to public addresses only, checked on the very address that is connected to.

A name is resolved once, all its addresses are judged, and the connection is made to one of them, so that a name that
answers differently a moment later (DNS rebinding) gains nothing. Redirects are new requests and pass here again.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Collection, Iterable
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from engine.contracts.errors import InvalidRequest, NetworkError, clip

Resolve = Callable[[str, int], list[str]]


def check_url(url: str, trusted: Collection[str] = ()) -> str:
    """The URL, if a request may go there: https, a host, no password in it; http to `trusted` hosts only.

    Raises InvalidRequest.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InvalidRequest(f"“{clip(url)}” is no address ({error})") from error
    if not host or parts.scheme not in ("https", "http"):
        raise InvalidRequest(f"“{clip(url)}” is no web address", fix="It starts with https://")
    if parts.username or parts.password:
        raise InvalidRequest("the address holds a name or password", where=host, fix="Leave them out of it")
    if parts.scheme != "https" and host not in trusted:
        raise InvalidRequest("it would come over an open line", where=host, fix="Use an address with https://")
    if port == 0:
        raise InvalidRequest("port 0 is no port", where=host)
    return url.strip()


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet, looking through every way to write IPv4 inside IPv6."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None) or _nat64(ip)
        if inner is not None:
            return is_public(str(inner))
        if ip.is_site_local:
            return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


def _nat64(ip: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    prefixes = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("::/96"))
    return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF) if any(ip in prefix for prefix in prefixes) else None


def resolved(host: str, port: int) -> list[str]:
    """Every address of a name. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(info[4][0]) for info in found))


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to the addresses it has judged. `trusted` hosts may be private: a queue of one's own in the house."""

    def __init__(self, trusted: Callable[[], Collection[str]], resolve: Resolve = resolved) -> None:
        self._trusted, self._resolve = trusted, resolve
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._resolve(host, port)
        except OSError as error:
            raise httpcore.ConnectError(f"the name {host} is not known ({error.strerror or error})") from error
        if host not in self._trusted():
            private = [address for address in addresses if not is_public(address)]
            if private:
                raise NetworkError(
                    f"the address {private[0]} lies in a private network, so nothing is asked there", where=host,
                    fix="Add the host to “Trusted hosts” in the preferences if it is yours",
                )  # fmt: skip
        failure: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for address in addresses[:4]:
            try:
                return self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        raise NetworkError("local sockets are not asked", where=path)


class GuardedTransport(httpx.BaseTransport):
    """httpx over `GuardedBackend`. TLS is checked against the name asked for, as ever."""

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(), network_backend=backend, max_connections=8,
            keepalive_expiry=10.0, retries=1,
        )  # fmt: skip

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        url = request.url
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        got = self._pool.handle_request(asked)
        return httpx.Response(got.status, headers=got.headers, stream=_Stream(got), extensions=got.extensions)

    def close(self) -> None:
        self._pool.close()


class _Stream(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response) -> None:
        self._response = response

    def __iter__(self) -> Any:
        yield from self._response.iter_stream()

    def close(self) -> None:
        self._response.close()
