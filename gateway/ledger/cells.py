"""One cell: what is counted of a tenant's route group in a minute, as a flat row of integers (spec D1, K2).

Its packed form is what the spool and the store keep. Where cells come from and how they are merged is not known here.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from policies.sla.histogram import BUCKETS
from policies.sla.outcome import Class

CLASSES: Final[tuple[Class, ...]] = (
    ("good", "ok"),
    ("bad", "gateway"),
    ("bad", "managed_upstream"),
    ("ignored", "internal"),
    ("ignored", "client_abort"),
    ("ignored", "own_limit"),
    ("ignored", "client_error"),
    ("ignored", "upstream_throttle"),
    ("ignored", "third_party"),
    ("ignored", "customer"),
)
"""What the first counters count, in this order for ever: rows on disk have no names. New ones go behind the buckets."""

PLACES: Final = {each: place for place, each in enumerate(CLASSES)}
ELIGIBLE: Final = 3
"""Good and bad come first. Their latency is counted; that of ignored requests is nobody's promise, and a flood of
quick refusals must not dilute it."""

LATENCY: Final = len(CLASSES)
"""The place of the first latency bucket."""
WIDTH: Final = LATENCY + BUCKETS

Counters = tuple[int, ...]
"""``WIDTH`` counts: one per class, then one per latency bucket."""


class Cell(NamedTuple):
    """The counters of a minute as they stood at ``seq``, cumulative. A tuple, because thousands are made at once.

    ``slot_s`` is the minute's start, Unix seconds; ``generation`` tells apart what one process counted of a minute
    before and after it had left memory (0 is before): the two add up.
    """

    slot_s: int
    tenant: str
    group: str
    generation: int
    seq: int
    counters: Counters


class Row(NamedTuple):
    """A cell on its way: with the replica and the boot that counted it, its counters packed."""

    slot_s: int
    tenant: str
    group: str
    replica: str
    boot: str
    seq: int
    counters: bytes


def requests(counters: Sequence[int]) -> int:
    """How many requests were counted."""
    return sum(counters[:LATENCY])


def added(one: Counters, other: Counters) -> Counters:
    return tuple(map(int.__add__, one, other))


def packed(counters: Sequence[int]) -> bytes:
    """A bit for each counter that is not zero, as a varint, then those counters as varints (little-endian base 128)."""
    present, body = 0, bytearray()
    for place, count in enumerate(counters):
        if count:
            present |= 1 << place
            put_varint(body, count)
    head = bytearray()
    put_varint(head, present)
    return bytes(head + body)


def unpacked(data: bytes) -> Counters:
    """The counters of ``packed``. Raises ``ValueError`` for anything else."""
    present, at = get_varint(data, 0)
    counters = [0] * WIDTH
    for place in _places(present):
        count = data[at] if at < len(data) else 0x80
        if count < 0x80:
            at += 1
        else:
            count, at = get_varint(data, at)
        counters[place] = count
    if at != len(data):
        raise ValueError("a cell is longer than its counters")
    return tuple(counters)


@lru_cache(maxsize=4096)
def _places(present: int) -> tuple[int, ...]:
    """Which counters of a cell are there: few of the many that there could be ever occur."""
    if present >> WIDTH:
        raise ValueError("a cell has counters that this version does not know")
    return tuple(place for place in range(present.bit_length()) if present >> place & 1)


def put_varint(into: bytearray, number: int) -> None:
    while number > 0x7F:
        into.append(number & 0x7F | 0x80)
        number >>= 7
    into.append(number)


def get_varint(data: bytes, at: int) -> tuple[int, int]:
    """The number at ``at`` and the place behind it. Raises ``ValueError`` when the data ends first."""
    number = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7
    raise ValueError("a number is cut off")
