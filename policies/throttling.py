"""What an upstream's throttling signal says (``Throttle``), and how one is recognised (``Profile``): values alone.

``upstreams.throttle`` reads answers by a profile, ``policies.format.profiles`` makes profiles from their files,
``policies.announcement`` says what a caller is told. Nothing here reads, parses or decides. Sources: spec
throttling.md, RULINGS 11-14. Regular expressions are texts in RE2 syntax, which cannot backtrack.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["quota", "concurrency", "billing", "lock", "overload", "none"]
"""``overload`` is the upstream's own trouble and no throttle; ``none`` neither."""
THROTTLED: Final = frozenset(("quota", "concurrency", "billing", "lock"))
Unit = Literal[
    "auto",
    "delta-seconds",
    "delta-milliseconds",
    "delta-minutes",
    "epoch-seconds",
    "epoch-milliseconds",
    "date",
    "js-date",
    "duration",
    "per-second",
]
"""How a time is written. ``auto``: by the size of a number (N4), else an HTTP-date, an ISO 8601 instant or a
duration such as ``6m0s``. ``date``: the two date forms only. ``per-second`` is a rate whose inverse is meant."""
Step = str | int | None
"""A member's name, an element's index, or None for all of them."""
Path = tuple[Step, ...]
MAX_WAIT_S: Final = 2_678_400
"""A wait beyond 31 days is not believed (N6)."""
ONLY: Final = "quota"
"""What a limit is called that has no name of its own."""
_NOT_OF_A_SLUG = re.compile("[^a-z0-9]+")


