"""The monthly record of a tenant, or of the platform, as one canonical JSON value (spec R1, K1, K2, D6).

It is made from a ``Basis`` alone and says the hash of it, so that whoever holds the evidence can make it again. HTML
and CSV derive from it alone; quarters are ``quarter``, differences of revisions ``revision``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final

from policies.sla.acts import Request
from policies.sla.budget import exact, used_percent
from policies.sla.canonical import percent
from policies.sla.chain import ORIGIN, Link, Withheld
from policies.sla.claim import deadline
from policies.sla.counters import Counts
from policies.sla.credit import left, monthly_fee
from policies.sla.evaluate import Figure, Window
from policies.sla.evidence import Basis, Head, asked, counted, figure
from policies.sla.evidence_form import input_sha256, plain, terms_value, version_value
from policies.sla.exclusions import Ruling, excluded
from policies.sla.histogram import BOUNDS_US, BUCKETS, Histogram, Judgement, judge, quantile
from policies.sla.instants import written as instant
from policies.sla.layers import UNSAID
from policies.sla.period import months_before
from policies.sla.spans import Span, intersection, length
from policies.sla.support_record import broken, support_record
from policies.sla.uptime import written

Record = dict[str, Any]

SCHEMA: Final = 1
QUANTILES: Final = (50, 90, 95, 99)
SYNTHETIC: Final = "synthetic"
"""The kind of the act by which a log says that all of it was made up; every record of such a log says so too."""
SHARE_DECIMALS: Final = 4
"""Of shares that are shown; like uptime they are cut and never rounded."""


def monthly(basis: Basis, seals: Iterable[str] | None = None) -> Record:
    """The record. Raises ``ValueError`` for a log of acts that makes no sense.

    ``seals`` are the digests of the evidence's lines in their order, for who has computed them already.
    """
    found, counts, head = figure(basis), counted(basis), basis.head
    latency, support = _latency(counts, head), support_record(basis)
    return {
        "kind": "monthly",
        "schema": SCHEMA,
        "tenant": head.tenant,
        "period": _period(head),
        "revision": head.revision,
        "provisional": head.is_provisional,
        "synthetic": _is_synthetic(basis),
        "input_sha256": input_sha256(basis, seals),
        "figure": _figure(found, head),
        "windows": [_window(each, found.exclusions) for each in found.windows],
        "incidents": _incidents(found.windows),
        "exclusions": [_exclusion(each, requested) for each, requested in _with_requests(found, basis)],
        "requests": _requests(counts, head),
        "latency": latency,
        "support": support,
        "credit": _credit(found, head),
        "violations": _violations(found, latency, support, head),
        "sla": _sla(head),
        "log": _log(basis),
    }


def _period(head: Head) -> Record:
    period = head.period
    return {
        "name": period.name, "zone": period.zone, "from": instant(period.start_s), "to": instant(period.end_s),
        "seconds": period.seconds, "known_until": instant(head.known_until_s),
        "published_at": None if head.published_at_s is None else instant(head.published_at_s),
    }  # fmt: skip


def _is_synthetic(basis: Basis) -> bool:
    return any(isinstance(each, Link) and each.act.kind == SYNTHETIC for each in basis.acts)


def _figure(found: Figure, head: Head) -> Record:
    terms = head.terms
    used = used_percent(found.downtime_seconds, found.budget_seconds)
    return {
        "uptime_percent": found.uptime_percent,
        "uptime_exact": None if found.uptime is None else str(found.uptime),
        "target_percent": None if terms.target is None else plain(terms.target),
        "verdict": verdict(found),
        "scope": terms.scope,
        "force_seconds": found.force_seconds,
        "judged_seconds": found.judged_seconds,
        "gross_downtime_seconds": found.gross_downtime_seconds,
        "excluded_seconds": found.excluded_seconds,
        "downtime_seconds": found.downtime_seconds,
        "degraded_seconds": found.degraded_seconds,
        "exclusion_window_seconds": found.exclusion_window_seconds,
        "budget_seconds": None if found.budget_seconds is None else exact(found.budget_seconds),
        "budget_used_percent": written(used, 2),
    }


def verdict(found: Figure) -> str:
    """``met`` or ``missed``; ``no_data`` and ``no_promise`` are neither (P3, V6)."""
    if found.uptime is None:
        return "no_data"
    return "no_promise" if found.met is None else "met" if found.met else "missed"


def _window(window: Window, ruled: Sequence[Ruling]) -> Record:
    span: Span = (window.from_s, window.to_s)
    causes = sorted(window.causes.items(), key=lambda each: (-each[1], each[0]))
    return {
        "from": instant(window.from_s),
        "to": instant(window.to_s),
        "seconds": window.to_s - window.from_s,
        "excluded_seconds": length(intersection((span,), excluded(ruled))),
        "errors": window.errors,
        "eligible": window.eligible,
        "causes": [{"cause": name, "errors": count, **_share(count, window.errors)} for name, count in causes],
        "dark_seconds": window.dark_seconds,
        "inherited_seconds": window.inherited_seconds,
    }


def _incidents(windows: Sequence[Window]) -> Record:
    """K1: number, longest, and the mean time until it was good again."""
    lengths = [each.to_s - each.from_s for each in windows]
    mean = Fraction(sum(lengths), len(lengths)) if lengths else None
    return {"count": len(lengths), "longest_seconds": max(lengths, default=0), "mean_seconds": written(mean, 1)}


def _with_requests(found: Figure, basis: Basis) -> list[tuple[Ruling, Request]]:
    requested = {each.exclusion.id: each for each in asked(basis)}
    return [(ruling, requested[ruling.exclusion.id]) for ruling in found.exclusions if _concerns(ruling, basis.head)]


def _concerns(ruling: Ruling, head: Head) -> bool:
    """Whether it is about this period: what was asked for other months is in their records."""
    start, end = head.period.start_s, head.period.end_s
    return ruling.reason != "other_tenant" and any(from_s < end and to_s >= start for from_s, to_s in _asked(ruling))


def _asked(ruling: Ruling) -> list[Span]:
    asked_ = ruling.exclusion
    return [(each.from_s, each.to_s) for each in asked_.announcements] or [asked_.window]


def _exclusion(ruling: Ruling, requested: Request) -> Record:
    exclusion = ruling.exclusion
    return {
        "id": exclusion.id,
        "type": exclusion.type,
        "group": exclusion.group,
        "verdict": ruling.verdict,
        "reason": ruling.reason,
        "seconds": ruling.seconds,
        "windows": [_pair(each) for each in ruling.spans],
        "asked": _pair(_asked(ruling)[-1]),
        "announced_at": [instant(each.at_s) for each in exclusion.announcements],
        "actual": None if exclusion.actual is None else _pair(exclusion.actual),
        "recorded_at": None if exclusion.recorded_at_s is None else instant(exclusion.recorded_at_s),
        "approved": exclusion.approved,
        "recorded_by": requested.by,
        "notes": list(requested.notes),
    }


def _pair(span: Span) -> list[str]:
    return [instant(span[0]), instant(span[1])]


def _requests(counts: Counts, head: Head) -> Record:
    """K1: the success rate is of the requests that count, beside what a figure of time cannot show."""
    bad = {cause: count for cause, count in sorted(counts.failed.items()) if cause in head.terms.causes and count}
    ignored = {cause: count for cause, count in sorted(counts.failed.items()) if cause not in bad and count}
    eligible = counts.good + sum(bad.values())
    return {
        "total": eligible + sum(ignored.values()),
        "eligible": eligible,
        "good": counts.good,
        "bad": bad,
        "ignored": ignored,
        "success_percent": _share(counts.good, eligible)["share_percent"],
    }


def _share(part: int, whole: int) -> dict[str, str | None]:
    return {"share_percent": written(Fraction(100 * part, whole) if whole else None, SHARE_DECIMALS)}


def _latency(counts: Counts, head: Head) -> Record:
    histogram = Histogram(counts=counts.latency or (0,) * BUCKETS)
    return {
        "requests": histogram.total,
        "buckets": [
            {"under_ms": None if bound is None else bound // 1_000, "requests": count}
            for bound, count in zip((*BOUNDS_US, None), histogram.counts, strict=True)
        ],
        "commitments": [_judgement(judge(histogram, each)) for each in head.terms.latency],
        "estimates": [each for at in QUANTILES if (each := _estimate(histogram, at)) is not None],
    }


def _judgement(found: Judgement) -> Record:
    """Exact: the time that is promised is a bound of the buckets."""
    return {
        "promised": {"share_percent": percent(found.commitment.share), "under_ms": found.commitment.under_us // 1_000},
        "requests": found.total,
        "under": found.under,
        "share_percent": written(None if found.share is None else 100 * found.share, SHARE_DECIMALS),
        "met": found.met,
        "exact": True,
    }


def _estimate(histogram: Histogram, at_percent: int) -> Record | None:
    found = quantile(histogram, Fraction(at_percent, 100))
    if found is None:
        return None
    return {"percent": at_percent, "ms": written(found.us / 1_000, 1), "at_least": found.at_least, "exact": False}


def _credit(found: Figure, head: Head) -> Record:
    terms = head.terms
    because = termination_reasons(found, head)
    due = found.credit_percent > 0 or bool(because)
    until = deadline(head.period.end_s, head.published_at_s, terms.zone, terms.claim_days) if due else None
    return {
        "percent": plain(found.credit_percent),
        "fee": None if head.fee is None else {"amount": f"{head.fee.amount:f}", "currency": head.fee.currency},
        "amount": _amount(found, head),
        "termination_right": bool(because),
        "termination_reasons": because,
        "missed_before": list(head.missed_before),
        "credited_before": f"{head.credited_before:f}",
        "claim_before": None if until is None else instant(until),
        "automatic": terms.auto_claim,
    }


def termination_reasons(found: Figure, head: Head) -> list[str]:
    """``uptime``: the band gives the right; ``chronic``: this month's miss fills the number of missed ones (C5).

    A month that was met gives no right again, however many were missed before it.
    """
    chronic = head.terms.chronic
    reasons = ["uptime"] if found.termination_right else []
    if chronic is None or found.met is not False:
        return reasons
    earliest = months_before(head.period.name, chronic.months - 1)
    missed = 1 + sum(name >= earliest for name in head.missed_before)
    return [*reasons, "chronic"] if missed >= chronic.misses else reasons


def _amount(found: Figure, head: Head) -> str | None:
    """What the cap leaves of it (C1, C2); None where no fee is known."""
    fee = head.fee
    if fee is None:
        return None
    month = monthly_fee(fee.amount, found.force_seconds, head.period.seconds, months=fee.months)
    return f"{left(month, found.credit_percent, head.terms.cap, fee.currency, head.credited_before):f}"


def _violations(found: Figure, latency: Record, support: Record | None, head: Head) -> list[Record]:
    """What was promised and not kept."""
    missed: list[Record] = []
    if found.met is False and head.terms.target is not None:
        promised, reached = plain(head.terms.target), found.uptime_percent
        missed.append({"of": "uptime", "promised_percent": promised, "reached_percent": reached})
    for each in latency["commitments"]:
        if each["met"] is False:
            promised = each["promised"]
            missed.append({
                "of": f"latency under {promised['under_ms']} ms", "promised_percent": promised["share_percent"],
                "reached_percent": each["share_percent"],
            })  # fmt: skip
    return missed + ([] if support is None else broken(support))


def _sla(head: Head) -> Record:
    """V4: each term with the layer that it comes from."""
    return {
        "version": version_value(head),
        "terms": {
            name: {"value": value, "from": head.provenance.get(name, UNSAID)}
            for name, value in terms_value(head.terms).items()
        },
        "owners": dict(sorted(head.owners.items())),
        "contract": [None if end is None else instant(end) for end in head.contract],
    }


def _log(basis: Basis) -> Record:
    """How far the log of acts went: the next record's must go on from there."""
    withheld = Counter(isinstance(each, Withheld) for each in basis.acts)[True]
    return {"acts": len(basis.acts), "withheld": withheld, "tip": basis.acts[-1].hash if basis.acts else ORIGIN}
