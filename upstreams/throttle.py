"""Any upstream's throttling signal -> ``Throttle``. Pure: an answer and a profile in, a value out.

Whether it is a throttle and of what kind (N1), which of the limits it reports is the one that counts (N9), how long
to wait (N8). Where values stand is ``upstreams.answer``'s affair, how they are written ``upstreams.amounts``'; what a
caller is told is ``policies.announcement``'s. Sources: spec throttling.md §2, RULINGS 11-14.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache
from math import ceil
from typing import Final

from policies.throttling import (
    GENERIC,
    MAX_WAIT_S,
    THROTTLED,
    Condition,
    Family,
    Kind,
    Profile,
    Reading,
    Restore,
    Rule,
    Source,
    Throttle,
    UpstreamLimit,
)
from upstreams.amounts import Received, count
from upstreams.answer import Answer, Holds, holds, values_of
from upstreams.counters import Counts, Read, compiled, times
from upstreams.generic_limits import NAMES, agreed, generic_members, structured_members
from upstreams.names import KnownNames
from upstreams.transport import Headers, endless

AMBIGUOUS: Final = (
    b"ratelimit", b"rate-limit", b"x-ratelimit", b"x-rate-limit", b"retry-after", b"x-retry-", b"retryafter",
)  # fmt: skip
"""Beginnings of names that mean different things for different providers (spec throttling.md §4, E2)."""
REPLACED: Final = (b"ratelimit", b"rate-limit", b"retry-after", b"x-retry-", b"retryafter")
"""Those that no caller may take for ours, whoever reads them."""
WAITS: Final = ("retry-after", "retry-after-ms", "x-ratelimit-retry-after", "x-retry-after", "retryafter")
"""Spellings of a wait that everybody uses, best first."""
_ALWAYS_READ: Final = frozenset((*NAMES, *(name.encode("ascii") for name in WAITS)))
_READ_ALONG: Final = frozenset((b"date", b"age"))
"""Fields that matter only beside others."""
_GENERAL: Final = tuple(
    Reading(source=Source(headers=(name,)), unit="delta-milliseconds" if name.endswith("-ms") else "auto")
    for name in WAITS
)
_BY_STATUS: Final[dict[int, Kind]] = {429: "quota", 503: "overload", 529: "overload"}
PRECISION: Final = 1_000_000_000_000
"""Shares are compared in so many parts."""
_NUMBER = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
NOTHING: Final = Throttle(throttled=False, kind="none")
Wait = Callable[[Answer], int | None]


def normalise(status: int, headers: Headers, body: bytes | None, profile: Profile, now_us: int) -> Throttle:
    """What an upstream's answer says about its limits.

    ``headers`` have lower-case names; ``body`` is the decoded content, or as much as may be looked at, None for
    none; ``now_us`` is the receiver's wall clock in Unix microseconds. Never raises for anything received.
    """
    return reader_of(profile).read(status, headers, body, now_us)


@lru_cache(maxsize=1024)
def reader_of(profile: Profile) -> Reader:
    """The compiled ``profile``; made once."""
    return Reader(profile)


class Reader:
    """A profile, compiled. ``ordinary`` are names that it was found to have no interest in."""

    def __init__(self, profile: Profile = GENERIC) -> None:
        self.profile = profile
        self.ordinary = KnownNames()
        sources = [*_sources(profile)]
        named = {name.encode("ascii") for source in sources for name in source.headers} | _structured_names(profile)
        self._names = _ALWAYS_READ | {name for name in named if b"*" not in name}
        self._read_along = self._names | _READ_ALONG
        self._stars = tuple(name.split(b"*") for name in named if b"*" in name)
        self._replaces = frozenset(name.encode("ascii") for name in profile.replaces if "*" not in name)
        self._rules: dict[int, list[tuple[int, Rule, tuple[Holds, ...]]]] = {}
        for index, rule in enumerate(profile.when):
            for status in rule.statuses:
                conditions = tuple(holds(condition) for condition in rule.conditions)
                self._rules.setdefault(status, []).append((index, rule, conditions))
        self._families: tuple[Read, ...] = tuple(compiled(family) for family in profile.families)
        self._windows = {each.name: each.window for each in profile.families if isinstance(each.window, int)}
        self._stated, self._hints = _waits(profile)
        self._default = _default(profile)

    def means_something(self, name: bytes) -> bool:
        """Whether ``read`` looks at this field, or it must not pass as it is."""
        return name in self._names or name.startswith(AMBIGUOUS) or name in self._replaces or self._starred(name)

    def passes(self, name: bytes, *, native: bool) -> bool:
        """Whether an upstream's field may reach the caller as it came (E2); ``native``: for the vendor's own SDK."""
        return not name.startswith(REPLACED if native else AMBIGUOUS) and name not in self._replaces

    def inspects(self, status: int, headers: Headers) -> bool:
        """Whether the profile asks for the body of such an answer (RULINGS 12), which must be one that ends."""
        asked = self.profile.inspect
        if status not in asked.statuses or endless(headers):
            return False
        kind = next((value.lower() for name, value in headers if name == b"content-type"), b"")
        return any(wanted.encode("ascii") in kind for wanted in asked.content_types)

    def read(self, status: int, headers: Headers, body: bytes | None, now_us: int) -> Throttle:
        """``normalise`` by this profile."""
        fields = self._fields(headers)
        date, age = fields.pop(b"date", None), fields.pop(b"age", None)
        if not fields and not body and status not in self._rules and status not in _BY_STATUS:
            return NOTHING
        answer = Answer(status, fields, body, Received(now_us, date[0].decode("latin-1") if date else None))
        rule = self._rule(answer)
        kind = rule[1].kind if rule is not None else _BY_STATUS.get(status, "none")
        members = [] if age is not None and _positive(age[0]) else self._members(answer)
        named = rule[1].limit if rule is not None else None
        if named is not None and not any(_is_named(member, named) for member in members):
            members.append(UpstreamLimit(name=named, w=self._windows.get(named)))
        selected = select(members, named)
        return self._concluded(answer, kind, rule, selected, tuple(members))

    def _fields(self, headers: Headers) -> dict[bytes, list[bytes]]:
        """The lines that matter here, by name."""
        fields: dict[bytes, list[bytes]] = {}
        wanted, starred = self._read_along, bool(self._stars)
        for name, value in headers:
            if name in wanted or (starred and self._starred(name)):
                if name in fields:
                    fields[name].append(value)
                else:
                    fields[name] = [value]
        return fields

    def _rule(self, answer: Answer) -> tuple[int, Rule] | None:
        for index, rule, conditions in self._rules.get(answer.status, ()):
            for condition in conditions:
                if not condition(answer):
                    break
            else:
                return index, rule
        return None

    def _members(self, answer: Answer) -> list[UpstreamLimit]:
        """Every limit that is reported."""
        members = structured_members(answer)
        structured = len(members)
        if not self._families:
            members += generic_members(answer, paired=any(member.r is not None for member in members))
        for family in self._families:
            members += family(answer)
        return agreed(members, structured=structured, distinct=bool(self._families)) if len(members) > 1 else members

    def _concluded(
        self,
        answer: Answer,
        kind: Kind,
        ruled: tuple[int, Rule] | None,
        selected: UpstreamLimit | None,
        members: tuple[UpstreamLimit, ...],
    ) -> Throttle:
        throttled = kind in THROTTLED
        rule = ruled[1] if ruled is not None else None
        wait, waited_by = self._wait(answer, rule, selected, throttled)
        vouched = rule.nothing_executed if rule is not None else None
        default = rule.default_wait_s if rule is not None else None
        if throttled and default is None and self._default is not None:
            default = self._default(answer)
        return Throttle(
            throttled=throttled,
            kind=kind,
            selected=selected,
            members=members,
            retry_after_seconds=wait,
            nothing_executed=throttled and (answer.status == 429 if vouched is None else vouched),
            rule=ruled[0] if ruled is not None else None,
            waited_by=waited_by,
            default_wait_s=default,
        )

    def _wait(
        self, answer: Answer, rule: Rule | None, selected: UpstreamLimit | None, throttled: bool
    ) -> tuple[int | None, str]:
        """How long to wait and who says so, the first that does (N8)."""
        for field, name, stated in self._stated:
            if field in answer.fields or b"*" in field:
                wait = stated(answer)
                if wait is not None:
                    return wait, name
        if not throttled:
            return None, ""
        for name, hinted in self._hints:
            wait = hinted(answer)
            if wait is not None:
                return wait, name
        if selected is not None and not selected.r and selected.t is not None:
            return max(1, selected.t), f"reset of {selected.name}"  # a derived wait is at least 1 (N7)
        if rule is not None and rule.wait_s is not None:
            return rule.wait_s, "the documentation"
        return None, ""

    def _starred(self, name: bytes) -> bool:
        for before, after in self._stars:
            if name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after):
                return True
        return False


def select(members: Sequence[UpstreamLimit], named: str | None) -> UpstreamLimit | None:
    """The limit that counts (N9): named by the answer, then exhausted, then the tightest share, count and window."""
    if len(members) < 2:
        return members[0] if members else None
    if named is not None:
        exact = [member for member in members if member.name == named]
        members = exact or [member for member in members if _is_named(member, named)] or members
    exhausted = [member for member in members if member.r == 0]
    if exhausted:
        return max(exhausted, key=lambda member: -1 if member.t is None else member.t)
    return min(members, key=_tightness)


def _tightness(member: UpstreamLimit) -> tuple[int, int, int, int]:
    """By share, where one is known; then by count, then by window; unknown counts last."""
    q, r = member.q, member.r
    window = member.w if member.w is not None else 1 << 62
    if r is None:
        return (2 if q is not None else 3, 0, 0, window)
    return (0, r * PRECISION // q, r, window) if q else (1, 0, r, window)


def _positive(age: bytes) -> bool:
    """Whether a cache has kept this answer: then it says nothing about now (N12, RL-C7)."""
    return (count(age.decode("latin-1")) or 0) > 0


def _is_named(member: UpstreamLimit, name: str) -> bool:
    return member.name == name or member.name.startswith(name + "-")


def _sources(profile: Profile) -> list[Source]:
    """Every source of ``profile``."""
    found = [condition.source for condition in _conditions(profile)]
    readings: list[object] = [profile.default_wait, *profile.retry_after]
    for family in profile.families:
        readings += _readings(family)
    for reading in readings:
        if isinstance(reading, Reading):
            found.append(reading.source)
        elif isinstance(reading, Restore):
            found += (reading.requested, reading.available, reading.rate)
    return found


def _conditions(profile: Profile) -> list[Condition]:
    ruled = [condition for rule in profile.when for condition in rule.conditions]
    return ruled + [condition for family in profile.families for condition in family.only]


def _readings(family: Family) -> tuple[object, ...]:
    return (family.limit, family.remaining, family.used, family.percent_used, family.reset, family.window)


def _structured_names(profile: Profile) -> set[bytes]:
    return {name.encode("ascii") for family in profile.families for name in family.structured or ()}


Stated = list[tuple[bytes, str, Wait]]
Hints = list[tuple[str, Wait]]


def _waits(profile: Profile) -> tuple[Stated, Hints]:
    """What fields say, and what a throttle's body says. A profile's own spelling of a name replaces the general one."""
    own: Stated = []
    hints: Hints = []
    for each in profile.retry_after:
        if isinstance(each, Restore):
            hints.append(("restore", _restored(each)))
        elif each.source.headers:
            own += _stated(each)
        else:
            hints.append(("body", _longest(times(each))))
    spelt = {name for _, name, _ in own}
    general = [pair for reading in _GENERAL for pair in _stated(reading) if pair[1] not in spelt]
    first = [pair for pair in general if pair[1] == WAITS[0]]
    return [*first, *own, *(pair for pair in general if pair[1] != WAITS[0])], hints


def _stated(reading: Reading) -> Stated:
    """A wait in fields: one entry for each of their names."""
    source = reading.source
    alone = ((name, replace(reading, source=replace(source, headers=(name,)))) for name in source.headers)
    return [(name.encode("ascii"), name, _longest(times(each))) for name, each in alone]


def _longest(read: Counts) -> Wait:
    def longest(answer: Answer) -> int | None:
        found = read(answer, b"*")
        return max(found) if found else None

    return longest


def _restored(restore: Restore) -> Wait:
    """``(requested - available) / rate`` seconds, rounded up (the named derivation ``restore``)."""
    sources = [values_of(each) for each in (restore.requested, restore.available, restore.rate)]

    def wait(answer: Answer) -> int | None:
        texts = [(*values(answer, b"*"), "")[0] for values in sources]
        if not all(_NUMBER.fullmatch(text) for text in texts):
            return None
        requested, available, rate = (Fraction(text) for text in texts)
        if not rate:
            return None
        needed = max(1, ceil((requested - available) / rate))
        return needed if needed <= MAX_WAIT_S else None

    return wait


def _default(profile: Profile) -> Wait | None:
    fixed = profile.default_wait
    if fixed is None:
        return None
    if isinstance(fixed, int):
        return lambda answer: fixed
    return _longest(times(fixed))
