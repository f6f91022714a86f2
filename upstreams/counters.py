"""The limits that one answer reports: raw values -> ``UpstreamLimit``, by a profile's families (N10-N12).

``compiled`` makes a reader of one family; ``upstreams.generic_limits`` knows the names that everybody uses. Neither
says which limit is the one that counts, nor whether the answer is a throttle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from policies.throttling import ONLY, Family, Reading, Unit, UpstreamLimit, slug
from upstreams.amounts import Received, count, percent, seconds
from upstreams.answer import Answer, holds, star_of, values_of
from upstreams.ratelimit_fields import current, policies, quota_units, split

MOST_MEMBERS: Final = 16
"""Of one family with a ``*``; whoever sends more names is not reporting limits."""
Read = Callable[[Answer], list[UpstreamLimit]]
Counts = Callable[[Answer, bytes], list[int]]


def compiled(family: Family) -> Read:
    """A function that reads ``family`` from an answer: no member, one, or several (duplicates, a ``*``)."""
    if family.structured is not None:
        return _structured(family.name, *family.structured)
    read = _Counters(family)
    return read.starred if read.stars else read.plain


class _Counters:
    """One family's readings, compiled."""

    def __init__(self, family: Family) -> None:
        self._name = family.name
        self._only = tuple(holds(condition) for condition in family.only)
        self._limit = _counts(family.limit, count)
        self._remaining = _counts(family.remaining, count)
        self._used = _counts(family.used, count)
        self._percent = _counts(family.percent_used, percent)
        self._reset = times(family.reset) if family.reset is not None else None
        self._window = family.window if isinstance(family.window, int) else None
        self._read_window = times(family.window) if isinstance(family.window, Reading) else None
        named = (name for reading in family.readings for name in reading.source.headers)
        self.stars = tuple(name.encode("ascii") for name in named if "*" in name)

    def plain(self, answer: Answer) -> list[UpstreamLimit]:
        return self._read(answer, b"", self._name)

    def starred(self, answer: Answer) -> list[UpstreamLimit]:
        texts: dict[bytes, None] = {}
        for field in answer.fields:
            for star in self.stars:
                text = star_of(star, field)
                if text is not None:
                    texts[text] = None
        found = []
        for text in (*texts,)[:MOST_MEMBERS]:
            found += self._read(answer, text, f"{self._name}-{slug(text.decode('latin-1'))}".strip("-"))
        return found

    def _read(self, answer: Answer, star: bytes, name: str) -> list[UpstreamLimit]:
        for condition in self._only:
            if not condition(answer):
                return []
        limits = self._limit(answer, star) if self._limit else []
        if limits and min(limits) < 0:  # N11: a sentinel says that there is no such limit
            return []
        remaining = self._remaining(answer, star) if self._remaining else []
        used = self._used(answer, star) if self._used else []
        if self._percent and (shares := self._percent(answer, star)):
            limits, remaining = [100], [100 - max(shares)]
        resets = self._reset(answer, star) if self._reset else []
        windows = self._read_window(answer, star) if self._read_window else []
        if not (limits or remaining or used or resets or windows):
            return []
        window = self._window or (max(windows) if windows else None) or None
        return combined(name, limits, remaining, used, resets, window)


def combined(
    name: str,
    limits: Sequence[int],
    remaining: Sequence[int],
    used: Sequence[int],
    resets: Sequence[int],
    window: int | None,
    *,
    genuine: bool = False,
) -> list[UpstreamLimit]:
    """Values of one family as members: paired by index where each kind has as many, else the tightest of each (N12)."""
    if len(limits) < 2 and len(remaining) < 2 and len(used) < 2 and len(resets) < 2:
        q, r = limits[0] if limits else None, remaining[0] if remaining else None
        u, t = used[0] if used else None, resets[0] if resets else None
        return _member(name, q, r, u, t, window, genuine)
    lengths = {len(values) for values in (limits, remaining, used, resets) if values}
    if len(lengths) == 1:
        size = lengths.pop()
        columns: list[Sequence[int | None]] = [values or (None,) * size for values in (limits, remaining, used, resets)]
        return [m for q, r, u, t in zip(*columns, strict=True) for m in _member(name, q, r, u, t, window, genuine)]
    tightest = (
        min(limits, default=None), min(remaining, default=None), max(used, default=None), max(resets, default=None)
    )  # fmt: skip
    return _member(name, *tightest, window, genuine)


