"""Examples of time, exclusions and months (T, X, P)."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

from gateway.sla.exporting import final_at_s
from policies.sla.counters import Counts, Key, traffic_of
from policies.sla.credit import band_of
from policies.sla.evaluate import Figure
from policies.sla.evidence import MINUTE_S, Call
from policies.sla.exclusions import Announcement, Exclusion, excused, rulings
from policies.sla.export import read as read_export
from policies.sla.export import write
from policies.sla.heartbeats import unreachable
from policies.sla.instants import read, written
from policies.sla.period import period
from policies.sla.spans import ALWAYS, Span, spans
from policies.sla.status import status
from policies.sla.terms import SlaTerms
from policies.sla.traffic import Traffic, bad_slots
from policies.sla.uptime import uptime_of_all
from policies.sla.uptime import written as shown
from policies.sla.verification import verification
from tests.gateway.sla_page.month import APRIL, DAY, HOUR, NOON, both, counted, figure, traffic
from tests.gateway.sla_page.ways import example, number
from tests.policies.sla_bases import basis_of, case_named


@example("T1", r"an answer that ends at (\d\d:\d\d:\d\d)\.(\d{3})")
def _(clock: str, milliseconds: str) -> str:
    known_us = read(f"2026-04-15T{clock}Z") * 1_000_000 + int(milliseconds) * 1_000
    basis = replace(basis_of(case_named("contract_not_in_force")), rows=(), alive=(), acts=())
    call = Call(id="r", known_us=known_us, status=200, group="g", cause="ok")
    (said,) = [each.name for each in verification(read_export(list(write(replace(basis, calls=(call,)))))).findings]
    return said[11:16]  # the minute in which a row would have to count it


@example("T2", r"([\d,]+) of ([\d,]+) requests fails?")
def _(failed: str, all_: str) -> str:
    own = Traffic(good={NOON: number(all_) - number(failed)}, failed={"gateway": {NOON: number(failed)}})
    return "bad" if bad_slots(own, SlaTerms(), (NOON, NOON + 60)) else "good"


@example("T3", r"(\d+) bad minutes in a row")
@example("T4", r"(\d+) bad minutes in a row")
def _(minutes: str) -> str:
    return counted(figure(traffic("B" * int(minutes))))


@example("T4", r"the state after (\d+) bad minutes")
def _(minutes: str) -> str:
    until_s = NOON + 60 * int(minutes)
    return status(figure(traffic("B" * int(minutes)), force=((0, until_s),)), until_s)


FLAPPING = "BBBBG" * 12


def degraded(found: Figure) -> str:
    return f"{found.downtime_seconds:,} s of downtime, {found.degraded_seconds:,} s degraded"


@example("T5", r"an hour of 4 bad minutes and 1 good minute in turn")
def _() -> str:
    return degraded(figure(traffic(FLAPPING)))


@example("T5", r"the same with `merge_gap: (\d+)s`")
def _(gap_s: str) -> str:
    return degraded(figure(traffic(FLAPPING), terms=SlaTerms(merge_gap_seconds=int(gap_s))))


@example("T6", r"(\d+) minutes with 1 failed request each and no other")
def _(minutes: str) -> str:
    return counted(figure(traffic("F" * int(minutes))))


@example("T6", r"the same with the third minute silent")
def _() -> str:
    return counted(figure(traffic("FFiFF")))


@example("T7", r"(\d) minutes of failures, (\d) of silence, (\d) of failures")
def _(before: str, silence: str, after: str) -> str:
    return counted(figure(traffic("B" * int(before) + "i" * int(silence) + "B" * int(after))))


@example("T8", r"no live replica for (\d+) min (\d+) s")
@example("X9", r"no live replica for (\d+) min (\d+) s while a third party's upstream fails")
def _(minutes: str, seconds: str) -> str:
    end = NOON + 60 * int(minutes) + int(seconds)
    failing = Traffic(failed={"third_party": {NOON + at * 60: 50 for at in range(int(minutes))}})
    return counted(figure(failing, dark=((NOON, end),)))


@example("T9", r"(\d+) minutes in which (\d) of (\d) vantage points fails?")
def _(minutes: str, failing: str, points: str) -> str:
    failed = ((NOON, NOON + 60 * int(minutes)),)
    return counted(
        figure(Traffic(), dark=unreachable({str(at): failed if at < int(failing) else () for at in range(int(points))}))
    )


@example("T10", r"(\d+) bad minutes of the platform while (you send nothing|your requests succeed)")
def _(minutes: str, what: str) -> str:
    own = Traffic() if what == "you send nothing" else traffic("G" * int(minutes))
    return counted(figure(own, platform=traffic("B" * int(minutes))))


@example("T11", r"bad from (23:\d\d) on 30 April to (00:\d\d) on 1 May")
def _(from_: str, to: str) -> str:
    start, end = read(f"2026-04-30T{from_}:00Z"), read(f"2026-05-01T{to}:00Z")
    own = traffic("B" * ((end - start) // 60), at_s=start)
    return f"{counted(figure(own))} in April, {counted(figure(own, month=period('2026-05')))} in May"


def minutes(first: str | int, last: str | int) -> Span:
    """From the beginning of the one to the end of the other; they count from 1."""
    return NOON + 60 * (int(first) - 1), NOON + 60 * int(last)


def approved(window: Span, **more: Any) -> Exclusion:
    given = {"id": "x", "type": "force_majeure", "recorded_at_s": APRIL.end_s, "approved": True, **more}
    return Exclusion(window=window, **given)


def announced(*told: tuple[int, Span], **more: Any) -> Exclusion:
    made = tuple(Announcement(at_s=window[0] - before_s, from_s=window[0], to_s=window[1]) for before_s, window in told)
    return Exclusion(**{"id": "m", "type": "scheduled_maintenance", "announcements": made, **more})


def ruling(exclusion: Exclusion) -> str:
    (found,) = rulings([exclusion], SlaTerms(), "acme", ALWAYS, APRIL.end_s)
    return found.verdict if found.reason is None else f"{found.verdict}: {found.reason}"


@example("X1", r"(\d+) bad minutes, all failures of a group that is excused")
def _(bad: str) -> str:
    exclusion = approved(minutes(1, bad), group="crm")
    ruled = rulings([exclusion], SlaTerms(), "acme", ALWAYS, APRIL.end_s)
    counts = {
        Key(slot_s=NOON + 60 * at, tenant="acme", group="crm", replica="r", boot="b"): Counts(failed={"gateway": 60})
        for at in range(int(bad))
    }
    return both(figure(traffic_of(counts, MINUTE_S, excused=excused(ruled)), exclusions=[exclusion]))


@example("X2", r"(\d+) bad minutes, excluded are minutes (\d+) to (\d+) and (\d+) to (\d+)")
def _(bad: str, *edges: str) -> str:
    windows = [approved(minutes(*edges[:2]), id="a"), approved(minutes(*edges[2:]), id="b")]
    return both(figure(traffic("B" * int(bad)), exclusions=windows))


@example("X3", r"(\d+) bad minutes, excluded are minutes (\d+) to (\d+)")
def _(bad: str, first: str, last: str) -> str:
    return both(figure(traffic("B" * int(bad)), exclusions=[approved(minutes(first, last))]))


@example("X4", r"announced (\d+) h (\d+) min (\d+) s before")
def _(hours: str, min_: str, s: str) -> str:
    return ruling(announced((int(hours) * HOUR + int(min_) * 60 + int(s), minutes(1, 60))))


@example("X5", r"(\d) h announced in time, extended to (\d) h an hour before, all of it down")
def _(first: str, then: str) -> str:
    exclusion = announced((3 * DAY, minutes(1, 60 * int(first))), (HOUR, minutes(1, 60 * int(then))))
    return both(figure(traffic("B" * 60 * int(then)), exclusions=[exclusion]))


@example("X6", r"(\d) h announced and down, worked on for (\d+) min")
def _(hours: str, worked: str) -> str:
    exclusion = announced((3 * DAY, minutes(1, 60 * int(hours))), actual=minutes(1, worked))
    return both(figure(traffic("B" * 60 * int(hours)), exclusions=[exclusion]))


@example("X7", r"(\d) windows of 1 h announced and down, `maintenance_cap: (\d)h`")
def _(windows: str, cap: str) -> str:
    asked = [announced((3 * DAY, minutes(1 + 60 * at, 60 + 60 * at)), id=f"m{at}") for at in range(int(windows))]
    terms = SlaTerms(maintenance_cap_seconds=int(cap) * HOUR)
    return both(figure(traffic("B" * 60 * int(windows)), exclusions=asked, terms=terms))


@example("X8", r"force majeure, recorded and (not )?approved")
def _(not_: str | None) -> str:
    return ruling(approved(minutes(1, 60), approved=not_ is None))


@example("X8", r"force majeure, recorded (\d) d 0 h 0 min (\d) s after the month")
def _(days: str, s: str) -> str:
    return ruling(approved(minutes(1, 60), recorded_at_s=APRIL.end_s + int(days) * DAY + int(s)))


MONTHS = {"March 2026": "2026-03", "April 2026": "2026-04"}


@example("P1", r"(\w+ 2026) in (\S+)")
def _(month: str, zone: str) -> str:
    return f"{period(MONTHS[month], zone).seconds:,} s"


@example("P2", r"(April 2026), ([\d,]+) s of downtime")
def _(month: str, downtime: str) -> str:
    found = figure(Traffic(), dark=((NOON, NOON + number(downtime)),), month=period(MONTHS[month]))
    return f"{found.uptime_percent} %"


@example("P2", r"(April 2026), in force from the (\d+)th on, ([\d,]+) s of downtime")
def _(month: str, day: str, downtime: str) -> str:
    start = read(f"{MONTHS[month]}-{day}T00:00:00Z")
    found = figure(Traffic(), dark=((start, start + number(downtime)),), force=spans([(start, ALWAYS[0][1])]))
    return f"{found.uptime_percent} %"


@example("P3", r"April 2026, not in force on any day")
def _() -> str:
    return figure(Traffic(), force=()).uptime_percent or "no data"


@example("P4", r"shown of ([\d.]+) %")
def _(exactly: str) -> str:
    return f"{shown(Fraction(exactly), SlaTerms().display_decimals)} %"


@example("P5", r"credit at ([\d.]+) %")
def _(reached: str) -> str:
    band = band_of(Fraction(reached), SlaTerms())
    assert band is not None
    return f"{band.credit} %{' and the right to terminate' * band.termination}"


@example("P6", r"April 2026 in UTC may be closed from")
def _() -> str:
    return written(final_at_s(APRIL))


@example("P7", r"January to March 2026 with ([\d,]+) s, ([\d,]+) s and ([\d,]+) s of downtime")
def _(*downtimes: str) -> str:
    months = [period(f"2026-0{at}") for at in (1, 2, 3)]
    return f"{shown(uptime_of_all([(number(d), m.seconds) for d, m in zip(downtimes, months, strict=True)]), 4)} %"
