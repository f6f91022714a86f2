"""A month of a service that does not exist: who called when, what failed, which replica lived (spec sla.md section 2).

Made up from a seed, the same for the same seed, and so that every rule of the report has something to say: an outage
that counts, one that does not, one that only degrades, maintenance that overran, a gap in which nobody lived. Nothing
is written here, and nothing is judged.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import exp, sqrt
from typing import Final

from gateway.ledger.cells import ELIGIBLE, LATENCY, PLACES, WIDTH, Row, packed
from gateway.ledger.spool_file import LifeRow
from policies.sla.cases import Actor, CaseEvent, Kind
from policies.sla.imports import Probe
from policies.sla.period import Period
from policies.sla.spans import Span, Spans, difference, intersection, length
from policies.sla.support import Severity

MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
AROUND_S: Final = HOUR_S
"""Traffic before and after the month, so that a run over its edge would be whole."""
DEMO: Final = ("acme", "globex", "initech")
"""The tenants of the demo's policy."""
VANTAGE_POINTS: Final = ("eu-west", "us-east", "ap-south", "sa-east")
HELPDESK: Final = "helpdesk"
REPLICAS: Final = ("gw-a/0", "gw-b/0")

_QUICK: Final = (5, 90, 400, 320, 120, 48, 12, 3, 1, 1, 0, 0, 0)
_STEADY: Final = (0, 5, 60, 280, 380, 210, 48, 12, 4, 1, 0, 0, 0)
_SLOW: Final = (0, 0, 0, 10, 60, 180, 260, 240, 150, 70, 20, 8, 2)
"""Requests of a thousand by latency bucket."""

_BY_HOUR: Final = (9, 8, 8, 8, 9, 11, 18, 40, 72, 93, 100, 96, 82, 88, 97, 94, 86, 64, 40, 28, 20, 15, 12, 10)
"""Of a working day, in percent of the busiest hour."""
_WEEKEND: Final = 0.5
_BUSY: Final = 24
"""From so many requests a minute on a caller is served by all replicas at once."""
_PLACES: Final = {cause: place for (_, cause), place in PLACES.items()}
_CUMULATIVE: Final[Mapping[tuple[int, ...], tuple[float, ...]]] = {
    each: tuple(part / sum(each) for part in accumulate(each)) for each in (_QUICK, _STEADY, _SLOW)
}

_Who = tuple[str, str]
"""A replica and its boot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """One tenant's use of one route group: ``peak`` requests a minute in the busiest hour.

    ``office``: on working days from 7 to 19 alone, so that it inherits what the platform does at night (T10).
    """

    tenant: str
    group: str
    peak: float
    latency: tuple[int, ...]
    third_party: bool = False
    office: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """``share`` of the requests of a window failed for ``cause``; ``group`` None is all of them.

    ``every``: of each so many minutes the last was good; 0: none was.
    """

    from_s: int
    to_s: int
    cause: str
    share: float
    group: str | None = None
    every: int = 0

    @property
    def span(self) -> Span:
        return self.from_s, self.to_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What happened in a month. ``maintenance`` and the windows beside it are what acts are recorded of."""

    upstream: Trouble
    third_party: Trouble
    maintenance: Trouble
    degraded: Trouble
    unannounced: Trouble
    power: Trouble
    storm: Trouble
    dark: Span
    edge: Span

    @property
    def troubles(self) -> tuple[Trouble, ...]:
        return (
            self.upstream, self.third_party, self.maintenance, self.degraded, self.unannounced, self.power, self.storm
        )  # fmt: skip


