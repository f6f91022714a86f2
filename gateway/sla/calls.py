"""Lines of the access log as evidence: which requests a minute's counters are made of (spec R2, T1).

A line that cannot be evidence is left out and counted: another tenant's, one of an older gateway that does not say the
cause, one that is no JSON. Counters are what is judged; a minute whose lines do not add up to them is left out whole,
because half a list would accuse the counters.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.sla.evidence import MINUTE_S, Call, Row
from policies.sla.spans import Span

UPSTREAM: Final = ("managed_upstream", "third_party", "customer")
"""Causes that become the gateway's own when a minute shows an egress fault (O10), after the line was written."""
LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """What a log gave. ``unreadable`` lines are no JSON or say no cause; ``incomplete`` minutes were left out.

    ``unreached``: the ids of calls whose upstream could not be connected to.
    """

    calls: tuple[Call, ...]
    unreached: frozenset[str] = frozenset()
    unreadable: int = 0
    incomplete: int = 0


def read(lines: Iterable[str], tenant: str, within: Span) -> Read:
    """The tenant's calls whose outcome became known within the time."""
    calls: list[Call] = []
    unreached: set[str] = set()
    unreadable = 0
    for line in lines:
        value = _value(line)
        if value is None:
            unreadable += 1
        elif value.get("tenant") == tenant:
            call = _call(value)
            if call is None:
                unreadable += 1
            elif within[0] <= call.known_us // 1_000_000 < within[1]:
                calls.append(call)
                if value.get("phase") == "upstream_connect":
                    unreached.add(call.id)
    return Read(calls=tuple(calls), unreached=frozenset(unreached), unreadable=unreadable)


def _value(line: str) -> Mapping[str, Any] | None:
    if len(line) > LONGEST_LINE:
        return None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _call(value: Mapping[str, Any]) -> Call | None:
    known_us, status, id_ = value.get("known_us"), value.get("status"), value.get("request_id")
    cause, group = value.get("cause"), value.get("group")
    if not (type(known_us) is int and type(status) is int and isinstance(id_, str) and isinstance(cause, str)):
        return None
    return Call(id=id_, known_us=known_us, status=status, group=group if isinstance(group, str) else "", cause=cause)


def fitted(found: Read, rows: Iterable[Row], tenant: str) -> Read:
    """The calls of the minutes that they add up in, under the causes that were counted."""
    counted = _counted(rows, tenant)
    minutes: dict[tuple[int, str], list[Call]] = defaultdict(list)
    for call in found.calls:
        minutes[_minute(call), call.group].append(call)
    whole: dict[int, list[Call]] = defaultdict(list)
    broken: set[int] = set()
    for (minute_s, group), listed in minutes.items():
        agreed = _agreed(listed, counted.pop((minute_s, group), Counter()), found.unreached)
        if agreed is None:
            broken.add(minute_s)
        else:
            whole[minute_s] += agreed
    broken |= {minute_s for minute_s, _ in counted if minute_s in whole}
    kept = [call for minute_s, listed in whole.items() if minute_s not in broken for call in listed]
    return replace(found, calls=tuple(kept), incomplete=len(broken))


def _counted(rows: Iterable[Row], tenant: str) -> dict[tuple[int, str], Counter[str]]:
    made: dict[tuple[int, str], Counter[str]] = {}
    for row in rows:
        if row.tenant == tenant:
            causes = Counter({"ok": row.counts.good, **row.counts.failed})
            made[row.slot_s, row.group] = +causes
    return made


def _agreed(listed: list[Call], counted: Counter[str], unreached: Collection[str]) -> list[Call] | None:
    """The calls as they were counted; None where no reading of them gives the counters."""
    more = counted["gateway"] - sum(call.cause == "gateway" for call in listed)
    moved = list(_moved(listed, more, unreached))
    return moved if Counter(call.cause for call in moved) == counted else None


def _moved(listed: Iterable[Call], more: int, unreached: Collection[str]) -> Iterator[Call]:
    """Failures of upstreams that were counted as the gateway's (O10)."""
    for call in listed:
        if more > 0 and call.cause in UPSTREAM and call.id in unreached:
            more -= 1
            call = replace(call, cause="gateway")
        yield call


def _minute(call: Call) -> int:
    return call.known_us // 1_000_000 // MINUTE_S * MINUTE_S
