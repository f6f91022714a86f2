"""Where a connection may go: names resolved here, forbidden addresses refused before a packet is sent.

The check is made on the address that is then connected to, so that a name cannot change in between. Link-local
addresses hand out cloud credentials; our own listeners would make a loop (DESIGN §8). Loopback is allowed,
because sidecars and tests live there.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Iterable

import httpcore2

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
METADATA_V6 = ipaddress.ip_address("fd00:ec2::254")
"""The metadata service where it has an address that is not link-local."""


class Unreachable(httpcore2.ConnectError):
    """No connection. ``code`` is a row of ``policies.errors``, ``proxy_error`` the RFC 9209 word."""

    def __init__(self, code: str, proxy_error: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.proxy_error = proxy_error


def prohibited(address: IpAddress) -> bool:
    """Whether no upstream may live at ``address``."""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return address.is_link_local or address.is_multicast or address == METADATA_V6


def own(address: IpAddress, port: int, listeners: Iterable[tuple[str, int]]) -> bool:
    """Whether this is a listener of ours; a wildcard one is on every local address, and 0.0.0.0 is loopback."""
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    return any(port == listening and _meets(address, ipaddress.ip_address(host)) for host, listening in listeners)


def _meets(address: IpAddress, listener: IpAddress) -> bool:
    local = address.is_loopback or address.is_unspecified
    return (
        address == listener or (local and listener.is_unspecified) or (address.is_unspecified and listener.is_loopback)
    )


_WORDS = {
    errno.ECONNREFUSED: "connection_refused",
    errno.ENETUNREACH: "destination_ip_unroutable",
    errno.EHOSTUNREACH: "destination_ip_unroutable",
    errno.EADDRNOTAVAIL: "destination_ip_unroutable",
}


def unreachable(error: BaseException) -> Unreachable:
    """The one mapping of a failed connect to an RFC 9209 error; the system's error is at the end of the chain."""
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "errno", None) is None:
        cause = cause.__cause__
    word = _WORDS.get(getattr(cause, "errno", None) or 0, "destination_unavailable")
    return Unreachable("upstream-connect", word, str(cause or error))


class GuardedBackend(httpcore2.AnyIOBackend):
    """The network of one upstream: resolves, checks every address, connects to one that passed."""

    def __init__(self, listeners: frozenset[tuple[str, int]]) -> None:
        self._listeners = listeners

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  the library's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        resolved = False
        try:
            async with asyncio.timeout(timeout):
                addresses = await self._resolve(host, port)
                resolved = True
                return await self._first(addresses, port, socket_options)
        except TimeoutError:
            word = "connection_timeout" if resolved else "dns_timeout"
            raise Unreachable("upstream-timeout", word, f"no connection to {host}:{port} in time") from None

    async def _resolve(self, host: str, port: int) -> list[str]:
        """Addresses in the resolver's order. One forbidden address among them refuses them all."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise Unreachable("upstream-connect", "dns_error", str(error)) from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        for text in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if prohibited(address):
                raise Unreachable("upstream-connect", "destination_ip_prohibited", f"{host} is {address}")
            if own(address, port, self._listeners):
                raise Unreachable("upstream-loop", "proxy_loop_detected", f"{host}:{port} is this gateway")
        return addresses

    async def _first(
        self, addresses: list[str], port: int, socket_options: Iterable[httpcore2.SOCKET_OPTION] | None
    ) -> httpcore2.AsyncNetworkStream:
        failure = Unreachable("upstream-connect", "dns_error", "the name has no address")
        for address in addresses:
            try:
                return await super().connect_tcp(address, port, socket_options=socket_options)
            except httpcore2.ConnectError as error:
                failure = unreachable(error)
        raise failure
