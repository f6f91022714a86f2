"""A finalised UTC day of one tenant in a few kilobytes, cell by cell as it was (spec D7).

Sequences and boots are kept, so that a cell that comes once more, later, still replaces its own and adds to the others.
Columns, because a counter changes little from one minute to the next; then zlib. Knows no table.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Final, NamedTuple

from gateway.ledger.cells import WIDTH, Counters, get_varint, put_varint

DAY_S: Final = 86_400
_FORMAT: Final = 1
_WIDTHS: Final = "BHIQ"
"""Unsigned, of 1, 2, 4 and 8 bytes, as ``struct`` names them."""


class Entry(NamedTuple):
    """A cell under the store's numbers for its route group, replica and boot."""

    slot_s: int
    route_group: int
    replica: int
    boot: int
    seq: int
    counters: Counters

    @property
    def key(self) -> tuple[int, int, int, int]:
        return self[:4]


_series = attrgetter("route_group", "replica", "boot")


def newest(entries: Iterable[Entry]) -> Mapping[tuple[int, int, int, int], Entry]:
    """The highest sequence of each key (D1)."""
    best: dict[tuple[int, int, int, int], Entry] = {}
    for entry in entries:
        key = entry[:4]
        known = best.get(key)
        if known is None or entry.seq > known.seq:
            best[key] = entry
    return best


def packed(entries: Iterable[Entry], day_s: int) -> bytes:
    """One entry a key. Raises ``ValueError`` for a slot outside the day or off the minute."""
    body = bytearray()
    ordered = sorted(entries, key=lambda entry: (_series(entry), entry.slot_s))
    for series, cells in groupby(ordered, key=_series):
        _put_series(body, series, list(cells), day_s)
    return bytes([_FORMAT]) + zlib.compress(bytes(body), 9)


def unpacked(data: bytes, day_s: int) -> Iterator[Entry]:
    """The entries of ``packed``, series by series. Raises ``ValueError`` for anything else."""
    if data[:1] != bytes([_FORMAT]):
        raise ValueError("a packed day has a form that this version does not know")
    try:
        body = zlib.decompress(data[1:])
    except zlib.error as error:
        raise ValueError(f"a packed day is damaged: {error}") from error
    at = 0
    while at < len(body):
        entries, at = _get_series(body, at, day_s)
        yield from entries


def _put_series(body: bytearray, series: tuple[int, int, int], cells: list[Entry], day_s: int) -> None:
    columns = list(zip(*(cell.counters for cell in cells), strict=True))
    present = sum(1 << place for place, column in enumerate(columns) if any(column))
    for number in (*series, len(cells), present):
        put_varint(body, number)
    minutes = [_minute(cell.slot_s, day_s) for cell in cells]
    _put_column(body, [one - before - 1 for before, one in pairwise((-1, *minutes))])
    _put_column(body, [_zigzag(one - before) for before, one in pairwise((0, *(cell.seq for cell in cells)))])
    for place, column in enumerate(columns):
        if present >> place & 1:
            _put_column(body, column)


def _get_series(body: bytes, at: int, day_s: int) -> tuple[list[Entry], int]:
    head = []
    for _ in range(5):
        number, at = get_varint(body, at)
        head.append(number)
    route_group, replica, boot, size, present = head
    gaps, at = _get_column(body, at, size)
    steps, at = _get_column(body, at, size)
    columns: list[Sequence[int]] = []
    for place in range(WIDTH):
        column, at = _get_column(body, at, size) if present >> place & 1 else ((0,) * size, at)
        columns.append(column)
    entries = []
    slot_s, seq = day_s - 60, 0
    for gap, step, counters in zip(gaps, steps, zip(*columns, strict=True), strict=True):
        slot_s, seq = slot_s + 60 * (gap + 1), seq + _unzigzag(step)
        entries.append(Entry(slot_s, route_group, replica, boot, seq, counters))
    return entries, at


def _put_column(body: bytearray, numbers: Sequence[int]) -> None:
    """All in as many bytes as the largest needs: read back at once, and zlib makes little of the zeros."""
    code = next(code for code in _WIDTHS if max(numbers) < 1 << 8 * struct.calcsize(code))
    body += code.encode() + struct.pack(f"<{len(numbers)}{code}", *numbers)


def _get_column(body: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    try:
        form = struct.Struct(f"<{count}{_WIDTHS[_WIDTHS.index(chr(body[at]))]}")
        return form.unpack_from(body, at + 1), at + 1 + form.size
    except (IndexError, ValueError, struct.error) as error:
        raise ValueError("a packed day is damaged: a column is cut off") from error


def _minute(slot_s: int, day_s: int) -> int:
    minute, rest = divmod(slot_s - day_s, 60)
    if rest or not 0 <= minute < DAY_S // 60:
        raise ValueError(f"{slot_s} is no minute of the day {day_s}")
    return minute


def _zigzag(number: int) -> int:
    return number * 2 if number >= 0 else -number * 2 - 1


def _unzigzag(number: int) -> int:
    return -(number + 1 >> 1) if number & 1 else number >> 1
