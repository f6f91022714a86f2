"""Counters of slots: merged from what replicas send again and again, summed to traffic (spec D1, D5, D6).

They are cumulative within their key. The highest sequence wins, replicas and boots add, so that resending and
reordering change nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import zip_longest
from types import MappingProxyType

from policies.sla.spans import Spans
from policies.sla.traffic import Traffic

AHEAD_S = 300
"""How far a slot may lie ahead of the clock of the receiver (D5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What counters are of. ``tenant`` and ``group`` may be empty; ``boot`` names one start."""

    slot_s: int
    tenant: str
    group: str
    replica: str
    boot: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Good requests, failed and ignored ones by cause, and latency buckets, of any number."""

    good: int = 0
    failed: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    latency: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Flush:
    """The counters of a key as they stood at ``sequence``."""

    key: Key
    sequence: int
    received_at_s: int
    counts: Counts


def is_acceptable(flush: Flush) -> bool:
    """False for a slot that lies too far ahead: some clock is wrong (D5)."""
    return flush.key.slot_s - flush.received_at_s <= AHEAD_S


def newest(flushes: Iterable[Flush]) -> Mapping[Key, Counts]:
    """The counters of each key (D1). Two that share a sequence should be equal; if not, more failures win."""
    best: dict[Key, Flush] = {}
    for flush in flushes:
        known = best.get(flush.key)
        if is_acceptable(flush) and (known is None or _rank(flush) > _rank(known)):
            best[flush.key] = flush
    return {key: flush.counts for key, flush in best.items()}


def _rank(flush: Flush) -> tuple[object, ...]:
    counts = flush.counts
    return flush.sequence, sum(counts.failed.values()), counts.good, sorted(counts.failed.items()), counts.latency


def changed_slots(flushes: Iterable[Flush], final_at_s: int) -> tuple[int, ...]:
    """Slots whose counters changed by what came after finalisation: any makes a new revision (D6)."""
    listed = list(flushes)
    final = newest(flush for flush in listed if flush.received_at_s <= final_at_s)
    now = newest(listed)
    return tuple(sorted({key.slot_s for key, counts in now.items() if not _same(final.get(key), counts)}))


def _same(before: Counts | None, now: Counts) -> bool:
    """Counters that were not there were zero."""
    known = before or Counts()
    return (known.good, Counter(known.failed), _bare(known.latency)) == (
        now.good, Counter(now.failed), _bare(now.latency),
    )  # fmt: skip


def _bare(latency: tuple[int, ...]) -> tuple[int, ...]:
    return latency if any(latency) else ()


def total(counted: Iterable[Counts]) -> Counts:
    """The sum."""
    good = 0
    latencies: list[tuple[int, ...]] = []
    failed: dict[str, int] = {}
    for each in counted:
        good += each.good
        for cause, number in each.failed.items():
            failed[cause] = failed.get(cause, 0) + number
        if each.latency:
            latencies.append(each.latency)
    return Counts(good=good, failed=failed, latency=tuple(map(sum, zip_longest(*latencies, fillvalue=0))))


def traffic_of(
    counted: Mapping[Key, Counts], slot_seconds: int, *, tenant: str | None = None,
    excused: Mapping[str, Spans] = MappingProxyType({}),
) -> Traffic:  # fmt: skip
    """What a tenant, or with None the platform, requested and got.

    ``excused``: by route group, when its failures are ignored in every slot that is touched (X1).
    """
    good: Counter[int] = Counter()
    failed: dict[str, Counter[int]] = {}
    for key, counts in counted.items():
        if tenant is not None and key.tenant != tenant:
            continue
        good[key.slot_s] += counts.good
        if _touches(excused.get(key.group, ()), key.slot_s, slot_seconds):
            continue
        for cause, count in counts.failed.items():
            failed.setdefault(cause, Counter())[key.slot_s] += count
    return Traffic(good=good, failed=failed)


def _touches(times: Spans, slot_s: int, slot_seconds: int) -> bool:
    return any(start < slot_s + slot_seconds and end > slot_s for start, end in times)
