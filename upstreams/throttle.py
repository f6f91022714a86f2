"""Any upstream's throttling signal -> ``Throttle``. Pure: an answer and a profile in, a value out.

Whether it is a throttle and of what kind (N1), and which of the limits it reports is the one that counts (N9). How
long to wait is ``upstreams.waits``' affair, where values stand ``upstreams.answer``'s, how they are written
``upstreams.amounts``'; what a caller is told is ``policies.announcement``'s. Sources: spec throttling.md §2,
RULINGS 11-14.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Final

from policies.throttling import GENERIC, THROTTLED, Kind, Profile, Rule, Throttle, UpstreamLimit
from upstreams.amounts import Received, count
from upstreams.answer import Answer, Holds, holds
from upstreams.counters import Read, compiled
from upstreams.generic_limits import NAMES, agreed, generic_members, structured_members
from upstreams.names import KnownNames
from upstreams.transport import Headers, endless
from upstreams.waits import SPELLINGS, Waits

REPLACED: Final = (b"ratelimit", b"rate-limit", b"retry-after", b"x-retry-", b"retryafter")
"""Beginnings of names that no caller may take for ours, whoever reads them."""
AMBIGUOUS: Final = (*REPLACED, b"x-ratelimit", b"x-rate-limit")
"""Those that mean different things for different providers (spec throttling.md §4, E2)."""
_ALWAYS_READ: Final = frozenset((*NAMES, *(name.encode("ascii") for name in SPELLINGS)))
_READ_ALONG: Final = frozenset((b"date", b"age"))
"""Fields that matter only beside others."""
_BY_STATUS: Final[dict[int, Kind]] = {429: "quota", 503: "overload", 529: "overload"}
PRECISION: Final = 1_000_000_000_000
"""Shares are compared in so many parts."""
NOTHING: Final = Throttle(throttled=False, kind="none")


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
        pairs = (family.structured or () for family in profile.families)
        names = chain(*(source.headers for source in profile.sources), *pairs)
        named = {name.encode("ascii") for name in names}
        self._names = _ALWAYS_READ | {name for name in named if b"*" not in name}
        self._read_along = self._names | _READ_ALONG
        self._stars = tuple(name.split(b"*") for name in named if b"*" in name)
        self._replaces = frozenset(name.encode("ascii") for name in profile.replaces if "*" not in name)
        self._content_types = tuple(each.encode("ascii") for each in profile.inspect.content_types)
        self._rules: dict[int, list[tuple[int, Rule, tuple[Holds, ...]]]] = {}
        for index, rule in enumerate(profile.when):
            for status in rule.statuses:
                conditions = tuple(holds(condition) for condition in rule.conditions)
                self._rules.setdefault(status, []).append((index, rule, conditions))
        self._families: tuple[Read, ...] = tuple(compiled(family) for family in profile.families)
        self._windows = {each.name: each.window for each in profile.families if isinstance(each.window, int)}
        self._waits = Waits(profile)

    def means_something(self, name: bytes) -> bool:
        """Whether ``read`` looks at this field, or it must not pass as it is."""
        return name in self._names or name.startswith(AMBIGUOUS) or name in self._replaces or self._starred(name)

    def passes(self, name: bytes, *, native: bool) -> bool:
        """Whether an upstream's field may reach the caller as it came (E2); ``native``: for the vendor's own SDK."""
        return not name.startswith(REPLACED if native else AMBIGUOUS) and name not in self._replaces

    def inspects(self, status: int, headers: Headers) -> bool:
        """Whether the profile asks for the body of such an answer (RULINGS 12), which must be one that ends."""
        if status not in self.profile.inspect.statuses or endless(headers):
            return False
        kind = next((value.lower() for name, value in headers if name == b"content-type"), b"")
        return any(wanted in kind for wanted in self._content_types)

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
        wait, waited_by = self._waits.stated(answer)
        if throttled and wait is None:
            wait, waited_by = self._waits.hinted(answer, rule, selected)
        vouched = rule.nothing_executed if rule is not None else None
        return Throttle(
            throttled=throttled,
            kind=kind,
            selected=selected,
            members=members,
            retry_after_seconds=wait,
            nothing_executed=throttled and (answer.status == 429 if vouched is None else vouched),
            rule=ruled[0] if ruled is not None else None,
            waited_by=waited_by,
            default_wait_s=self._waits.default(answer, rule) if throttled else None,
        )

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
