"""A written limit as a limit of ``policies.model``: which kind it is, and whether its window can be kept.

Merging and overriding are in ``tiers`` and ``tenants``. Source: spec policy.md, Rules, Kinds.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from policies.format.limit_schema import BucketForm, ConcurrentForm, QuotaForm, WindowForm
from policies.format.report import Loc, Place, Report
from policies.format.units import SECOND_US, Rate, short
from policies.model import Bucket, Concurrent, Limit, OnFailure, Quota, Window

LONGEST_WINDOW_US: Final = 24 * 3_600 * SECOND_US
LONGEST_FILL_US: Final = 3_600 * SECOND_US
LONGEST_NAME: Final = 64
Form = Rate | WindowForm | QuotaForm | BucketForm | ConcurrentForm


class Limits:
    """Makes limits and remembers the short ones, which thousands of tenants share."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._made: dict[tuple[str, Rate], Limit] = {}

    def read(self, forms: Mapping[str, Form | None], place: Place, loc: Loc) -> dict[str, Limit | None] | None:
        """Every limit of one map, None standing for a removal; None altogether when one of them is wrong."""
        made: dict[str, Limit | None] = {}
        sound = True
        for name, form in forms.items():
            limit = None if form is None else self._limit(name, form, place, (*loc, name))
            sound &= form is None or limit is not None
            made[name] = limit
        return made if sound else None

    def _limit(self, name: str, form: Form, place: Place, loc: Loc) -> Limit | None:
        known = self._made.get((name, form)) if isinstance(form, Rate) else None
        if known is not None:
            return known
        problem = name_problem(name)
        if problem is not None:
            self._report.add("TG122", place, loc, *problem, on_key=True)
            return None
        if not isinstance(form, Rate):
            return _long_form(name, form, place, loc, self._report)
        made = _of_rate(name, form, place, loc, self._report)
        if made is not None:
            self._made[(name, form)] = made
        return made


def name_problem(name: str) -> tuple[str, str] | None:
    """Why a structured-field String (RFC 9651 section 3.3.3) cannot carry ``name``, and what was meant."""
    if not name or len(name) > LONGEST_NAME:
        return (f"a limit's name has 1 to {LONGEST_NAME} characters", "shorten it")
    if all(" " <= letter <= "~" for letter in name):
        return None
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    hint = (
        f"did you mean '{plain}'?"
        if plain.isprintable() and plain
        else "use printable ASCII: it travels in RateLimit-Policy"
    )
    return (f"limit name {short(name)} is not printable ASCII", hint)


def _of_rate(name: str, rate: Rate, place: Place, loc: Loc, report: Report) -> Limit | None:
    if rate.unit in ("day", "month"):
        return _quota(name, rate, "UTC", False, None, place, loc, report)
    return _window(name, rate, False, None, place, loc, report)


def _long_form(
    name: str, form: WindowForm | QuotaForm | BucketForm | ConcurrentForm, place: Place, loc: Loc, report: Report
) -> Limit | None:
    shadow = form.mode == "shadow"
    failing = OnFailure(form.on_failure) if form.on_failure else None
    match form:
        case WindowForm():
            if form.window.unit in ("day", "month"):
                hint = f"did you mean {{quota: {form.window.amount}/{form.window.unit}}}?"
                report.add("TG127", place, (*loc, "window"), "days and months are quotas, not windows", hint)
                return None
            return _window(name, form.window, shadow, failing, place, (*loc, "window"), report)
        case QuotaForm():
            return _quota(name, form.quota, form.zone, shadow, failing, place, (*loc, "quota"), report)
        case BucketForm():
            return _bucket(name, form, shadow, failing, place, loc, report)
        case ConcurrentForm():
            return Concurrent(name=name, slots=form.concurrent, shadow=shadow, on_failure=failing)


def _window(
    name: str, rate: Rate, shadow: bool, failing: OnFailure | None, place: Place, loc: Loc, report: Report
) -> Window | None:
    if rate.period_us is None or rate.period_us > LONGEST_WINDOW_US:
        hint = f"did you mean a quota, '{rate.amount}/day'?"
        report.add("TG212", place, loc, "a window is at most 24 h long", hint)
        return None
    return Window(name=name, amount=rate.amount, period_us=rate.period_us, shadow=shadow, on_failure=failing)


def _quota(
    name: str, rate: Rate, zone: str, shadow: bool, failing: OnFailure | None, place: Place, loc: Loc, report: Report
) -> Quota | None:
    if rate.unit not in ("day", "month"):
        hint = f"did you mean {{window: {rate.amount}/{rate.unit}}}?"
        report.add("TG127", place, loc, "a quota counts a day or a month", hint)
        return None
    if rate.times != 1:
        hint = f"did you mean '{rate.amount}/{rate.unit}'?"
        report.add("TG212", place, loc, f"a quota counts one {rate.unit}, not {rate.times}", hint)
        return None
    return Quota(name=name, amount=rate.amount, unit=rate.unit, zone=zone, shadow=shadow, on_failure=failing)


def _bucket(
    name: str, form: BucketForm, shadow: bool, failing: OnFailure | None, place: Place, loc: Loc, report: Report
) -> Bucket | None:
    rate = form.rate
    if rate.period_us is None:
        report.add(
            "TG127", place, (*loc, "rate"), "months differ in length, so no bucket fills by the month", "use a quota"
        )
        return None
    if form.burst * rate.period_us > LONGEST_FILL_US * rate.amount:
        most = LONGEST_FILL_US * rate.amount // rate.period_us
        hint = f"the largest burst at this rate is {most}" if most else "use a quota"
        report.add("TG212", place, (*loc, "burst"), "an empty bucket would take more than 1 h to fill", hint)
        return None
    return Bucket(
        name=name, amount=rate.amount, period_us=rate.period_us, burst=form.burst, shadow=shadow, on_failure=failing
    )