def story(month: Period) -> Story:
    """The same for every month, but for the weekday of the maintenance: a Sunday night."""
    at = _clock(month)
    sunday = next(day for day in range(10, 17) if (at(day, 0) // DAY_S + 3) % 7 == 6)
    return Story(
        upstream=_trouble(at(6, 13, 4), 12, "managed_upstream", 0.92, group="crm"),
        third_party=_trouble(at(9, 15, 20), 45, "third_party", 0.97, group="code"),
        maintenance=_trouble(at(sunday, 2, 10), 119, "gateway", 1.0),
        degraded=_trouble(at(17, 10), 60, "gateway", 0.3, every=5),
        unannounced=_trouble(at(20, 22, 5), 14, "gateway", 1.0),
        power=_trouble(at(25, 3, 30), 25, "gateway", 1.0),
        storm=_trouble(at(28, 17, 40), 8, "gateway", 0.8),
        dark=(at(22, 9, 17) + 20, at(22, 9, 24) + 20),
        edge=(at(13, 5), at(13, 5, 6)),
    )


class _clock:
    """Day, hour and minute of a month as Unix seconds; days count from 1."""

    def __init__(self, month: Period) -> None:
        self._start_s = month.start_s

    def __call__(self, day: int, hour: int, minute: int = 0) -> int:
        return self._start_s + (day - 1) * DAY_S + hour * HOUR_S + minute * MINUTE_S


def _trouble(
    from_s: int, minutes: int, cause: str, share: float, *, group: str | None = None, every: int = 0
) -> Trouble:
    return Trouble(from_s=from_s, to_s=from_s + minutes * MINUTE_S, cause=cause, share=share, group=group, every=every)


def callers(tenants: int) -> tuple[Caller, ...]:
    """The three of the demo's policy and whoever has no tenant; beyond three, more that call a few times an hour."""
    known = (
        Caller(tenant="acme", group="crm", peak=140, latency=_QUICK),
        Caller(tenant="acme", group="code", peak=4, latency=_STEADY, third_party=True, office=True),
        Caller(tenant="globex", group="crm", peak=5, latency=_QUICK, office=True),
        Caller(tenant="initech", group="crm", peak=34, latency=_QUICK),
        Caller(tenant="initech", group="reports", peak=2, latency=_STEADY, office=True),
        Caller(tenant="", group="", peak=0.4, latency=_QUICK),
    )
    others = names(tenants)[len(DEMO) :]
    return (*known, *(Caller(tenant=name, group="crm", peak=0.2, latency=_QUICK) for name in others))


def names(tenants: int) -> tuple[str, ...]:
    """Of so many tenants."""
    return (*DEMO, *(f"tenant-{number}" for number in range(len(DEMO) + 1, tenants + 1)))


# --- lives --------------------------------------------------------------------------------------------------------


def lives(month: Period) -> tuple[LifeRow, ...]:
    """Two replicas, each updated twice, one after the other; both die at once and are started again."""
    at, dark = _clock(month), story(month).dark
    first, last = month.start_s - DAY_S, month.end_s + DAY_S
    down: Mapping[str, Spans] = {
        "gw-a/0": ((at(5, 9), at(5, 9) + 21), (at(15, 9), at(15, 9) + 19), dark),
        "gw-b/0": ((at(5, 9, 2), at(5, 9, 2) + 22), (at(15, 9, 2), at(15, 9, 2) + 20), (dark[0] - 8, dark[1] + 11)),
    }
    return tuple(
        LifeRow(replica, f"boot-{number}", start, end, 0)
        for replica in REPLICAS
        for number, (start, end) in enumerate(difference(((first, last),), down[replica]), 1)
    )


# --- what others saw ----------------------------------------------------------------------------------------------


def probes(month: Period) -> tuple[Probe, ...]:
    """Four vantage points; three of them do not reach the edge for six minutes (T9)."""
    edge = story(month).edge
    found = [Probe(point=point, from_s=edge[0], to_s=edge[1], ok=False) for point in VANTAGE_POINTS[:3]]
    first, last = month.start_s, month.end_s
    spared = VANTAGE_POINTS[3]
    whole = [Probe(point=point, from_s=first, to_s=edge[0], ok=True) for point in VANTAGE_POINTS]
    after = [Probe(point=point, from_s=edge[1], to_s=last, ok=True) for point in VANTAGE_POINTS]
    return (*whole, *found, Probe(point=spared, from_s=edge[0], to_s=edge[1], ok=True), *after)


def cases(month: Period) -> tuple[CaseEvent, ...]:
    """Support cases: most answered in time, one of the premium tier too late, one whose severity rose."""
    at = _clock(month)
    received: tuple[tuple[str, Severity, int, int], ...] = (
        ("acme", "S1", at(6, 13, 9), at(6, 13, 21)),
        ("acme", "S2", at(9, 15, 41), at(9, 16, 26)),
        ("acme", "S2", at(20, 22, 11), at(21, 0, 52)),
        ("acme", "S3", at(14, 8, 5), at(14, 10, 40)),
        ("acme", "S4", at(27, 11, 30), at(28, 9, 15)),
        ("initech", "S2", at(6, 13, 20), at(7, 9, 5)),
        ("initech", "S3", at(19, 10, 2), at(19, 14, 47)),
        ("globex", "S4", at(8, 9, 45), at(9, 12, 0)),
    )  # fmt: skip
    told: list[CaseEvent] = []
    for number, (tenant, severity, opened_s, answered_s) in enumerate(received, 1):
        event = _case(f"case-{number}", tenant)
        told += [event(opened_s, "opened", "customer", severity), event(opened_s + 5, "ack", "system", None)]
        told.append(event(answered_s, "ack", "staff", None))
        if number == _RAISED:
            told.append(event(opened_s + HOUR_S, "severity", "customer", "S2"))
    return tuple(told)


_RAISED: Final = 4


def _case(ticket: str, tenant: str) -> Callable[[int, Kind, Actor, Severity | None], CaseEvent]:
    def event(at_s: int, kind: Kind, actor: Actor, severity: Severity | None) -> CaseEvent:
        return CaseEvent(
            source=HELPDESK, id=f"{ticket}-{at_s}-{actor}", ticket=ticket, tenant=tenant, at_s=at_s, kind=kind,
            actor=actor, severity=severity,
        )  # fmt: skip

    return event


# --- traffic ------------------------------------------------------------------------------------------------------


def cells(month: Period, seed: int, tenants: int) -> Iterator[Sequence[Row]]:
    """The rows of each hour in turn."""
    chance = random.Random(f"{month.name} {seed}")
    made = _Month(month, chance, callers(tenants))
    for hour_s in range(month.start_s - AROUND_S, month.end_s + AROUND_S, HOUR_S):
        yield [row for slot_s in range(hour_s, hour_s + HOUR_S, MINUTE_S) for row in made.minute(slot_s)]


class _Month:
    """Draws each minute's requests, in order of time."""

    def __init__(self, month: Period, chance: random.Random, called: Sequence[Caller]) -> None:
        self._chance = chance
        self._callers = [(each, tuple(_everyday(each))) for each in called]
        told = story(month)
        self._troubles, self._edge = told.troubles, told.edge
        self._lives = lives(month)
        self._serving = _serving(self._lives, month.start_s)
        self._seq = 0

    def minute(self, slot_s: int) -> Iterator[Row]:
        self._seq += 1
        if self._edge[0] <= slot_s < self._edge[1]:
            return  # the replicas live, and nobody reaches them (T9)
        if _is_change(self._lives, slot_s):
            self._serving = _serving(self._lives, slot_s)
        at_work = 7 * HOUR_S <= slot_s % DAY_S < 19 * HOUR_S and not _is_weekend(slot_s)
        busy = _rhythm(slot_s) * min(1.0, sum(self._serving.values()))
        troubles = [each for each in self._troubles if _is_hit(each, slot_s)]
        for at, (caller, everyday) in enumerate(self._callers):
            if caller.office and not at_work:
                continue
            asked = self._drawn(caller.peak * busy)
            hit = next((each for each in troubles if each.group in (None, caller.group) and caller.tenant), None)
            causes = everyday if hit is None else ((_PLACES[hit.cause], hit.share), *everyday)
            profile = _CUMULATIVE[_SLOW] if hit else _CUMULATIVE[caller.latency]
            for (replica, boot), requests in self._dealt(asked, at + slot_s // HOUR_S):
                counters = self._counters(requests, causes, profile)
                yield Row(slot_s, caller.tenant, caller.group, replica, boot, self._seq, packed(counters))

    def _drawn(self, mean: float) -> int:
        """Poisson's; the normal one where nobody could tell."""
        if mean > 12:
            return max(0, round(mean + self._chance.gauss(0, 1) * sqrt(mean)))
        least, drawn, product = exp(-mean), 0, self._chance.random()
        while product > least:
            product *= self._chance.random()
            drawn += 1
        return drawn

    def _dealt(self, asked: int, turn: int) -> Iterator[tuple[_Who, int]]:
        """A caller that is busy now has connections to every replica, any other to one for an hour."""
        serving = list(self._serving.items())
        if not serving or not asked:
            return
        if asked < _BUSY or len(serving) == 1:
            yield serving[turn % len(serving)][0], asked
            return
        weight = sum(share for _, share in serving)
        first = min(asked, round(asked * serving[0][1] / weight * self._chance.uniform(0.9, 1.1)))
        yield from (each for each in ((serving[0][0], first), (serving[-1][0], asked - first)) if each[1])

    def _counters(self, requests: int, causes: Sequence[tuple[int, float]], profile: Sequence[float]) -> list[int]:
        counters = [0] * WIDTH
        for place, share in causes:
            mean = requests * share
            failed = requests if share >= 1 else int(mean) + (self._chance.random() < mean % 1)
            if failed:
                counters[place] += failed
                requests -= failed
        counters[0] = requests
        eligible, start, before = sum(counters[:ELIGIBLE]), self._chance.random(), 0
        for bucket, part in enumerate(profile, LATENCY):  # from a random start, so that rare ones are met in time
            reached = int(eligible * part + start)
            counters[bucket], before = reached - before, reached
        return counters


def _everyday(caller: Caller) -> Iterator[tuple[int, float]]:
    if not caller.tenant:
        yield _PLACES["client_error"], 1.0  # whoever has no valid key
        return
    yield _PLACES["client_error"], 0.008
    yield _PLACES["client_abort"], 0.0006
    yield _PLACES["managed_upstream"], 0.0002
    if caller.third_party:
        yield _PLACES["upstream_throttle"], 0.004
        yield _PLACES["third_party"], 0.001
    if caller.tenant == "globex":
        yield _PLACES["own_limit"], 0.03


def _is_change(lived: Sequence[LifeRow], slot_s: int) -> bool:
    """Whether who served may differ from what it was a minute ago."""
    return any(slot_s - MINUTE_S <= edge < slot_s + MINUTE_S for each in lived for edge in (each.from_s, each.to_s))


def _is_hit(trouble: Trouble, slot_s: int) -> bool:
    begun = slot_s - trouble.from_s
    good = trouble.every and begun // MINUTE_S % trouble.every == trouble.every - 1
    return 0 <= begun < trouble.to_s - trouble.from_s and not good


def _rhythm(slot_s: int) -> float:
    hour, rest = divmod(slot_s % DAY_S, HOUR_S)
    now, then = _BY_HOUR[hour], _BY_HOUR[(hour + 1) % 24]
    busy = (now + (then - now) * rest / HOUR_S) / 100
    return busy * (_WEEKEND if _is_weekend(slot_s) else 1.0)


def _is_weekend(slot_s: int) -> bool:
    return (slot_s // DAY_S + 3) % 7 >= 5


def _serving(lives: Sequence[LifeRow], slot_s: int) -> dict[_Who, float]:
    """Who served what part of a minute's requests."""
    minute = ((slot_s, slot_s + MINUTE_S),)
    shares = {
        (each.replica, each.boot): length(intersection(((each.from_s, each.to_s),), minute)) / MINUTE_S
        for each in lives
        if each.from_s < slot_s + MINUTE_S and each.to_s > slot_s
    }
    return {who: share for who, share in shares.items() if share}
