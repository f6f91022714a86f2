"""A monthly or quarterly record as HTML, CSV or canonical JSON, for whoever is handed it (spec R1).

Everything derives from the record and nothing is computed beside it but the places of bars. Names and notes in it were
typed by people: HTML escapes them, CSV takes the meaning from formulas.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from jinja2 import Environment, PackageLoader, StrictUndefined

from policies.sla.canonical import canonical
from policies.sla.instants import read
from policies.sla.record import Record

CAUSES: Final = {
    "gateway": "the gateway",
    "managed_upstream": "systems that we run",
    "third_party": "third parties",
    "customer": "your own systems",
    "internal": "health checks",
    "client_abort": "callers that left early",
    "own_limit": "over your own limits",
    "client_error": "invalid requests",
    "upstream_throttle": "limits of third parties",
}
REASONS: Final = {
    None: "",
    "empty_window": "the window ends when or before it begins",
    "not_announced": "it was never announced",
    "cancelled": "it was cancelled",
    "short_notice": "it was announced too late",
    "changed_late": "it was changed too late; only what had been announced in time counts",
    "not_worked_in": "only the time in which the work was done counts",
    "over_the_cap": "the month's allowance for maintenance was used up",
    "not_recorded": "it was not recorded",
    "recorded_late": "it was recorded after the month was closed",
    "not_approved": "a second person has not approved it",
}
TYPES: Final = {
    "scheduled_maintenance": "Scheduled maintenance",
    "force_majeure": "Force majeure",
    "customer_caused": "Caused by the customer",
    "third_party": "Third party",
    "suspension": "Suspension",
}
VERDICTS: Final = {
    "met": "Commitment met",
    "missed": "Commitment missed",
    "no_data": "No data",
    "no_promise": "No commitment",
}
WIDTH: Final = 1_000
"""Of every drawing, in its own units."""
LEAST: Final = 3
"""What is there is never narrower, so that five minutes of a month can be seen."""
FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A stretch of a drawing from ``x``; ``kind`` is how it is painted, ``label`` what it says to those who listen."""

    x: int
    width: int
    kind: str
    label: str


def as_json(record: Record) -> bytes:
    """The canonical bytes, and a line feed."""
    return canonical(record) + b"\n"


def as_html(record: Record) -> bytes:
    """A page that needs nothing else: no script, no font, no picture from anywhere."""
    page: str = _template(str(record["kind"])).render(record=record, **_drawings(record))
    return page.encode()


def as_csv(record: Record) -> bytes:
    """``section, item, field, value``: a row for each value; items of a list are numbered from 1."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(("section", "item", "field", "value"))
    for section, value in record.items():
        rows: list[tuple[object, str, object]]
        if isinstance(value, list):
            rows = [(at, *each) for at, item in enumerate(value, 1) for each in _leaves("", item)]
        else:
            rows = [("", *each) for each in _leaves("", value)]
        writer.writerows((section, item, _cell(field), _cell(leaf)) for item, field, leaf in rows)
    return out.getvalue().encode()


def _leaves(path: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        parts: Iterator[tuple[str, object]] = iter(value.items())
    elif isinstance(value, list | tuple):
        parts = ((str(at), each) for at, each in enumerate(value, 1))
    else:
        yield path, value
        return
    for name, each in parts:
        yield from _leaves(f"{path}.{name}" if path else name, each)


def _cell(value: object) -> object:
    """None is an empty cell; text that a spreadsheet would take for a formula stands behind an apostrophe."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or isinstance(value, int):
        return value
    text = str(value)
    return f"'{text}" if text.startswith(FORMULA) else text


