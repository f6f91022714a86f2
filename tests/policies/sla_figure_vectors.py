"""The kinds of case about a period's figure: its availability, the sum of several, the budget it leaves."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from policies.sla.budget import downtime_budget, exact, whole_seconds
from policies.sla.evaluate import MARGIN_S, Account, Evidence, Figure, evaluate
from policies.sla.exclusions import Announcement, Exclusion
from policies.sla.heartbeats import dark
from policies.sla.period import period
from policies.sla.spans import ALWAYS, Span, Spans, difference, spans, union
from policies.sla.terms import FIELDS, SlaTerms, terms_of
from policies.sla.traffic import Traffic
from policies.sla.uptime import uptime_of_all, written
from tests.policies.vector_shapes import (
    Case,
    Kind,
    array,
    count,
    decimal,
    either,
    expecting,
    flag,
    instant,
    month,
    nullable,
    record,
    row,
    seconds,
    table,
)

GOOD: Mapping[str, Any] = {"total": 100}
"""The content of a slot that a case says nothing of."""


def evaluated(case: Case) -> Figure:
    """The figure that an ``availability`` case asks for."""
    given, terms = case["input"], terms_of({key: case["policy"][key] for key in case["policy"] if key in FIELDS})
    of = period(case["period"]["month"], case["period"].get("tz", terms.zone))
    seen = (of.start_s - MARGIN_S, of.end_s + MARGIN_S)
    own = _traffic(given, terms, seen)
    platform = _traffic(given["platform"], terms, seen) if "platform" in given else own  # then it is the only tenant
    evidence = Evidence(traffic=own, platform=platform, dark=_dark(given, terms, seen))
    exclusions = [_exclusion(str(at), each) for at, each in enumerate(case["exclusions"])]
    return evaluate(evidence, exclusions, terms, of, Account(tenant=case["tenant"], contract=_contract(given)))


def _availability(case: Case) -> Mapping[str, object]:
    found = evaluated(case)
    return {
        "gross_downtime_seconds": found.gross_downtime_seconds,
        "excluded_seconds": found.excluded_seconds,
        "downtime_seconds": found.downtime_seconds,
        "degraded_seconds": found.degraded_seconds,
        "uptime_percent": found.uptime_percent,
        "credit_percent": str(found.credit_percent),
        "termination_right": found.termination_right,
        "exclusion_window_seconds": found.exclusion_window_seconds,
        "windows": [[each.from_s, each.to_s] for each in found.windows],
        "period_seconds": found.force_seconds,
    }


def named_slots(given: Mapping[str, Any], slot_seconds: int) -> Mapping[int, Mapping[str, Any]]:
    """The content of the slots in runs, by their start; a later run replaces an earlier one."""
    named: dict[int, Mapping[str, Any]] = {}
    for run in given.get("runs", ()):
        start = seconds(run["from"])
        named.update({start + at * slot_seconds: run for at in range(run["slots"])})
    return named


def _traffic(given: Mapping[str, Any], terms: SlaTerms, seen: Span) -> Traffic:
    slots = range(seen[0] - seen[0] % terms.slot_seconds, seen[1], terms.slot_seconds)
    background = given.get("background", GOOD)
    good = dict.fromkeys(slots, _good(background))
    failed = {cause: dict.fromkeys(slots, number) for cause, number in _failed(background).items()}
    for start, content in named_slots(given, terms.slot_seconds).items():
        good[start] = _good(content)
        for cause in {*failed, *_failed(content)}:
            failed.setdefault(cause, {})[start] = _failed(content).get(cause, 0)
    return Traffic(good=good, failed=failed)


def _good(content: Mapping[str, Any]) -> int:
    good: int = content.get("total", 0) - sum(content.get("err", {}).values())
    assert good >= 0, f"more failures than requests in {content}"
    return good


def _failed(content: Mapping[str, Any]) -> dict[str, int]:
    """``total`` never held the ignored ones, which have no effect whatever the terms count."""
    ignored = {cause: number for cause, number in content.get("ignored", {}).items() if cause not in CAUSES}
    return {**ignored, **content.get("err", {})}


def _dark(given: Mapping[str, Any], terms: SlaTerms, seen: Span) -> Spans:
    told = spans(map(span_of, given.get("dark", ())))
    if "dark_by_replica" not in given:
        return told
    alive = {
        replica: [difference((seen,), spans(map(span_of, pairs)))]
        for replica, pairs in given["dark_by_replica"].items()
    }
    return union(told, dark(alive, terms.alive_quorum, seen))


def span_of(pair: list[str]) -> Span:
    return seconds(pair[0]), seconds(pair[1])


def _contract(given: Mapping[str, Any]) -> Spans:
    ends = given.get("contract", {})
    start, end = ends.get("from"), ends.get("to")
    return spans([(seconds(start) if start else ALWAYS[0][0], seconds(end) if end else ALWAYS[0][1])])


def _exclusion(id: str, given: Mapping[str, Any]) -> Exclusion:
    actual = given.get("actual")
    return Exclusion(
        id=id,
        type=given["type"],
        announcements=tuple(_announcement(each) for each in given.get("announcements", ())),
        actual=None if actual is None else span_of([actual["from"], actual["to"]]),
        window=span_of([given["from"], given["to"]]) if "from" in given else (0, 0),
        recorded_at_s=seconds(given["recorded_at"]) if "recorded_at" in given else None,
        approved=given.get("approved", False),
        tenant=given.get("tenant"),
    )


def _announcement(given: Mapping[str, Any]) -> Announcement:
    return Announcement(
        at_s=seconds(given["at"]),
        from_s=seconds(given["from"]),
        to_s=seconds(given["to"]),
        cancelled=given.get("cancelled", False),
    )


CAUSES = ("gateway", "managed_upstream", "third_party", "customer")
IGNORED = ("internal", "client_abort", "own_limit", "client_error", "upstream_throttle", *CAUSES[2:])
COUNTS = {"total": count, "err": table(count, *CAUSES), "ignored": table(count, *IGNORED)}
RUNS = array(record({"from": instant, "slots": count}, COUNTS))
TRAFFIC = {"background": record({}, COUNTS), "runs": RUNS}
PAIRS = array(row(instant, instant))
AVAILABILITY = Kind(
    input=record(
        {},
        {
            **TRAFFIC, "platform": record({}, TRAFFIC), "dark": PAIRS, "dark_by_replica": table(PAIRS),
            "contract": record({}, {"from": nullable(instant), "to": nullable(instant)}),
        },
    ),
    expect=expecting({
        "gross_downtime_seconds": count, "excluded_seconds": count, "downtime_seconds": count,
        "degraded_seconds": count, "uptime_percent": nullable(decimal), "credit_percent": decimal,
        "termination_right": flag, "exclusion_window_seconds": count, "windows": PAIRS, "period_seconds": count,
    }),
    run=_availability,
)  # fmt: skip


def _quarter(case: Case) -> Mapping[str, object]:
    parts = [(each["downtime_seconds"], each["period_seconds"]) for each in case["input"]["months"]]
    return {"uptime_percent": written(uptime_of_all(parts), case["policy"]["display_decimals"])}


QUARTER = Kind(
    input=record({"months": array(record({"downtime_seconds": count, "period_seconds": count}))}),
    expect=expecting({"uptime_percent": nullable(decimal)}),
    run=_quarter,
)


def _budget(case: Case) -> Mapping[str, object]:
    given = case["input"]
    judged_s = period(str(given.get("month", given.get("year")))).seconds
    allowed_s = downtime_budget(judged_s, Decimal(given["target"]))
    assert allowed_s is not None
    return {
        "period_seconds": judged_s,
        "allowed_seconds": exact(allowed_s),
        "max_whole_seconds": whole_seconds(allowed_s),
    }


BUDGET = Kind(
    input=either(record({"target": decimal, "month": month}), record({"target": decimal, "year": count})),
    expect=expecting({"period_seconds": count, "allowed_seconds": decimal, "max_whole_seconds": count}),
    run=_budget,
)


KINDS: Mapping[str, Kind] = {"availability": AVAILABILITY, "quarter": QUARTER, "budget": BUDGET}
