"""Where a connection may go: names resolved here, forbidden addresses refused before a packet is sent.

The check is made on the address that is then connected to, so that a name cannot change in between. Link-local
addresses hand out cloud credentials; our own listeners would make a loop (DESIGN §8). Loopback is allowed,
because sidecars and tests live there. How failures to connect are named (RFC 9209 2.3) stands here too; who
connects is an engine's affair.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
import ssl
from collections.abc import Iterable

from upstreams.transport import TransportError

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
METADATA_V6 = ipaddress.ip_address("fd00:ec2::254")
"""The metadata service where it has an address that is not link-local."""


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


async def addresses(host: str, port: int, listeners: Iterable[tuple[str, int]]) -> list[str]:
    """Addresses of ``host`` in the resolver's order, at least one. A forbidden one among them refuses them all.

    Raises ``TransportError``.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise unconnected("upstream-connect", "dns_error", str(error)) from None
    texts = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in texts:
        address = ipaddress.ip_address(text.partition("%")[0])
        if prohibited(address):
            raise unconnected("upstream-connect", "destination_ip_prohibited", f"{host} is {address}")
        if own(address, port, listeners):
            raise unconnected("upstream-loop", "proxy_loop_detected", f"{host}:{port} is this gateway")
    if not texts:
        raise unconnected("upstream-connect", "dns_error", "the name has no address")
    return texts


def unconnected(code: str, proxy_error: str, text: str) -> TransportError:
    """No connection, hence nothing sent."""
    return TransportError(code, proxy_error=proxy_error, phase="upstream_connect", sent=False, text=text)


def refused(error: BaseException) -> TransportError:
    """The one mapping of a failed connect; the system's error is at the end of the chain."""
    cause: BaseException | None = error
    while cause is not None and getattr(cause, "errno", None) is None:
        cause = cause.__cause__
    word = _WORDS.get(getattr(cause, "errno", None) or 0, "destination_unavailable")
    return unconnected("upstream-connect", word, str(cause or error))


def untrusted(cause: BaseException | None) -> TransportError:
    """A failed TLS handshake."""
    if isinstance(cause, ssl.SSLCertVerificationError):
        word = "tls_certificate_error"
    elif isinstance(cause, ssl.SSLError) and "ALERT" in str(cause):
        word = "tls_alert_received"
    else:
        word = "tls_protocol_error"
    return unconnected("upstream-tls", word, str(cause))


def too_slow(host: str, port: int, *, resolved: bool) -> TransportError:
    """The connect deadline has passed, while the name was looked up or afterwards."""
    word = "connection_timeout" if resolved else "dns_timeout"
    return unconnected("upstream-timeout", word, f"no connection to {host}:{port} in time")
