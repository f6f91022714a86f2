"""What a process tree costs, and how several rounds are summed up: CPU and memory from /proc, medians, ratios.

Starts nothing and waits for nothing. Source: proc(5); DESIGN §13 for why CPU per request is the figure to steer by.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a load generator saw: completed requests, how many of them were not 2xx, how many never completed.

    ``generator_us`` is the CPU that it took itself, 0 where that was not measured.
    """

    requests: int
    duration_us: int
    p50_us: int
    p99_us: int
    failed: int
    not_2xx: int
    generator_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of a process tree; ``pss`` counts shared pages once, ``rss`` once for each process."""

    rss: int
    pss: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One round of one peer; ``cpu_us`` is user and system time of its process tree during the round."""

    load: Load
    cpu_us: int
    memory: Memory

    @property
    def cpu_us_per_request(self) -> float:
        return self.cpu_us / max(self.load.requests, 1)

    @property
    def requests_per_s(self) -> float:
        return self.load.requests / max(self.load.duration_us, 1) * 1_000_000


def tree(pid: int) -> list[int]:
    """``pid`` and every process below it; whoever has gone is left out."""
    found = [pid]
    for task in _listed(PROC / str(pid) / "task"):
        for child in _text(task / "children").split():
            found += tree(int(child))
    return found


def cpu_us(pid: int) -> int:
    """User and system time of the process tree so far, in steps of a clock tick (10 ms)."""
    ticks = 0
    for one in tree(pid):
        fields = _text(PROC / str(one) / "stat").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12]) if fields else 0
    return ticks * 1_000_000 // TICKS


def memory(pid: int) -> Memory:
    """Resident memory of the process tree now."""
    rss = pss = 0
    for one in tree(pid):
        for line in _text(PROC / str(one) / "smaps_rollup").splitlines():
            name, _, size = line.partition(":")
            if name == "Rss":
                rss += _kib(size)
            elif name == "Pss":
                pss += _kib(size)
    return Memory(rss=rss, pss=pss)


def peak(pid: int) -> int:
    """The most resident memory that each process of the tree ever had, added up, in bytes."""
    found = 0
    for one in tree(pid):
        for line in _text(PROC / str(one) / "status").splitlines():
            name, _, size = line.partition(":")
            if name == "VmHWM":
                found += _kib(size)
    return found


def percentile(ordered: Sequence[int], percent: int) -> int:
    """The smallest member of ``ordered`` that at least ``percent`` of all do not exceed; 0 of none."""
    if not ordered:
        return 0
    return ordered[max(-(-len(ordered) * percent // 100) - 1, 0)]


def median(values: Iterable[float]) -> float:
    return statistics.median(values)


def median_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of the rounds' own ratios: what slows a whole round down slows both sides of it."""
    return statistics.median(mine / other for mine, other in zip(ours, theirs, strict=True))


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # it ended since it was listed
        return ""


def _kib(size: str) -> int:
    return int(size.split()[0]) * 1024