def _member(
    name: str, q: int | None, r: int | None, used: int | None, t: int | None, window: int | None, genuine: bool
) -> list[UpstreamLimit]:
    """One limit with what follows from the rest: remaining from used, limit from both (N10, N11)."""
    if used is not None and used >= 0:
        if r is None and q is not None:
            r = q - used
        elif q is None and r is not None and r >= 0:
            q = r + used
    if r is not None and r < 0:
        r = 0 if q is not None else None
    return [UpstreamLimit(name=name, q=q, w=window, r=r, t=t, genuine_ietf=genuine)]


def _counts(reading: Reading | None, parse: Callable[[str], int | None]) -> Counts | None:
    if reading is None:
        return None
    values = values_of(reading.source)

    def counts(answer: Answer, star: bytes) -> list[int]:
        return counted(values(answer, star), parse)

    return counts


def counted(texts: Sequence[str], parse: Callable[[str], int | None] = count) -> list[int]:
    """The counts in ``texts``, comma-joined ones taken apart; what is none is left out (N2)."""
    found: list[int] = []
    for text in texts:
        for part in split(text) if "," in text else (text,):
            number = parse(part)
            if number is not None:
                found.append(number)
    return found


def times(reading: Reading) -> Counts:
    """A function that gives the times of ``reading`` in whole seconds from now."""
    values, unit = values_of(reading.source), reading.unit
    return lambda answer, star: timed(values(answer, star), unit, answer.received)


def timed(texts: Sequence[str], unit: Unit, received: Received) -> list[int]:
    """The times in ``texts``. A date holds a comma of its own, hence each text is tried as a whole first."""
    found: list[int] = []
    for text in texts:
        whole = seconds(text, unit, received)
        if whole is not None:
            found.append(whole)
        elif "," in text:
            parts = (seconds(part, unit, received) for part in split(text))
            found += [part for part in parts if part is not None]
    return found


def _structured(name: str, policy_field: str, current_field: str) -> Read:
    names = policy_field.encode("ascii"), current_field.encode("ascii")
    return lambda answer: structured(answer, *names, prefix=name + "-", genuine=False)


def structured(
    answer: Answer, policy_field: bytes, current_field: bytes, *, prefix: str = "", genuine: bool = True
) -> list[UpstreamLimit]:
    """The members of a pair of fields as drafts -08 to -11 spell them; those of the policy alone included.

    A malformed field counts as absent as a whole (RFC 9651 4.2); the other one stays.
    """
    granted = joined(answer.fields.get(policy_field))
    known = policies(granted) or {}
    units = quota_units(granted) if known and "qu" in granted else {}
    state = current(joined(answer.fields.get(current_field))) or []
    made: list[UpstreamLimit] = []
    for name, r, t in state:
        q, w = known.pop(name, (None, None))
        unit = units.get(name)
        made.append(UpstreamLimit(name=_named(prefix, name), q=q, w=w, r=r, t=t, qu=unit, genuine_ietf=genuine))
    for name, (q, w) in known.items():
        made.append(UpstreamLimit(name=_named(prefix, name), q=q, w=w, qu=units.get(name), genuine_ietf=genuine))
    if len(made) > MOST_MEMBERS:  # those that have the least left are what a caller must know
        made = sorted(made, key=lambda member: (member.r is None, member.r or 0))[:MOST_MEMBERS]
    return made


def _named(prefix: str, name: str) -> str:
    return prefix + (slug(name) or ONLY)


def joined(lines: list[bytes] | None) -> str:
    """Several lines of a list field as one (RFC 9110 5.3)."""
    return b", ".join(lines).decode("latin-1") if lines else ""