def slug(name: str) -> str:
    """A name from outside as a part of one of ours, never verbatim (E7): lower-case letters, digits and hyphens.

    Empty where nothing of it can stay.
    """
    return _NOT_OF_A_SLUG.sub("-", name.lower())[:32].strip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamLimit:
    """One limit as the upstream reports it: ``q`` units in ``w`` seconds, ``r`` left, ``t`` seconds to the reset.

    None means not known, never zero. ``name`` is a slug of ours, without the upstream's name. ``qu`` is the unit of
    ``q`` and ``r``, None for requests. ``genuine_ietf``: it came in a well-formed ``RateLimit`` field, which must not
    be made more generous (draft -11 section 7.2).
    """

    name: str
    q: int | None = None
    w: int | None = None
    r: int | None = None
    t: int | None = None
    qu: str | None = None
    genuine_ietf: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """What one answer says. ``selected`` is the member that N9 picks; ``members`` are all, in the order of reading.

    ``retry_after_seconds`` is what the upstream (or its documentation) says to wait, None when nobody says. It may
    be set where ``throttled`` is False: a 503 says when to come back. ``nothing_executed``: the profile vouches
    that the request had no effect (RULINGS 13). ``rule`` is the index in ``Profile.when`` of the rule that decided,
    None where the status alone did; ``waited_by`` says in a word where the wait came from. ``default_wait_s`` is the
    profile's estimate of a throttle's wait, None where it has none.
    """

    throttled: bool
    kind: Kind
    selected: UpstreamLimit | None = None
    members: tuple[UpstreamLimit, ...] = ()
    retry_after_seconds: int | None = None
    nothing_executed: bool = False
    rule: int | None = None
    waited_by: str = ""
    default_wait_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where in an answer values stand.

    ``headers`` are lower-case field names, tried in order, each with at most one ``*``; ``paths`` lead into the body
    as JSON, or into the field's value where ``headers`` are named too; ``text`` means the body as text. ``match``
    narrows each value to its first group, or to the whole match, and drops values without one.
    """

    headers: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    text: bool = False
    match: str | None = None

    @property
    def of_body(self) -> bool:
        return self.text or (bool(self.paths) and not self.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """A value to read: a count, or a time in ``unit``."""

    source: Source
    unit: Unit = "auto"

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.source,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """The named derivation of a cost bucket's wait: ``(requested - available) / rate`` seconds."""

    requested: Source
    available: Source
    rate: Source

    @property
    def sources(self) -> tuple[Source, ...]:
        return (self.requested, self.available, self.rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Holds when any value of ``source`` equals one of ``equals`` (None: any value at all); ``absent`` turns it round.

    A JSON null is no value.
    """

    source: Source
    equals: tuple[str, ...] | None = None
    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``statuses`` and all of ``conditions``: then the answer is of ``kind``.

    ``limit`` names the member that was violated; ``wait_s`` is the pause that the documentation demands,
    ``default_wait_s`` an estimate where it demands none; ``nothing_executed`` allows the status to become 429, None
    says that of a 429 alone.
    """

    statuses: tuple[int, ...]
    conditions: tuple[Condition, ...] = ()
    kind: Kind = "quota"
    limit: str | None = None
    wait_s: int | None = None
    default_wait_s: int | None = None
    nothing_executed: bool | None = None

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(each.source for each in self.conditions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """How one limit of a provider is reported.

    ``remaining`` may follow from ``used``; ``percent_used`` is on a scale of 100. ``window`` is fixed or read.
    ``only`` must all hold. ``structured`` are the names of a pair in the syntax of RateLimit-Policy and RateLimit;
    then nothing else is set.
    """

    name: str
    limit: Reading | None = None
    remaining: Reading | None = None
    used: Reading | None = None
    percent_used: Reading | None = None
    reset: Reading | None = None
    window: int | Reading | None = None
    only: tuple[Condition, ...] = ()
    structured: tuple[str, str] | None = None

    @property
    def readings(self) -> tuple[Reading, ...]:
        """Those that are set."""
        every = (self.limit, self.remaining, self.used, self.percent_used, self.reset, self.window)
        return tuple(each for each in every if isinstance(each, Reading))

    @property
    def sources(self) -> tuple[Source, ...]:
        return (*(each.source for each in self.only), *(each.source for each in self.readings))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """When a bounded copy of the body is looked at (RULINGS 12). ``statuses`` empty: never.

    ``content_types`` are parts of a media type, one of which ``Content-Type`` holds, in lower case.
    """

    statuses: frozenset[int] = frozenset()
    content_types: tuple[str, ...] = ()
    max_bytes: int = 65_536
    wait_us: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one provider throttles. The first rule of ``when`` that holds decides; else the status alone (N1).

    ``families`` are this provider's own; without any, the generic names are read. ``retry_after`` are its spellings
    of a wait beside ``Retry-After``, best first. ``default_wait`` (seconds, or where to read it) is the estimate
    where nothing says how long. ``replaces`` are further fields that must not reach a caller.
    """

    name: str
    description: str = ""
    source: str = ""
    grade: str = ""
    hosts: tuple[str, ...] = ()
    when: tuple[Rule, ...] = ()
    families: tuple[Family, ...] = ()
    retry_after: tuple[Reading | Restore, ...] = ()
    default_wait: int | Reading | None = None
    inspect: Inspection = Inspection()
    replaces: tuple[str, ...] = ()

    @property
    def amount_sources(self) -> tuple[Source, ...]:
        """Where limits and waits stand."""
        waits = (each for each in (*self.retry_after, self.default_wait) if isinstance(each, Reading | Restore))
        return tuple(source for each in (*self.families, *waits) for source in each.sources)

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every place in an answer that is looked at, save for structured fields."""
        return (*(source for rule in self.when for source in rule.sources), *self.amount_sources)

    def __hash__(self) -> int:
        """Of the name alone: a look-up by profile must not walk through all of it."""
        return hash(self.name)


GENERIC: Final = Profile(
    name="generic", description="429 alone, and the fields that everybody uses; what an upstream without a profile gets"
)


class Catalogue:
    """Profiles by name, and by the hosts they are for."""

    def __init__(self, profiles: Iterable[Profile] = ()) -> None:
        self.by_name: Mapping[str, Profile] = {profile.name: profile for profile in (GENERIC, *profiles)}
        self._exact = {host: each for each in self.by_name.values() for host in each.hosts if "*" not in host}
        patterns = ((host, each) for each in self.by_name.values() for host in each.hosts if "*" in host)
        self._patterns = sorted(patterns, key=lambda pair: len(pair[0]), reverse=True)

    def of_host(self, host: str) -> Profile | None:
        """The profile for ``host`` (lower case): the exact name before any pattern, longer patterns first."""
        exact = self._exact.get(host)
        if exact is not None:
            return exact
        return next((each for pattern, each in self._patterns if host_matches(pattern, host)), None)


def host_matches(pattern: str, host: str) -> bool:
    """Whether ``host`` is ``pattern`` with something in place of each ``*``."""
    first, *others = pattern.split("*")
    if not host.startswith(first):
        return False
    at = len(first)
    for number, part in enumerate(others):
        last = number == len(others) - 1
        found = host.rfind(part, at + 1) if last else host.find(part, at + 1)
        if found < 0 or (last and found + len(part) != len(host)):
            return False
        at = found + len(part)
    return at == len(host)