# --- the page -----------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def _template(kind: str) -> Any:
    environment = Environment(
        loader=PackageLoader("gateway"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(duration=duration, moment=moment, utc=utc, cause=cause, number=number, promise=promise)
    environment.globals.update(REASONS=REASONS, TYPES=TYPES, VERDICTS=VERDICTS)
    return environment.get_template(f"sla_{kind}.html")


def duration(seconds: Any) -> str:
    """``1 h 02 min 03 s``; parts of a second are left away."""
    whole = int(Fraction(str(seconds)))
    hours, rest = divmod(whole, 3_600)
    minutes, left = divmod(rest, 60)
    parts = [f"{hours} h"] if hours else []
    parts += [f"{minutes:02} min" if hours else f"{minutes} min"] if hours or minutes else []
    return " ".join([*parts, f"{left:02} s" if parts else f"{left} s"]) if left or not parts else " ".join(parts)


def moment(text: str) -> str:
    """``2026-04-15 02:00:00 UTC``."""
    return text.replace("T", " ").replace("Z", " UTC")


def utc(text: str) -> str:
    """``2026-04-15 02:00:00``, where the column says the zone."""
    return moment(text).removesuffix(" UTC")


def cause(name: str) -> str:
    return CAUSES.get(name, name)


def promise(violation: Mapping[str, Any]) -> str:
    """What was promised and not kept."""
    of = str(violation["of"])
    if of == "uptime":
        return "Availability of the month"
    return f"Share of requests with {of}" if of.startswith("latency") else f"Share of {of}"


def number(count: int) -> str:
    """With thin spaces between the thousands."""
    return f"{count:,}".replace(",", "\u202f")


def _drawings(record: Record) -> Mapping[str, Any]:
    requests = shares({**record["requests"]["bad"], **record["requests"]["ignored"]})
    if record["kind"] == "quarterly":
        return {"months": record["months"], "failures": requests}
    return {
        "timeline": timeline(record),
        "days": days(record),
        "budget": budget(record["figure"]),
        "failures": requests,
        "latency": shares({_bucket(each): each["requests"] for each in record["latency"]["buckets"]}, ordered=False),
    }


def timeline(record: Record) -> list[Bar]:
    """The period's downtime, and over it what was excluded, where it lies in time."""
    start, end = read(record["period"]["from"]), read(record["period"]["to"])
    windows = [_bar(each["from"], each["to"], start, end, "down", "Downtime") for each in record["windows"]]
    excused = [
        _bar(window[0], window[1], start, end, "excluded", f"Excluded: {TYPES[each['type']]}")
        for each in record["exclusions"]
        if each["group"] is None
        for window in each["windows"]
    ]
    return windows + excused


def days(record: Record) -> list[tuple[int, str]]:
    """Where each seventh local day of the period begins, and its name."""
    zone = ZoneInfo(record["period"]["zone"])
    start, end = read(record["period"]["from"]), read(record["period"]["to"])
    first = datetime.fromtimestamp(start, UTC).astimezone(zone)
    begun = ((first + timedelta(days=ahead)) for ahead in range(0, 29, 7))
    named = ((int(each.timestamp()), f"{each:%d %B}".lstrip("0")) for each in begun)
    return [(WIDTH * (at - start) // (end - start), name) for at, name in named if at < end]


def _bar(from_: str, to: str, start_s: int, end_s: int, kind: str, what: str) -> Bar:
    x = WIDTH * (read(from_) - start_s) // (end_s - start_s)
    width = max(LEAST, WIDTH * (read(to) - read(from_)) // (end_s - start_s))
    return Bar(x=min(x, WIDTH - width), width=width, kind=kind, label=f"{what} from {moment(from_)} to {moment(to)}")


def budget(figure: Mapping[str, Any]) -> list[Bar]:
    """How much of the month's budget is used; none without one."""
    if figure["budget_seconds"] is None:
        return []
    allowed, used = Fraction(figure["budget_seconds"]), figure["downtime_seconds"]
    whole = max(allowed, Fraction(used))
    if not whole:
        return []
    spent = int(WIDTH * min(Fraction(used), allowed) / whole)
    over = WIDTH - int(WIDTH * allowed / whole)
    bars = [Bar(x=0, width=spent, kind="used", label=f"{duration(used)} of {duration(allowed)} used")]
    if over:
        bars.append(Bar(x=WIDTH - over, width=over, kind="over", label=f"{duration(used - allowed)} over the budget"))
    return bars


def shares(counts: Mapping[str, int], *, ordered: bool = True) -> Sequence[tuple[str, int, int]]:
    """``(name, count, width)`` of each that is not zero, the largest as wide as the drawing."""
    named = [(name, count) for name, count in counts.items() if count]
    most = max((count for _, count in named), default=1)
    bars = [(name, count, max(LEAST, WIDTH * count // most)) for name, count in named]
    return sorted(bars, key=lambda each: -each[1]) if ordered else bars


def _bucket(bucket: Mapping[str, Any]) -> str:
    bound = bucket["under_ms"]
    return "30 s or more" if bound is None else f"under {bound} ms" if bound < 1_000 else f"under {bound / 1_000:g} s"
