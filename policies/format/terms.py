"""SLA, support, calendars and maintenance of a policy set as the values that the calculator takes.

Field names are those of spec sla.md section 15, so that what is written and what is computed cannot drift. Bands and
clocks are checked here; nothing is evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import pairwise
from types import MappingProxyType
from typing import Final

from policies.format.report import Loc, Place, Report
from policies.format.units import SECOND_US, closest, short
from policies.model import Attain, BusinessTime, Calendar, Maintenance, Support
from policies.schema import BandForm, CalendarForm, MaintenanceForm, SlaForm, SupportForm
from policies.sla.canonical import percent
from policies.sla.histogram import Commitment

ALWAYS: Final = "24x7"
DEFAULT_TARGET: Final = Decimal("99.9")
_SECONDS: Final = (
    "slot", "min_run", "max_bridge", "merge_gap", "maintenance_notice", "maintenance_cap", "exclusion_record",
)  # fmt: skip
_AS_WRITTEN: Final = (
    "target", "zone", "scope", "min_run_errors", "min_requests_per_slot", "idle_inherits_platform", "alive_quorum",
    "denominator", "display_decimals", "claim_days", "sla_change_notice_days", "auto_claim",
)  # fmt: skip
_LISTS: Final = ("counted_causes", "excluded_causes")
SEVERITIES: Final = ("S1", "S2", "S3", "S4")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def sla_fields(form: SlaForm) -> Mapping[str, object]:
    """What ``form`` sets, under the names of spec sla.md section 15; what it leaves out is absent."""
    given = form.model_fields_set
    made: dict[str, object] = {name: getattr(form, name) for name in _AS_WRITTEN if name in given}
    for name in _SECONDS:
        if name in given:
            value = getattr(form, name)
            made[f"{name}_seconds"] = None if value is None else value // SECOND_US
    made.update({name: tuple(getattr(form, name) or ()) for name in _LISTS if name in given})
    if form.threshold is not None:
        made["threshold_percent"] = form.threshold
    if form.client_patience is not None:
        made["client_patience_ms"] = form.client_patience // 1_000
    if form.bands is not None:
        made["bands"] = tuple(_band(band) for band in form.bands)
    if form.cap is not None:
        made["cap"] = MappingProxyType({"percent": form.cap.percent, "window": form.cap.window})
    if form.latency is not None:
        made["latency"] = tuple(_latency(each) for each in form.latency)
    if "chronic" in given:
        chronic = form.chronic
        made["chronic"] = chronic and MappingProxyType({"misses": chronic.misses, "months": chronic.months})
    if form.internal is not None:
        latency = tuple(_latency(each) for each in form.internal.latency)
        made["internal"] = MappingProxyType({"target": form.internal.target, "latency": latency})
    return MappingProxyType(made)


def _band(band: BandForm) -> Mapping[str, object]:
    return MappingProxyType({"min": band.min, "credit": band.credit, "termination": band.termination})


def _latency(commitment: Commitment) -> Mapping[str, object]:
    share_percent = Decimal(percent(commitment.share))
    return MappingProxyType({"share_percent": share_percent, "under_ms": commitment.under_us // 1_000})


def check_sla(form: SlaForm, inherited: Mapping[str, object], place: Place, loc: Loc, report: Report) -> None:
    """Bands against the target (spec P5), seconds that are whole, causes that are counted once.

    A layer that changes the target and not the bands moves the first band's edge with it, so that edge must stay
    above the second.
    """
    target = form.target if "target" in form.model_fields_set else inherited.get("target", DEFAULT_TARGET)
    if form.bands is not None:
        _check_bands(form.bands, target if isinstance(target, Decimal) else None, place, (*loc, "bands"), report)
    elif isinstance(form.target, Decimal):
        _check_moved_edge(form.target, inherited.get("bands"), place, (*loc, "target"), report)
    for name in _SECONDS:
        value = getattr(form, name)
        if value is not None and value % SECOND_US:
            report.add("TG111", place, (*loc, name), "the SLA counts whole seconds", "write 1s or more")
    if form.slot == 0:
        report.add("TG111", place, (*loc, "slot"), "a slot has no length", "write 60s")
    if form.threshold == 0:
        said = "a slot without a failure would be bad"
        report.add("TG113", place, (*loc, "threshold"), said, "write a share above 0%, such as 5%")
    _check_latency(form.latency, place, (*loc, "latency"), report)
    if form.internal is not None:
        _check_latency(form.internal.latency, place, (*loc, "internal", "latency"), report)
    if form.chronic is not None and form.chronic.misses > form.chronic.months:
        said = f"{form.chronic.misses} months cannot be missed of {form.chronic.months}"
        report.add("TG114", place, (*loc, "chronic", "misses"), said, "write {misses: 3, months: 12}")
    for cause in sorted(set(form.counted_causes or ()) & set(form.excluded_causes or ())):
        report.add(
            "TG120", place, (*loc, "excluded_causes"), f"'{cause}' is counted and excluded", "keep it in one list"
        )


def _check_bands(bands: list[BandForm], target: Decimal | None, place: Place, loc: Loc, report: Report) -> None:
    if not bands:
        report.add("TG302", place, loc, "there is no band", "name at least {min: 0%, credit: ...}")
        return
    if target is not None and bands[0].min != target:
        between = f"availability between {min(bands[0].min, target)}% and {max(bands[0].min, target)}%"
        wrong = (
            "would miss the target and pay nothing"
            if bands[0].min < target
            else "would meet the target and be paid for"
        )
        said = f"the first band starts at {bands[0].min}%, but the target is {target}%"
        report.add("TG301", place, (*loc, 0, "min"), said, f"{between} {wrong}; did you mean '{target}%'?")
    for at in range(1, len(bands)):
        if bands[at].min >= bands[at - 1].min:
            said = f"{bands[at].min}% does not lie below the band before it ({bands[at - 1].min}%)"
            report.add("TG302", place, (*loc, at, "min"), said, "bands fall from the target to 0%")
        elif bands[at].credit <= bands[at - 1].credit:
            said = f"{bands[at].credit}% is not more than the band before it ({bands[at - 1].credit}%)"
            report.add("TG302", place, (*loc, at, "credit"), said, "less availability must pay more")
    if bands[-1].min != 0:
        said = f"availability below {bands[-1].min}% is in no band"
        report.add("TG302", place, (*loc, len(bands) - 1, "min"), said, "let the last band begin at '0%'")


def _check_moved_edge(target: Decimal, bands: object, place: Place, loc: Loc, report: Report) -> None:
    if isinstance(bands, tuple) and len(bands) > 1 and target <= bands[1]["min"]:
        said = f"a target of {target}% is not above the second band ({bands[1]['min']}%)"
        report.add("TG301", place, loc, said, "give this target its own bands")


def _check_latency(commitments: Sequence[Commitment] | None, place: Place, loc: Loc, report: Report) -> None:
    """One share for each time: the lower of two would say nothing."""
    seen: set[int] = set()
    for at, commitment in enumerate(commitments or ()):
        if commitment.under_us in seen:
            said = f"{commitment.under_us // 1_000}ms is promised twice"
            report.add("TG143", place, (*loc, at), said, "keep the higher share of the two")
        seen.add(commitment.under_us)


def support_of(name: str, form: SupportForm) -> Support:
    respond = {key: value for key in SEVERITIES if (value := getattr(form.respond, key))}
    objectives = {key: value for key in SEVERITIES if (value := getattr(form.objectives, key))}
    return Support(
        name=name, hours=form.hours, channels=tuple(form.channels), respond=respond,
        escalation=tuple(form.escalation), objectives=objectives,
    )  # fmt: skip


def check_support(form: SupportForm, calendars: set[str], place: Place, report: Report) -> None:
    """The calendar must exist; business time under ``24x7`` counts in ``business``, or in the only calendar."""
    if form.hours != ALWAYS and form.hours not in calendars:
        hint = closest(form.hours, (*calendars, ALWAYS)) or f"define it under calendars, or write '{ALWAYS}'"
        report.add("TG201", place, ("hours",), f"calendar {short(form.hours)} is not defined", hint)
        return
    if form.hours == ALWAYS and len(calendars) != 1 and "business" not in calendars:
        for loc in _business_clocks(form):
            hint = "define calendars.business, or write an elapsed time such as 8h"
            report.add("TG303", place, loc, "business time needs a calendar, 24x7 has none", hint)


def _business_clocks(form: SupportForm) -> list[Loc]:
    respond: list[tuple[Loc, BusinessTime | None]]
    respond = [(("respond", key), getattr(form.respond, key)) for key in SEVERITIES]
    objectives: list[tuple[Loc, Attain | None]]
    objectives = [(("objectives", key), getattr(form.objectives, key)) for key in SEVERITIES]
    clocks = [*respond, *((loc, each.within) for loc, each in objectives if each is not None)]
    return [loc for loc, clock in clocks if clock is not None and clock.unit != "elapsed_us"]


def calendar_of(name: str, form: CalendarForm, place: Place, report: Report) -> Calendar | None:
    """Opening hours by weekday; None when a day is misspelt, open twice, or never."""
    week: dict[int, list[tuple[int, int]]] = {}
    sound = True
    for days, hours in form.open.items():
        numbers = _weekdays(days)
        if numbers is None or any(number in week for number in numbers):
            said = f"{short(days)} are no weekdays" if numbers is None else f"{short(days)}: a day is listed twice"
            report.add("TG129", place, ("open", days), said, _days_hint(days, numbers), on_key=True)
            sound = False
            continue
        sound &= _check_hours(hours, place, ("open", days), report)
        week.update({number: sorted(hours) for number in numbers})
    if sound and not any(week.values()):
        report.add(
            "TG129", place, ("open",), "this calendar is never open", 'write mon-fri: ["09:00-17:00"]', on_key=True
        )
        sound = False
    if not SECOND_US <= form.business_day <= 24 * 3_600 * SECOND_US or form.business_day % SECOND_US:
        said = "a business day is whole seconds, at least one and at most 24h"
        report.add("TG111", place, ("business_day",), said, "write 8h")
        sound = False
    opened = MappingProxyType({number: tuple(week[number]) for number in sorted(week)})
    return Calendar(
        name=name, zone=form.zone, open=opened, holidays=tuple(form.holidays), business_day_us=form.business_day
    ) if sound else None  # fmt: skip


def _check_hours(hours: list[tuple[int, int]], place: Place, loc: Loc, report: Report) -> bool:
    ordered = sorted(hours)
    for before, after in pairwise(ordered):
        if after[0] < before[1]:
            report.add("TG129", place, (*loc, hours.index(after)), "these hours overlap others", "merge the two")
            return False
    return True


def _weekdays(text: str) -> list[int] | None:
    first, _, last = text.lower().partition("-")
    if first not in _DAYS or (last and last not in _DAYS):
        return None
    start, end = _DAYS.index(first), _DAYS.index(last or first)
    return [day % 7 for day in range(start, end + 1 if end >= start else end + 8)]


def _days_hint(days: str, numbers: list[int] | None) -> str:
    if numbers is not None:
        return "name every day once"
    short_form = "-".join(part.strip()[:3] for part in days.lower().split("-"))
    meant = closest(short_form, (*_DAYS, "mon-fri", "mon-sun", "sat-sun"))
    return meant or "days are mon, tue, wed, thu, fri, sat, sun, or a range: mon-fri"


def maintenance_of(
    name: str, form: MaintenanceForm, groups: set[str], place: Place, report: Report
) -> Maintenance | None:
    """A planned window; None when it ends before it begins. Groups must be those of routes."""
    for at, group in enumerate(form.groups):
        if group not in groups:
            hint = closest(group, groups) or f"groups: {', '.join(sorted(groups)[:8]) or 'no route has one'}"
            report.add("TG201", place, ("groups", at), f"group {short(group)} is no route's", hint)
    if form.to <= form.from_:
        word = "ends when it begins" if form.to == form.from_ else "ends before it begins"
        report.add("TG215", place, ("to",), f"this window {word}", "are 'from' and 'to' swapped?")
        return None
    return Maintenance(name=name, from_us=form.from_, to_us=form.to, groups=tuple(form.groups), note=form.note)
