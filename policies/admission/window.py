"""The window kind: never more than N units in any interval of length W, with constant state.

Theory. The state is a log of entries. An entry holds up to k = ceil(N/128) units, the *grain*, and has one
time: that of its last unit. It leaves the window W after that time, so its older units stay a little too long
and never too short: no interval of length W ever holds more than N (I1). Only the newest entry grows; every
other entry is full. Hence the log needs no unit counts but the newest one's, at most 129 entries, and at most
k - 1 units are kept too long: nothing is refused while fewer than N - k + 1 units lie in the last W (I2).

The state is packed, immutable bytes: a refusal cannot change it, a shared store can keep it as one string
field, and a live tenant costs a few hundred bytes.

    offset 0   int64   base   microseconds, the time that entry offsets count from
    offset 8   uint64  grain  units in every entry but the newest
    offset 16  uint64  newest units in the newest entry
    offset 24  uint32 (uint64 for W over an hour) each: entry time - base, ascending

An empty log is no bytes at all.

A policy edit may change N and with it k; ``_regrained`` carries every unit over.
"""

from __future__ import annotations

from struct import Struct

from policies.admission.decision import Reading, State, Taken
from policies.model import Window

ENTRIES = 128
SECOND_US = 1_000_000
HEAD = Struct("<qQQ")
START = HEAD.size
SHORT = Struct("<I")
LONG = Struct("<Q")
SHORT_HEAD = Struct("<qQQI")
LONG_HEAD = Struct("<qQQQ")
"""The head with the oldest entry: a state always has one."""
SHORT_WINDOW_US = 3_600_000_000
"""Windows up to an hour use four bytes an entry: 2**32 microseconds are 71 minutes."""


