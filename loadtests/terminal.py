"""What a load test shows while it runs and at its end, on a terminal: a progress bar, a histogram."""

from __future__ import annotations

import contextlib
import sys
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence

from loadtests.measure import percentile

EDGES_US = tuple(round(base * 10**power) for power in range(2, 7) for base in (1, 1.5, 2.2, 3.3, 4.7, 6.8))
BAR = 46


@contextlib.contextmanager
def progress(text: str, total: float, *, still: bool = False) -> Iterator[Callable[[float], None]]:
    """A bar on standard error, on a terminal only; what it gives is called with how much is done.

    ``still``: drawn at those calls and not in between, where drawing would hold up what this process measures.
    """
    if not sys.stderr.isatty():
        yield lambda done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns,
        console=Console(stderr=True),
        transient=True,
        refresh_per_second=4,
        auto_refresh=not still,
        redirect_stdout=sys.stdout.isatty(),  # else what is printed for a file would go to the terminal
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done, refresh=still)


def buckets(latencies_us: Sequence[int]) -> list[tuple[int, int]]:
    """``(upper edge, how many)`` over the edges from 0.1 ms, without the empty ones at both ends."""
    counts = [0] * (len(EDGES_US) + 1)
    for latency in latencies_us:
        counts[bisect_left(EDGES_US, latency)] += 1
    filled = [number for number, count in enumerate(counts) if count]
    if not filled:
        return []
    edges = (*EDGES_US, max(latencies_us))
    return [(edges[number], counts[number]) for number in range(filled[0], filled[-1] + 1)]


def histogram(latencies_us: Sequence[int]) -> str:
    """Lines of ``up to X ms`` with a bar each, and the percentiles below."""
    rows = buckets(latencies_us)
    most = max((count for _, count in rows), default=1)
    lines = [f"  <= {edge / 1000:>9,.2f} ms {'#' * -(-count * BAR // most):<{BAR}} {count:,}" for edge, count in rows]
    return "\n".join([*lines, f"  {percentiles(latencies_us)}"])


def percentiles(latencies_us: Sequence[int]) -> str:
    ordered = sorted(latencies_us)
    figures = [f"p{percent} {percentile(ordered, percent) / 1000:.2f}" for percent in (50, 90, 99)]
    return f"{', '.join(figures)}, highest {(ordered[-1] if ordered else 0) / 1000:.2f} ms, of {len(ordered):,}"
