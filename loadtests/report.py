"""What a comparison found, as JSON can carry it and as a table for people. Measures nothing itself."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.measure import Sample, median, median_ratio
from loadtests.peers.peer import Place


@dataclass(slots=True, kw_only=True)
class Row:
    """One line of the table: an instance, the key it is driven with, and its rounds so far."""

    name: str
    upstream: str
    pid: int
    place: Place
    key: str
    refused: bool = False
    samples: list[Sample] = field(default_factory=list)

    @property
    def cpu(self) -> list[float]:
        return [sample.cpu_us_per_request for sample in self.samples]

    @property
    def wrong(self) -> int:
        """Answers that are not what this row is about, and requests without one."""
        loads = [sample.load for sample in self.samples]
        expected = [load.requests if self.refused else 0 for load in loads]
        return sum(load.failed + abs(load.not_2xx - wanted) for load, wanted in zip(loads, expected, strict=True))


def summed_up(rows: Sequence[Row]) -> dict[str, Any]:
    """Everything measured, as JSON can carry it; the warm-up, the first sample of each row, is left out."""
    summaries = [_summary(rows, row) for row in rows]
    refusal = _refusal(rows)
    return {
        "machine": machine(),
        "rows": summaries,
        "refusal": refusal,
        "pipeline_us": _pipeline(rows),
        "goals": goals(summaries, refusal),
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cpus": os.cpu_count(),
        "cpu": _cpu_model(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_average": os.getloadavg(),
    }


def _summary(rows: Sequence[Row], row: Row) -> dict[str, Any]:
    samples = row.samples[1:]
    against = [one for one in rows if one.name == "envoy" and one.upstream == row.upstream]
    own = row.cpu[1:]
    return {
        "peer": row.name,
        "upstream": row.upstream,
        "cpu_us_per_request": round(median(own), 2),
        "cpu_us_lowest": round(min(own), 2),
        "cpu_us_highest": round(max(own), 2),
        "ratio_to_envoy": round(median_ratio(own, against[0].cpu[1:]), 3) if against else None,
        "requests_per_s": round(median(sample.requests_per_s for sample in samples)),
        "p50_ms": round(median(sample.load.p50_us for sample in samples) / 1_000, 2),
        "p99_ms": round(median(sample.load.p99_us for sample in samples) / 1_000, 2),
        "rss_mib": _mib(median(sample.memory.rss for sample in samples)),
        "pss_mib": _mib(median(sample.memory.pss for sample in samples)),
        "requests": sum(sample.load.requests for sample in samples),
        "wrong_answers": row.wrong,
        "rounds": [asdict(sample) for sample in samples],
    }


def _refusal(rows: Sequence[Row]) -> dict[str, float]:
    """A refusal over a bare app that answers the same bytes, and as a share of an admitted call."""
    found = {(row.name, row.upstream): row.cpu[1:] for row in rows}
    refused, bare = found.get(("refusal", "none")), found.get(("bare-refusal", "none"))
    if not refused or not bare:
        return {}
    over = median(mine - other for mine, other in zip(refused, bare, strict=True))
    return {
        "us_over_bare": round(over, 2),
        "share_of_admitted": round(median_ratio(refused, found["tiergate", "plain"]), 3),
    }


def _pipeline(rows: Sequence[Row]) -> dict[str, float]:
    """What the gateway costs over its engine alone on the same server, by kind of upstream."""
    found = {(row.name, row.upstream): row.cpu[1:] for row in rows}
    return {
        kind: round(median(ours - bare for ours, bare in zip(found["tiergate", kind], engine, strict=True)), 2)
        for (name, kind), engine in found.items()
        if name == "bare-engine" and ("tiergate", kind) in found
    }


def goals(rows: Sequence[dict[str, Any]], refusal: dict[str, float]) -> list[dict[str, Any]]:
    """What DESIGN §13 promises, beside what was found; what was not measured is left out."""
    own = {row["upstream"]: row["ratio_to_envoy"] for row in rows if row["peer"] == "tiergate"}
    found = (
        ("CPU to Envoy, plaintext upstream", own.get("plain"), 1.0),
        ("CPU to Envoy, TLS upstream", own.get("TLS"), 1.25),
        ("us of a refusal over the bare app", refusal.get("us_over_bare"), 12.0),
        ("a refusal as a share of an admitted call", refusal.get("share_of_admitted"), 0.75),
    )
    return [goal(name, value, at_most=most) for name, value, most in found if value is not None]


def goal(name: str, found: float, *, at_most: float | None = None, at_least: float | None = None) -> dict[str, Any]:
    """A promise beside what was found; one of the two bounds is given."""
    met = found <= at_most if at_most is not None else found >= (at_least or 0)
    bound = {"at_most": at_most} if at_most is not None else {"at_least": at_least}
    return {"goal": name, **bound, "found": found, "met": met}


def verdicts(goals: Sequence[dict[str, Any]]) -> list[str]:
    """One line a goal."""
    return [
        f"{'met' if goal['met'] else 'MISSED'}: {goal['goal']}: {goal['found']:,} "
        + (f"(at most {goal['at_most']})" if "at_most" in goal else f"(at least {goal['at_least']})")
        for goal in goals
    ]


def _mib(size: float) -> float:
    return round(size / (1 << 20), 1)


def _cpu_model() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


COLUMNS = (
    ("peer", "peer"),
    ("upstream", "upstream"),
    ("CPU us/request", "cpu_us_per_request"),
    ("lowest", "cpu_us_lowest"),
    ("highest", "cpu_us_highest"),
    ("to Envoy", "ratio_to_envoy"),
    ("requests/s", "requests_per_s"),
    ("p50 ms", "p50_ms"),
    ("p99 ms", "p99_ms"),
    ("RSS MiB", "rss_mib"),
    ("PSS MiB", "pss_mib"),
)


def table(found: dict[str, Any]) -> str:
    """The report for people, as a Markdown table and a few sentences."""
    lines = [*grid(COLUMNS, found["rows"], named=2), ""]
    lines += [f"the pipeline over the bare engine, {kind}: {spent} us" for kind, spent in found["pipeline_us"].items()]
    lines += verdicts(found["goals"])
    lines += [f"missing: {name}: {reason}" for name, reason in found["missing"].items()]
    lines += [
        f"{row['peer']}, {row['upstream']}: {row['wrong_answers']} wrong or missing answers"
        for row in found["rows"]
        if row["wrong_answers"]
    ]
    lines += [
        f"{'ok' if check['ok'] else 'WRONG'}: {check['what']}: {check['requests']} requests, "
        f"{check['lines']} log lines, {check['metrics']} in metrics, {check['outcomes']} outcomes, "
        f"{check['decisions']} decisions, {check['dropped']} lines dropped"
        for check in found["reconciled"]
    ]
    return "\n".join(lines)


def grid(columns: Sequence[tuple[str, str]], rows: Sequence[dict[str, Any]], *, named: int = 1) -> list[str]:
    """``rows`` as lines of a Markdown table: ``(head, member)`` for each column, the first ``named`` flush left."""
    heads = [head for head, _ in columns]
    cells = [[_cell(row[name]) for _, name in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(heads, *cells, strict=True)]
    rule = ["-" * width for width in widths]
    return [_line(line, widths, named) for line in (heads, rule, *cells)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _line(cells: Sequence[str], widths: Sequence[int], named: int) -> str:
    pairs = list(zip(cells, widths, strict=True))
    texts = [cell.ljust(width) for cell, width in pairs[:named]] + [cell.rjust(width) for cell, width in pairs[named:]]
    return f"| {' | '.join(texts)} |"