class WindowCharge:
    """``cost`` units of a window. See ``decision.Charge`` for the contract of the methods."""

    __slots__ = ("amount", "cost", "entry", "grain", "head", "key", "limit", "period_us", "q", "reach_us", "width")

    def __init__(self, limit: Window, key: str, cost: int) -> None:
        self.limit = limit
        self.key = key
        self.cost = cost
        self.q = self.amount = limit.amount
        self.period_us = limit.period_us
        self.grain = -(-limit.amount // ENTRIES)
        self.head = SHORT_HEAD if limit.period_us <= SHORT_WINDOW_US else LONG_HEAD
        self.entry = SHORT if limit.period_us <= SHORT_WINDOW_US else LONG
        self.width = self.entry.size
        self.reach_us = 1 << (8 * self.width)

    def take(self, state: State | None, now_us: int, wall_us: int) -> Taken | None:
        if not state:
            return self._first(now_us)
        width = self.width
        base, grain, newest, oldest = self.head.unpack_from(state)  # type: ignore[arg-type]
        start, end = START, len(state)  # type: ignore[arg-type]
        if base + oldest + self.period_us <= now_us:
            start = self._live_from(state, now_us - self.period_us - base)  # type: ignore[arg-type]
            if start == end:
                return self._first(now_us)
            oldest = self.entry.unpack_from(state, start)[0]  # type: ignore[arg-type]
        cost = self.cost
        left = self.amount - (end - start - width) // width * grain - newest - cost
        if left < 0:
            return None
        offset = now_us - base
        if grain != self.grain or offset >= self.reach_us or not cost:
            return self._take_after_edit(state, start, now_us, left)  # type: ignore[arg-type]
        if newest + cost <= grain:
            newest += cost
            body = state[start : end - width] + self.entry.pack(offset)  # type: ignore[index]
            if end - start == width:
                oldest = offset
        elif newest == grain and cost <= grain:
            newest = cost
            body = state[start:] + self.entry.pack(offset)  # type: ignore[index]
        else:
            body, newest = self._grown(state[start:], newest, offset)  # type: ignore[index]
        return HEAD.pack(base, grain, newest) + body, left, -((offset - oldest - self.period_us) // SECOND_US)

    def read(self, state: State | None, now_us: int, wall_us: int) -> tuple[Reading, int]:
        base, grain, used, start = self._usage(state, now_us)
        if not used:  # a cost above the amount never fits: callers are told so before they get here
            empty = (state, self.amount, -(-self.period_us // SECOND_US))
            return empty, self.period_us if self.cost > self.amount else 0
        since_us = now_us - base - self.period_us
        time_at = self.entry.unpack_from
        oldest = time_at(state, start)[0]  # type: ignore[arg-type]
        reading = (state, max(0, self.amount - used), -((since_us - oldest) // SECOND_US))
        over = used + self.cost - self.amount
        if over <= 0:
            return reading, 0
        last = start + (min(over, used) - 1) // grain * self.width
        return reading, time_at(state, last)[0] - since_us  # type: ignore[arg-type]

    def _first(self, now_us: int) -> Taken | None:
        """The reading of a charge on an empty log."""
        if self.cost > self.amount:
            return None
        seconds = -(-self.period_us // SECOND_US)
        if not self.cost:
            return b"", self.amount, seconds
        body, newest = self._grown(b"", self.grain, 0)
        return HEAD.pack(now_us, self.grain, newest) + body, self.amount - self.cost, seconds

    def _take_after_edit(self, state: bytes, start: int, now_us: int, left: int) -> Taken:
        """The rare cases of a charge that fits: the grain was edited, the base is far behind, the cost is 0."""
        base, grain, newest = HEAD.unpack_from(state)
        body = state[start:]
        if grain != self.grain:
            body, newest = self._regrained(body, grain, newest)
        if now_us - base >= self.reach_us:
            base, body = self._rebased(base, body)
        if self.cost:
            body, newest = self._grown(body, newest, now_us - base)
        oldest = self.entry.unpack_from(body)[0]
        packed = HEAD.pack(base, self.grain, newest) + body
        return packed, left, -((now_us - base - oldest - self.period_us) // SECOND_US)

    def _live_from(self, state: bytes, edge: int) -> int:
        """Byte position of the first entry that is still in the window: later than ``edge`` past the base."""
        at, end, width, time_at = START, len(state), self.width, self.entry.unpack_from
        while at < end and time_at(state, at)[0] <= edge:
            at += width
        return at

    def _usage(self, state: State | None, now_us: int) -> tuple[int, int, int, int]:
        """``(base, grain, units in the window, position of the oldest live entry)``."""
        if not state:
            return now_us, self.grain, 0, START
        base, grain, newest = HEAD.unpack_from(state)  # type: ignore[arg-type]
        start = self._live_from(state, now_us - self.period_us - base)  # type: ignore[arg-type]
        live = (len(state) - start) // self.width  # type: ignore[arg-type]
        return base, grain, (live - 1) * grain + newest if live else 0, start

    def _grown(self, body: bytes, newest: int, offset: int) -> tuple[bytes, int]:
        """``body`` with ``cost`` more units at ``offset``: the newest entry is filled first."""
        now, cost, room = self.entry.pack(offset), self.cost, self.grain - newest
        if room:
            body = body[: -self.width] + now
            if cost <= room:
                return body, newest + cost
            cost -= room
        if cost <= self.grain:
            return body + now, cost
        added = -(-cost // self.grain)
        return body + now * added, cost - (added - 1) * self.grain

    def _rebased(self, base: int, body: bytes) -> tuple[int, bytes]:
        """The same entries counted from the oldest one."""
        times = self._times(body)
        return base + times[0], b"".join(self.entry.pack(time - times[0]) for time in times)

    def _regrained(self, body: bytes, grain: int, newest: int) -> tuple[bytes, int]:
        """The same units in entries of this limit's grain, each with the time of its last unit.

        Called only when the units fit the new amount, so that the log stays within its bound.
        """
        entries = [(time, grain) for time in self._times(body)]
        entries[-1] = (entries[-1][0], newest)
        packed: list[bytes] = []
        filled = self.grain
        for time, units in entries:
            while units:
                if filled == self.grain:
                    packed.append(b"")
                    filled = 0
                moved = min(units, self.grain - filled)
                packed[-1] = self.entry.pack(time)
                filled += moved
                units -= moved
        return b"".join(packed), filled

    def _times(self, body: bytes) -> list[int]:
        return [time for (time,) in self.entry.iter_unpack(body)]


def is_idle(state: bytes, period_us: int, now_us: int) -> bool:
    """Whether every unit has left the window, so that the state may be forgotten."""
    if not state:
        return True
    base = HEAD.unpack_from(state)[0]
    entry = SHORT if period_us <= SHORT_WINDOW_US else LONG
    newest = entry.unpack_from(state, len(state) - entry.size)[0]
    return bool(base + newest + period_us <= now_us)
