"""Examples of outcomes, data, reports and measures (O, D, R, K)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gateway.ledger.minutes import CLOSES_AFTER_US
from gateway.ledger.store import RETENTION_S
from policies.sla.counters import Counts, Flush, Key, is_acceptable, newest
from policies.sla.egress import FailedHost, is_egress_fault
from policies.sla.evidence import Basis, Row
from policies.sla.export import read as read_export
from policies.sla.export import write
from policies.sla.heartbeats import alive, dark
from policies.sla.histogram import Histogram, bucket_of, histogram_of, judge
from policies.sla.instants import read, written
from policies.sla.outcome import classify
from policies.sla.record import monthly
from policies.sla.revision import favours
from policies.sla.spans import Spans
from policies.sla.terms import terms_of
from policies.sla.verification import verification
from tests.gateway.sla_page.month import DAY, NOON, figure, traffic
from tests.gateway.sla_page.ways import RULES, example, examples
from tests.policies.sla_bases import basis_of, case_named, record_of
from tests.policies.sla_outcome_vectors import outcome

OURS = {"a managed upstream": "managed", "a third party's upstream": "third_party", "your own upstream": "customer"}
REQUESTS: dict[str, dict[str, Any]] = {
    r"a health check that fails": {"origin": "gateway", "status": 503, "internal": True, "reason": "internal_error"},
    r"429 because your limit is used up":
        {"origin": "gateway", "status": 429, "reason": "rate_limited", "over_limit": True},
    r"503 because we shed load while you are within your limit": {"origin": "gateway", "status": 503, "reason": "shed"},
    r"401 for a wrong key": {"origin": "gateway", "status": 401, "reason": "auth_failed"},
    r"401 because the key store is down": {"origin": "gateway", "status": 401, "reason": "auth_backend"},
    r"503 because the gateway restarts": {"origin": "gateway", "status": 503, "reason": "draining"},
    r"504 because (?P<owner>.+) was too slow": {"origin": "gateway", "status": 504, "reason": "upstream_timeout"},
    r"(?P<status>\d+) from (?P<owner>a managed upstream|a third party's upstream|your own upstream)":
        {"origin": "upstream"},
    r"(?P<status>\d+) from an upstream whose owner nobody declared": {"origin": "upstream"},
    r"(?P<status>\d+) from the upstream": {"origin": "upstream"},
    r"(?P<status>\d+) from the upstream, broken off by us": {"origin": "upstream", "truncated_by": "gateway"},
    r"a managed upstream fails, is asked again and answers (?P<status>\d+)":
        {"origin": "upstream", "upstream_owner": "managed"},
    r"you hang up after (?P<seconds>\d+) s": {"origin": "client"},
    r"you hang up after (?P<seconds>\d+) s while (?P<owner>.+) is silent":
        {"origin": "client", "phase": "upstream_wait"},
    r"you hang up after (?P<seconds>\d+) s while we check your key": {"origin": "client", "phase": "auth"},
}  # fmt: skip


def _class_of(given: Mapping[str, Any], found: Mapping[str, str]) -> str:
    made = dict(given)
    if "status" in found:
        made["status"] = int(found["status"])
    if "seconds" in found:
        made["elapsed_ms"] = int(found["seconds"]) * 1_000
    if "owner" in found:
        made["upstream_owner"] = OURS[found["owner"]]
    verdict, cause = classify(outcome(made))
    return f"{'does not count' if verdict == 'ignored' else verdict} ({cause})"


def _requests() -> None:
    for rule in (each for each in RULES if each.startswith("O")):
        for pattern, given in REQUESTS.items():
            if any(each.rule == rule and re.fullmatch(pattern, each.words) for each in examples()):
                names = list(re.compile(pattern).groupindex)
                example(rule, pattern)(
                    lambda *groups, given=given, names=names: _class_of(given, dict(zip(names, groups, strict=True)))
                )


_requests()


@example("O10", r"connections fail to (\d) hosts of (\d) vendors?, (\d) hosts are called")
def _(hosts: str, vendors: str, active: str) -> str:
    failed = [FailedHost(host=f"h{at}", vendor=f"v{at % int(vendors)}") for at in range(int(hosts))]
    return "ours" if is_egress_fault(int(active), failed) else "theirs"


def flush(sequence: int, requests: int, slot_s: int = NOON, received_at_s: int = NOON) -> Flush:
    key = Key(slot_s=slot_s, tenant="acme", group="g", replica="r", boot="b")
    return Flush(key=key, sequence=sequence, received_at_s=received_at_s, counts=Counts(good=requests))


@example("D1", r"number (\d) says (\d+) requests, number (\d) arrives after it and says (\d+)")
def _(one: str, says: str, other: str, less: str) -> str:
    (counts,) = newest([flush(int(one), int(says)), flush(int(other), int(less))]).values()
    return str(counts.good)


@example("D2", r"a minute from \S+ to (\d\d:\d\d:\d\d) is on the disk at the latest by")
def _(end: str) -> str:
    return written(read(f"2026-04-15T{end}Z") + CLOSES_AFTER_US // 1_000_000)[11:19]


@example("D3", r"signs at (\d+), (\d+), (\d+) and (\d+) s: alive until")
def _(*ticks: str) -> str:
    return f"{alive(map(int, ticks))[0][1]} s"


@example("D4", r"replica a dark from (\d+) to (\d+) min, replica b from (\d+) to (\d+) min")
def _(*edges: str) -> str:
    a, b, c, d = map(int, edges)
    lives: dict[str, list[Spans]] = {"a": [((-10, a), (b, 60))], "b": [((-10, c), (d, 60))]}
    (found,) = dark(lives, 1, (-10, 60))
    return f"dark from {found[0]} to {found[1]} min"


@example("D5", r"a minute that begins (\d+) s ahead")
def _(ahead: str) -> str:
    return "taken" if is_acceptable(flush(1, 1, NOON + int(ahead), NOON)) else "refused"


def down(cause: str, length: int) -> Basis:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    start = basis.head.period.start_s + DAY
    rows = [
        Row(slot_s=start + at * 60, tenant="acme", group="g", counts=Counts(failed={cause: 50})) for at in range(length)
    ]
    return replace(basis, rows=tuple(rows))


@example("D6", r"a failed minute arrives after the month was closed")
def _() -> str:
    return f"in the {favours(monthly(down('gateway', 6)), monthly(down('gateway', 7)))}'s favour"


@example("D6", r"a failure turns out to be a third party's after the month was closed")
def _() -> str:
    return f"in the {favours(monthly(down('gateway', 6)), monthly(down('third_party', 6)))}'s favour"


@example("D7", r"minutes are kept for at least")
def _() -> str:
    return f"{RETENTION_S // DAY} days"


@example("D8", r"the same evidence in another order")
def _() -> str:
    basis = down("gateway", 6)
    return "the same record" if monthly(replace(basis, rows=basis.rows[::-1])) == monthly(basis) else "another"


@example("D8", r"a request more fails: uptime")
def _() -> str:
    more = replace(traffic("BBBBGB"), failed={"gateway": {**traffic("BBBBGB").failed["gateway"], NOON + 240: 6}})
    before, after = figure(traffic("BBBBGB")).uptime, figure(more).uptime
    assert before is not None
    assert after is not None
    return "not higher" if after <= before else "higher"


@example("R1", r"verdict on ([\d.]+) % where ([\d.]+) % was promised")
def _(reached: str, target: str) -> str:
    record = record_of("just_under_99_0")
    assert (record["figure"]["uptime_percent"], record["figure"]["target_percent"]) == (reached, target)
    return str(record["figure"]["verdict"])


@example("R2", r"one counter of one minute is raised by (\d)")
def _(by: str) -> str:
    lines = list(write(down("gateway", 6)))
    at = next(at for at, line in enumerate(lines) if json.loads(line)["kind"] == "counters")
    value = json.loads(lines[at])
    value["failed"]["gateway"] += int(by)
    found = verification(read_export([*lines[:at], json.dumps(value) + "\n", *lines[at + 1 :]]))
    rows = [each for each in found.findings if each.what == "row"]
    return f"{'confirmed' if found.is_confirmed else 'not confirmed'}, {len(rows)} row named"


@example("K1", r"(\d+) requests, (\d+) failed by us, (\d+) refused over your limit")
def _(all_: str, failed: str, refused: str) -> str:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    good = int(all_) - int(failed) - int(refused)
    counts = Counts(good=good, failed={"gateway": int(failed), "own_limit": int(refused)})
    row = Row(slot_s=basis.head.period.start_s, tenant="acme", group="g", counts=counts)
    return f"{monthly(replace(basis, rows=(row,)))['requests']['success_percent']} % succeeded"


@example("K2", r"`(\d+)% under (\d+)ms`, (\d+) of (\d+) requests took less")
def _(share: str, under: str, quick: str, all_: str) -> str:
    (promise,) = terms_of({"latency": [{"share_percent": share, "under_ms": int(under)}]}).latency
    times = [promise.under_us - 1] * int(quick) + [promise.under_us] * (int(all_) - int(quick))
    return "met" if judge(histogram_of(times), promise).met else "missed"


@example("K2", r"a request that takes (\d+) ms is under (\d+) ms")
def _(took: str, under: str) -> str:
    counts = [0] * 13
    counts[bucket_of(int(took) * 1_000)] = 1
    (promise,) = terms_of({"latency": [{"share_percent": "100", "under_ms": int(under)}]}).latency
    return "yes" if judge(Histogram(counts=tuple(counts)), promise).under else "no"
