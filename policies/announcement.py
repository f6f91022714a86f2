"""What a caller is told of an upstream's limits: from what was read (``Throttle``) to what is said (``Announcement``).

Decides status, wait, names and which member was violated, for one answer; reads no field and writes none
(``upstreams.throttle``, ``policies.fields``). Sources: spec throttling.md E1-E7, http.md §1.4 and §1.10, RULINGS 2, 3,
11, 13 and 14, draft-ietf-httpapi-ratelimit-headers-11.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from policies.model import Upstream
from policies.throttling import GENERIC, MAX_WAIT_S, Kind, Throttle, UpstreamLimit

MEMBERS_KEPT: Final = 16
"""An upstream chooses how many limits it lists, hence a bound on how many are repeated."""
LONGEST_NAME: Final = 64
"""Of an upstream, as the beginning of its limits' names."""
LARGEST: Final = 999_999_999_999_999
"""RFC 9651 3.3.1: an Integer has at most 15 digits."""
SHORT_WINDOW_S: Final = 60
"""A window up to this length is believed as a wait (RULINGS 14)."""
DAY_S: Final = 86_400
UNKNOWN_WAIT_S: Final[Mapping[Kind, int]] = {"quota": 60, "concurrency": 2, "lock": 1, "billing": DAY_S}
"""RULINGS 14: the estimate by kind of throttle, where nothing at all says how long."""
JITTER: Final = 0.2
_NOT_IN_A_NAME = re.compile(r"[^a-zA-Z0-9._-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What is said beside one answer of an upstream. Everything but ``members`` matters on a throttle only.

    ``provider`` is the profile's name, the upstream's own without a profile. ``status`` is sent, ``received`` came.
    ``wait_s`` and ``wait_ms`` are at least 1 s and at most 31 days, None when not throttled; ``estimated`` when nobody
    said so, then ``unjittered_s`` is the estimate itself. ``lasting``: the wait may be held against later calls
    (neither contention nor a guess about money). ``replaces_body``: the body is ours. ``violated`` names the first of
    ``members``, which describes what refused; ``triple`` is that member with a reset. ``wall_us`` is when the answer
    came, Unix time, None when not known. ``remembered``: it came earlier, and this call was never sent.
    """

    provider: str
    kind: Kind
    throttled: bool
    received: int
    status: int
    members: tuple[UpstreamLimit, ...] = ()
    wait_s: int | None = None
    wait_ms: int | None = None
    unjittered_s: int | None = None
    estimated: bool = False
    should_retry: bool = True
    lasting: bool = False
    replaces_body: bool = False
    violated: str | None = None
    triple: UpstreamLimit | None = None
    wall_us: int | None = None
    remembered: bool = False


def announce(
    throttle: Throttle,
    *,
    upstream: Upstream,
    status: int,
    chance: float,
    taken: Collection[str] = (),
    wall_us: int | None = None,
) -> Announcement:
    """What to say of an answer of ``upstream`` with ``status``. ``chance`` in [0, 1) decides the jitter.

    ``taken`` are the names of the call's own limits, which no member of the upstream's may carry.
    """
    if throttle.throttled:
        return _of_throttle(throttle, upstream, status, chance, taken, wall_us)
    return Announcement(
        provider=_provider(upstream),
        kind=throttle.kind,
        throttled=False,
        received=status,
        status=status,
        members=_named(_in_order(throttle), upstream.name, taken),
        wall_us=wall_us,
    )


def _provider(upstream: Upstream) -> str:
    return upstream.name if upstream.profile.name == GENERIC.name else upstream.profile.name


def _of_throttle(
    throttle: Throttle, upstream: Upstream, status: int, chance: float, taken: Collection[str], wall_us: int | None
) -> Announcement:
    violated = _violated(throttle)
    base_s, estimated = _wait(throttle, violated)
    wait_ms = _jittered(base_s * 1000, chance if estimated else 0.0)
    wait_s = -(-wait_ms // 1000)
    others = [each for each in _in_order(throttle) if each != violated]
    members = _named([_exhausted(violated, throttle.kind, wait_s), *others], upstream.name, taken)
    sent = 429 if status == 429 or (throttle.nothing_executed and upstream.map_status) else status
    first = members[0]
    return Announcement(
        provider=_provider(upstream),
        kind=throttle.kind,
        throttled=True,
        received=status,
        status=sent,
        members=members,
        wait_s=wait_s,
        wait_ms=wait_ms,
        unjittered_s=base_s,
        estimated=estimated,
        should_retry=throttle.kind != "billing",
        lasting=throttle.kind != "lock" and not (throttle.kind == "billing" and estimated),
        replaces_body=sent == 429 and throttle.nothing_executed and upstream.throttled_body == "normalised",
        violated=first.name,
        triple=first if first.t is not None else replace(first, t=wait_s),
        wall_us=wall_us,
    )


def recalled(
    announcement: Announcement, *, left_us: int, chance: float, taken: Collection[str] = (), wall_us: int
) -> Announcement:
    """A throttle that is said once more, ``left_us`` before its end; jittered anew where it is an estimate."""
    left_ms = max(1000, -(-left_us // 1000))
    wait_ms = _jittered(left_ms, chance if announcement.estimated else 0.0)
    wait_s = -(-wait_ms // 1000)
    passed_s = (announcement.unjittered_s or 0) - -(-left_us // 1_000_000)  # down, so that no t ends early
    first, *others = (_aged(each, passed_s) for each in announcement.members)
    lasts_s = max(wait_s, first.t or 0) if first.genuine_ietf else wait_s
    current = [each for each in others if each.t != 0]
    members = _distinct((replace(first, t=lasts_s), *current), taken)
    return replace(
        announcement,
        members=members,
        wait_s=wait_s,
        wait_ms=wait_ms,
        violated=members[0].name,
        triple=members[0],
        wall_us=wall_us,
        remembered=True,
    )


def noted(announcement: Announcement) -> dict[str, str | int | bool | None]:
    """What is kept of a throttle beside the answer itself: in the log's line, and in the span."""
    return {
        "provider": announcement.provider,
        "kind": announcement.kind,
        "estimated": announcement.estimated,
        "received_status": announcement.received,
        "remembered": announcement.remembered,
        "violated": announcement.violated,
    }


def _jittered(wait_ms: int, chance: float) -> int:
    """Up to a fifth later, so that callers who were told one estimate do not come back at one moment (RL-S7)."""
    return min(wait_ms + int(wait_ms * JITTER * chance), MAX_WAIT_S * 1000)


def _aged(member: UpstreamLimit, passed_s: int) -> UpstreamLimit:
    return member if member.t is None else replace(member, t=max(0, member.t - passed_s))


def _violated(throttle: Throttle) -> UpstreamLimit | None:
    """The member that refused, as received; None when it is not among those that were reported (E3, N8)."""
    selected = throttle.selected
    return None if selected is None or (selected.r is not None and selected.r > 0) else selected


def _wait(throttle: Throttle, violated: UpstreamLimit | None) -> tuple[int, bool]:
    """Seconds to wait before jitter, and whether they are an estimate (RULINGS 14)."""
    stated = throttle.retry_after_seconds
    reset = None if violated is None else violated.t
    if throttle.kind == "billing":
        least = UNKNOWN_WAIT_S["billing"] if reset is None else reset
        known = reset is not None or (stated is not None and stated >= least)
        return _believed(max(stated or 0, least)), not known
    if stated is not None:
        return _believed(stated), False
    if reset is not None:
        return _believed(reset), False
    if throttle.default_wait_s is not None:
        return _believed(throttle.default_wait_s), True
    window = None if violated is None else violated.w
    if window is not None and 0 < window <= SHORT_WINDOW_S:
        return window, True
    return UNKNOWN_WAIT_S[throttle.kind], True


def _believed(wait_s: int) -> int:
    return min(max(1, wait_s), MAX_WAIT_S)


def _exhausted(violated: UpstreamLimit | None, kind: Kind, wait_s: int) -> UpstreamLimit:
    """The violated member as it is said: nothing left until the wait is over.

    A genuine one stays as it came, whatever the wait (draft -11 section 7.2, E5), unless it said of itself only what
    it grants: to add that nothing is left loosens nothing, nor does its t shrink. One that nobody reported has no q.
    """
    if violated is None:
        return UpstreamLimit(name="concurrency" if kind == "concurrency" else "throttle", r=0, t=wait_s)
    if violated.genuine_ietf and violated.r is not None:
        return violated
    lasts_s = max(wait_s, violated.t or 0) if violated.genuine_ietf else wait_s
    return replace(violated, r=0, t=lasts_s)


def _in_order(throttle: Throttle) -> list[UpstreamLimit]:
    """The members worth saying, the selected one first: of the others nobody knows how many there are."""
    first = [] if throttle.selected is None else [throttle.selected]
    others = (each for each in throttle.members if each is not throttle.selected and each != throttle.selected)
    return [each for each in (*first, *others) if each.q is not None or each.r is not None][:MEMBERS_KEPT]


def _named(members: Iterable[UpstreamLimit], upstream: str, taken: Collection[str]) -> tuple[UpstreamLimit, ...]:
    """``<upstream>-<name>`` and numbers that a structured field can carry (E7, SF-10)."""
    beginning = _beginning(upstream)
    return _distinct([_bounded(each, beginning + each.name) for each in members], taken)


@lru_cache(maxsize=1024)
def _beginning(upstream: str) -> str:
    return _NOT_IN_A_NAME.sub("-", upstream)[:LONGEST_NAME] + "-"


def _distinct(members: Iterable[UpstreamLimit], taken: Collection[str]) -> tuple[UpstreamLimit, ...]:
    used = set(taken)
    found: list[UpstreamLimit] = []
    for each in members:
        name, number = each.name, 2
        while name in used:
            name, number = f"{each.name}-{number}", number + 1
        used.add(name)
        found.append(each if name == each.name else replace(each, name=name))
    return tuple(found)


def _bounded(member: UpstreamLimit, name: str) -> UpstreamLimit:
    w, t = _count(member.w), _count(member.t)
    return UpstreamLimit(
        name=name,
        q=_count(member.q),
        w=w or None,  # RL-P4: above zero
        r=_count(member.r),
        t=t if t is not None and t <= MAX_WAIT_S else None,
        qu=member.qu,
        genuine_ietf=member.genuine_ietf,
    )


def _count(number: int | None) -> int | None:
    return None if number is None or number < 0 else min(number, LARGEST)
