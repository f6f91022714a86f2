"""Throttling profiles: from their form to ``Profile``, every complaint with its position.

What a profile may say is in ``profile_schema`` and docs/throttling-profiles.md; ``upstreams.throttle`` reads answers
by it. ``parse_profile`` reads a built-in one, ``profile_of`` one inside a policy file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any, Final

from pydantic import ValidationError

from policies.format.findings import Finding, in_order
from policies.format.json_schema import keys_at
from policies.format.profile_schema import (
    ConditionForm,
    CountersForm,
    InspectForm,
    LimitFamilyForm,
    ProfileForm,
    ReadingForm,
    RestoreRef,
    RuleForm,
    SourceForm,
)
from policies.format.report import Loc, Place, Report, YamlPlace
from policies.format.units import closest, short
from policies.format.yaml_tree import read_tree
from policies.throttling import ONLY, Condition, Family, Inspection, Profile, Reading, Restore, Rule, Source

SECOND_US: Final = 1_000_000
COUNTERS: Final = ("limit", "remaining", "used", "percent_used", "reset")
JSON_TYPES: Final = ("application/json", "+json")
TEXT_TYPES: Final = (*JSON_TYPES, "text/", "application/xml", "+xml", "application/soap")
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


def parse_profile(name: str, file: str, data: bytes) -> tuple[Profile | None, tuple[Finding, ...]]:
    """The built-in profile in ``data``, or None with what is wrong with it."""
    report = Report()
    tree = read_tree(file, data, lambda text: text)
    report.findings.extend(tree.findings)
    if tree.root is None:
        return None, in_order(report.findings)
    place = YamlPlace(file, "", tree.root, tree.root)
    try:
        form = ProfileForm.model_validate(tree.data)
    except ValidationError as error:
        report.add_validation(error.errors(include_url=False), place, partial(keys_at, ProfileForm))
        return None, in_order(report.findings)
    made = profile_of(name, form, place, (), report)
    return made, in_order(report.findings)


def profile_of(name: str, form: ProfileForm, place: Place, loc: Loc, report: Report) -> Profile | None:
    """``form``, which stands at ``loc``, as a ``Profile``, or None after complaining."""
    before = report.errors
    families = (*_families(form, place, loc, report),)
    when = tuple(
        _rule(rule, {family.name for family in families}, place, (*loc, "when", index), report)
        for index, rule in enumerate(form.when)
    )
    waits = tuple(
        _wait(wait, place, (*loc, "retry_after", index), report) for index, wait in enumerate(form.retry_after)
    )
    default = _window(form.default_wait, place, (*loc, "default_wait"), report)
    if report.errors > before:
        return None
    made = Profile(
        name=name,
        description=form.description,
        source=form.source,
        grade=form.grade or "",
        hosts=tuple(form.hosts),
        when=when,
        families=families,
        retry_after=waits,
        default_wait=default,
        replaces=tuple(form.replaces),
    )
    return replace(made, inspect=_inspection(form.inspect or InspectForm.model_construct(), made))


def _families(form: ProfileForm, place: Place, loc: Loc, report: Report) -> Iterable[Family]:
    if any(getattr(form, name) is not None for name in (*COUNTERS, "window")):
        yield _family(ONLY, form, place, loc, report)
    for name, limit in form.limits.items():
        at = (*loc, "limits", name)
        if not _SLUG.fullmatch(name):
            hint = "callers see it in header fields: lower-case letters, digits and '-'"
            report.add("TG122", place, at, f"limit name {short(name)} cannot be one", hint, on_key=True)
        if limit.structured is not None:
            _check_alone(limit, place, at, report)
            yield Family(name=name, structured=(limit.structured[0], limit.structured[1]))
        else:
            yield _family(name, limit, place, at, report)


def _check_alone(limit: LimitFamilyForm, place: Place, loc: Loc, report: Report) -> None:
    for name in sorted(limit.model_fields_set - {"structured"}):
        said = f"'{name}' has no effect beside 'structured', which says everything"
        report.add("TG142", place, (*loc, name.rstrip("_")), said, "make two entries of it", on_key=True)


def _family(name: str, form: CountersForm, place: Place, loc: Loc, report: Report) -> Family:
    readings: dict[str, Any] = {each: _reading(getattr(form, each), place, (*loc, each), report) for each in COUNTERS}
    only: tuple[Condition, ...] = ()
    if isinstance(form, LimitFamilyForm):
        only = tuple(_condition(each, place, (*loc, "if", n), report) for n, each in enumerate(form.if_))
        if not any(readings.values()) and form.window is None:
            report.add("TG105", place, loc, "this limit says nothing", "add 'remaining:' or 'limit:'", on_key=True)
    return Family(name=name, window=_window(form.window, place, (*loc, "window"), report), only=only, **readings)


def _rule(form: RuleForm, limits: set[str], place: Place, loc: Loc, report: Report) -> Rule:
    if form.limit is not None and form.limit not in limits:
        hint = closest(form.limit, limits) or f"limits of this profile: {', '.join(sorted(limits)) or 'none'}"
        report.add("TG201", place, (*loc, "limit"), f"limit {short(form.limit)} is not defined here", hint)
    conditions = [form] if _names_a_source(form) or form.equals is not None or form.absent else []
    more = [_condition(each, place, (*loc, "and", index), report) for index, each in enumerate(form.and_)]
    return Rule(
        statuses=tuple(form.status),
        conditions=(*(_condition(each, place, loc, report) for each in conditions), *more),
        kind=form.kind,
        limit=form.limit,
        wait_s=_seconds(form.wait),
        default_wait_s=_seconds(form.default_wait),
        nothing_executed=None if form.executed is None else form.executed == "nothing",
    )


def _condition(form: ConditionForm, place: Place, loc: Loc, report: Report) -> Condition:
    return Condition(
        source=_source(form, place, loc, report),
        equals=tuple(form.equals) if form.equals is not None else None,
        absent=form.absent is True,
    )


def _reading(form: ReadingForm | str | None, place: Place, loc: Loc, report: Report) -> Reading | None:
    if form is None:
        return None
    if isinstance(form, str):
        return Reading(source=Source(headers=(form,)))
    return Reading(source=_source(form, place, loc, report), unit=form.unit)


def _window(form: ReadingForm | int | None, place: Place, loc: Loc, report: Report) -> int | Reading | None:
    if form is None or isinstance(form, ReadingForm):
        return _reading(form, place, loc, report)
    return _seconds(form)


def _wait(form: ReadingForm | RestoreRef, place: Place, loc: Loc, report: Report) -> Reading | Restore:
    if isinstance(form, RestoreRef):
        at = (*loc, "restore")
        return Restore(
            requested=_source(form.restore.requested, place, (*at, "requested"), report),
            available=_source(form.restore.available, place, (*at, "available"), report),
            rate=_source(form.restore.rate, place, (*at, "rate"), report),
        )
    return Reading(source=_source(form, place, loc, report), unit=form.unit)


def _names_a_source(form: SourceForm) -> bool:
    return any(value is not None for value in (form.header, form.body, form.text, form.json_, form.match))


def _source(form: SourceForm, place: Place, loc: Loc, report: Report) -> Source:
    named = [name for name in ("header", "body", "text") if getattr(form, name) is not None]
    if len(named) != 1:
        said = f"{' and '.join(named)} name two places" if named else "this names no place in an answer"
        report.add("TG142", place, loc, said, "one of 'header', 'body' and 'text'")
    if form.json_ is not None and form.header is None:
        report.add("TG142", place, (*loc, "json"), "'json' is for a header's value", "'body' takes paths", on_key=True)
    if form.text is not None and form.match is not None:
        report.add("TG142", place, (*loc, "match"), "'text' is an expression already", "put it there", on_key=True)
    return Source(
        headers=tuple(form.header or ()),
        paths=tuple(form.json_ or form.body or ()),
        text=form.text is not None,
        match=form.text if form.text is not None else form.match,
    )


def _seconds(duration_us: int | None) -> int | None:
    return None if duration_us is None else max(1, -(-duration_us // SECOND_US))


def _inspection(form: InspectForm, profile: Profile) -> Inspection:
    """What ``form`` says, else what the rules, limits and waits of ``profile`` need."""
    ruled = {status for rule in profile.when if any(each.of_body for each in rule.sources) for status in rule.statuses}
    asked = ruled | {429} if any(each.of_body for each in profile.amount_sources) else ruled
    types = TEXT_TYPES if any(each.text for each in profile.sources) else JSON_TYPES
    return Inspection(
        statuses=frozenset(asked if form.statuses is None else form.statuses),
        content_types=types if form.content_types is None else tuple(form.content_types),
        max_bytes=form.max,
        wait_us=form.wait,
    )
