"""Whose address a call comes from, and the partition of state that an address stands for.

Only what a trusted proxy says is believed, and of that only the right-most address that is not itself a
trusted proxy: everything left of it is the caller's own writing (RFC 7239 8.1, spec http.md F-6). What names
nobody, because the proxy hides it, means the peer itself. What a caller can bring about behind an honest proxy
(fields that disagree, are malformed or too long) is refused: it must not be a way to another caller's state.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from policies.errors import GatewayError

Address = IPv4Address | IPv6Address
Fields = Iterable[tuple[bytes, bytes]]
Networks = tuple[IPv4Network | IPv6Network, ...]

MAX_FIELD = 4_096
"""Octets of all forwarding fields together; a request with more is refused."""

_PAIR = re.compile(r'[ \t]*([A-Za-z0-9!#$%&\'*+.^_`|~-]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s",;=]+))[ \t]*([;,]|\Z)')
_NODE = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+))(?::[0-9]{1,5})?")


def parsed(text: str) -> Address | None:
    """An address, an IPv4-mapped one as IPv4; None when it is none."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def partition(text: str) -> str:
    """What shares one state: an IPv4 address, or the /64 of an IPv6 address (one subscriber holds a whole /64)."""
    if ":" not in text:
        return text
    address = parsed(text)
    if not isinstance(address, IPv6Address):
        return str(address or text)
    return str(IPv6Network((int(address) >> 64 << 64, 64)))


class TrustedProxies:
    """Who may speak for somebody else: ``server.trusted_proxies``."""

    __slots__ = ("_networks",)

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def trusts(self, peer: str) -> bool:
        """Whether the fields that ``peer`` sent are believed."""
        address = parsed(peer) if self._networks else None
        return address is not None and self._holds(address)

    def client(self, peer: str, headers: Fields) -> str:
        """The caller's address behind the trusted ``peer``; ``peer`` where the fields name nobody.

        Raises ``bad-request`` where ``Forwarded`` and ``X-Forwarded-For`` disagree: a proxy writes one of them and
        may let the caller's other one through. A ``Forwarded`` without any ``for`` says nothing about addresses.
        """
        forwarded = [value for name, value in headers if name == b"forwarded" and b"for=" in value.lower()]
        plain = [value for name, value in headers if name == b"x-forwarded-for"]
        if sum(map(len, (*forwarded, *plain))) > MAX_FIELD:
            raise GatewayError("bad-request", "Forwarded and X-Forwarded-For are too long")
        named = {self._outermost(nodes(lines)) for nodes, lines in ((_forwarded, forwarded), (_plain, plain)) if lines}
        if len(named) > 1:
            raise GatewayError("bad-request", "Forwarded and X-Forwarded-For disagree")
        found = named.pop() if named else None
        return peer if found is None else str(found)

    def _outermost(self, nodes: Iterator[Address | None]) -> Address | None:
        """The first of ``nodes``, which come nearest first, that is no trusted proxy; the farthest if all are."""
        last = None
        for node in nodes:
            if node is None or not self._holds(node):
                return node
            last = node
        return last

    def _holds(self, address: Address) -> bool:
        return any(address.version == network.version and address in network for network in self._networks)


def _plain(lines: list[bytes]) -> Iterator[Address | None]:
    """The addresses of ``X-Forwarded-For``, nearest first; None for what is no address."""
    for line in reversed(lines):
        for text in reversed(line.decode("latin-1").split(",")):
            yield parsed(text.strip()) or _node(text.strip())


def _forwarded(lines: list[bytes]) -> Iterator[Address | None]:
    """The ``for`` nodes of ``Forwarded`` (RFC 7239 4), nearest first; None for what is obfuscated.

    Raises ``bad-request`` for a malformed line: a quote that the caller left open swallows the proxy's element.
    """
    for line in reversed(lines):
        elements = _elements(line.decode("latin-1"))
        if elements is None:
            raise GatewayError("bad-request", "Forwarded is malformed")
        for element in reversed(elements):
            yield _node(element.get("for", ""))


def _elements(text: str) -> list[dict[str, str]] | None:
    """The elements of one field line as name -> value; None when the line is malformed."""
    elements: list[dict[str, str]] = [{}]
    at = 0
    while True:
        pair = _PAIR.match(text, at)
        if pair is None or pair[1].lower() in elements[-1]:
            return None
        elements[-1][pair[1].lower()] = pair[2] if pair[2] is not None else pair[3]
        at = pair.end()
        if not pair[4]:
            return elements
        if pair[4] == ",":
            elements.append({})


def _node(text: str) -> Address | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``[2001:db8::1]`` or ``[2001:db8::1]:80`` (RFC 7239 6)."""
    node = _NODE.fullmatch(text)
    return parsed(node[1] or node[2]) if node else None
