"""The quarterly report of three monthly records (spec P7, R1): sums of seconds, never a mean of percentages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from policies.sla.period import months_of, period
from policies.sla.record import SCHEMA, SHARE_DECIMALS, Record
from policies.sla.support import SEVERITIES
from policies.sla.uptime import uptime_of_all, written

SUMMED: Final = (
    "force_seconds", "judged_seconds", "gross_downtime_seconds", "excluded_seconds", "downtime_seconds",
    "degraded_seconds",
)  # fmt: skip


def quarterly(records: Iterable[Record]) -> Record:
    """The report. Raises ``ValueError`` for records of another tenant or zone, or of months that are no quarter."""
    months = sorted(records, key=lambda record: str(record["period"]["name"]))
    name, zone = _quarter(months), months[0]["period"]["zone"]
    return {
        "kind": "quarterly",
        "schema": SCHEMA,
        "tenant": months[0]["tenant"],
        "period": {"name": name, "zone": zone, "from": months[0]["period"]["from"], "to": months[-1]["period"]["to"]},
        "provisional": any(each["provisional"] for each in months),
        "synthetic": any(each["synthetic"] for each in months),
        "figure": _figure(months),
        "requests": _requests(months),
        "support": _support(months),
        "months": [_month(each) for each in months],
        "violations": [{"period": each["period"]["name"], **said} for each in months for said in each["violations"]],
    }


def _quarter(months: Sequence[Record]) -> str:
    if len(months) != 3 or any(each["kind"] != "monthly" for each in months):
        raise ValueError("a quarter is made of three monthly records")
    if len({(each["tenant"], each["period"]["zone"]) for each in months}) != 1:
        raise ValueError("the three records are not of one tenant and one zone")
    first = str(months[0]["period"]["name"])
    name = f"{first[:4]}-Q{(int(first[5:]) + 2) // 3}"
    if [each["period"]["name"] for each in months] != [each.name for each in months_of(period(name))]:
        raise ValueError(f"{', '.join(each['period']['name'] for each in months)} are not the months of {name}")
    return name


def _figure(months: Sequence[Record]) -> Record:
    parts = [(each["figure"]["downtime_seconds"], each["figure"]["judged_seconds"]) for each in months]
    uptime = uptime_of_all(parts)
    decimals = max(each["sla"]["terms"]["display_decimals"]["value"] for each in months)
    budgets = [each["figure"]["budget_seconds"] for each in months]
    return {
        "uptime_percent": written(uptime, decimals),
        "uptime_exact": None if uptime is None else str(uptime),
        **{name: sum(each["figure"][name] for each in months) for name in SUMMED},
        "budget_seconds": None if None in budgets else f"{sum(map(Decimal, budgets)):f}",
    }


def _requests(months: Sequence[Record]) -> Record:
    good, eligible, total = (sum(each["requests"][name] for each in months) for name in ("good", "eligible", "total"))
    return {
        "total": total, "eligible": eligible, "good": good,
        "bad": _added(each["requests"]["bad"] for each in months),
        "ignored": _added(each["requests"]["ignored"] for each in months),
        "success_percent": written(Fraction(100 * good, eligible) if eligible else None, SHARE_DECIMALS),
    }  # fmt: skip


def _support(months: Sequence[Record]) -> Record | None:
    """Cases of three months by severity. A target may have changed between them: the last one is shown."""
    parts = [each["support"] for each in months if each["support"] is not None]
    if not parts:
        return None
    rows = [[part["severities"][at] for part in parts] for at in range(len(SEVERITIES))]
    return {"severities": [_severity(each) for each in rows]}


def _severity(parts: Sequence[Record]) -> Record:
    sums = {name: sum(each[name] for each in parts) for name in ("cases", "in_time", "late", "pending")}
    judged = sums["in_time"] + sums["late"]
    share = written(Fraction(100 * sums["in_time"], judged) if judged else None, SHARE_DECIMALS)
    return {"severity": parts[-1]["severity"], "target": parts[-1]["target"], **sums, "share_percent": share}


def _added(counts: Iterable[dict[str, int]]) -> dict[str, int]:
    summed: Counter[str] = Counter()
    for each in counts:
        summed.update(each)
    return dict(sorted(summed.items()))


def _month(record: Record) -> dict[str, Any]:
    figure = record["figure"]
    return {
        "period": record["period"]["name"],
        **{name: figure[name] for name in ("uptime_percent", "target_percent", "verdict", "budget_seconds", *SUMMED)},
        "success_percent": record["requests"]["success_percent"],
        "credit_percent": record["credit"]["percent"],
        "credit_amount": record["credit"]["amount"],
        "claim_before": record["credit"]["claim_before"],
        "revision": record["revision"],
        "input_sha256": record["input_sha256"],
    }
