"""The steps from sections to a ``PolicySet``, in the order in which each needs the one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from policies.format import checks
from policies.format.departments import check_departments
from policies.format.entries import Named, read_form, read_sound_part
from policies.format.limits import Limits
from policies.format.report import Report
from policies.format.routes import RouteReader
from policies.format.sections import Sections
from policies.format.service import read_service
from policies.format.substitution import Lookups
from policies.format.tenants import TenantReader, read_lines
from policies.format.terms import ALWAYS, calendar_of, check_sla, check_support, maintenance_of, sla_fields, support_of
from policies.format.tiers import TierReader
from policies.format.units import ValueProblem, short
from policies.format.upstreams import upstream_of
from policies.format.yaml_tree import Unreadable
from policies.model import Calendar, Maintenance, PolicySet, Support, Upstream, nothing
from policies.schema import CalendarForm, MaintenanceForm, SlaForm, SupportForm, UpstreamForm
from policies.throttling import Catalogue


def build(sections: Sections, report: Report, lookups: Lookups, profiles: Catalogue) -> Callable[[str], PolicySet]:
    """Every section built and checked; what is returned makes the set once its version is known.

    Its result is meaningful only when ``report`` holds no error.
    """
    _check_version(sections, report)
    limits = Limits(report)
    sla = _service_sla(sections, report)
    calendars = _calendars(sections, report)
    support = _support(sections, calendars, report)
    tiers = TierReader(sections.named("tiers"), limits, support, sla, report).read()  # type: ignore[arg-type]
    upstreams = _upstreams(sections, report, profiles)
    route_reader = RouteReader(sections.named("routes"), limits, upstreams, tiers, report)
    routes = route_reader.read()
    maintenance = _maintenance(sections, route_reader.groups, report)
    service = read_service(sections, tiers, report)
    tenants = TenantReader(tiers, routes, upstreams, calendars, limits, sla, report)
    tenants.read(sections.named("tenants"))
    _read_tenants_file(sections, tenants, report, lookups)
    check_departments(tenants)
    checks.check_costs(routes, tiers, tenants, report)
    checks.check_namespaces(routes, tiers, tenants, report)
    checks.check_exposure(service, tenants, report)
    checks.check_callers(service, tenants, report)
    checks.check_store(service, sections, routes, tiers, tenants, report)
    checks.check_unused((tiers, upstreams, support, calendars), report)
    return lambda version: PolicySet(
        version=version, server=service.server, store=service.store, headers=service.headers, auth=service.auth,
        tiers=tiers.sound, upstreams=upstreams.sound, routes=routes.sound, tenants=tenants.tenants,
        keys=tenants.keys, subjects=tenants.subjects, sla=sla, maintenance=maintenance, support=support.sound,
        calendars=calendars.sound,
    )  # fmt: skip


def _check_version(sections: Sections, report: Report) -> None:
    for entry in sections.named("version").values():
        if entry.data is not Unreadable and (entry.data != 1 or entry.data is True):
            report.add(
                "TG120", entry.place, (), f"{short(entry.data)} is not a version of the format", "did you mean '1'?"
            )


def _service_sla(sections: Sections, report: Report) -> Mapping[str, object]:
    entry = sections.whole("sla")
    if entry is None:
        return nothing()
    form = read_sound_part(SlaForm, entry, report)
    check_sla(form, nothing(), entry.place, (), report)
    return sla_fields(form)


def _calendars(sections: Sections, report: Report) -> Named[Calendar]:
    calendars: Named[Calendar] = Named("calendar")
    for name, entry in sections.named("calendars").items():
        calendars.define(name, entry.place, report)
        if name == ALWAYS:
            report.add("TG213", entry.place, (), f"'{ALWAYS}' means always", "choose another name", on_key=True)
        form = read_form(CalendarForm, entry, report)
        made = calendar_of(name, form, entry.place, report) if form else None
        if made is not None:
            calendars.sound[name] = made
    return calendars


def _support(sections: Sections, calendars: Named[Calendar], report: Report) -> Named[Support]:
    support: Named[Support] = Named("support contract")
    for name, entry in sections.named("support").items():
        support.define(name, entry.place, report)
        form = read_form(SupportForm, entry, report)
        if form is None:
            calendars.mention(entry.data, "hours")
        else:
            check_support(form, set(calendars.defined), entry.place, report)
            calendars.used |= {form.hours, "business"} if form.hours == ALWAYS else {form.hours}
            support.sound[name] = support_of(name, form)
    if len(calendars.defined) == 1 and support.sound:
        calendars.used |= set(calendars.defined)
    return support


def _upstreams(sections: Sections, report: Report, profiles: Catalogue) -> Named[Upstream]:
    upstreams: Named[Upstream] = Named("upstream")
    for name, entry in sections.named("upstreams").items():
        upstreams.define(name, entry.place, report)
        form = read_form(UpstreamForm, entry, report)
        made = upstream_of(name, form, entry.place, report, profiles) if form else None
        if made is not None:
            upstreams.sound[name] = made
    return upstreams


def _maintenance(sections: Sections, groups: set[str], report: Report) -> dict[str, Maintenance]:
    made: dict[str, Maintenance] = {}
    for name, entry in sections.named("maintenance").items():
        form = read_form(MaintenanceForm, entry, report)
        window = maintenance_of(name, form, groups, entry.place, report) if form else None
        if window is not None:
            made[name] = window
    return made


def _read_tenants_file(sections: Sections, tenants: TenantReader, report: Report, lookups: Lookups) -> None:
    entry = sections.named("tenants_from").get("tenants_from")
    if entry is None or entry.data is Unreadable:
        return
    name: Any = entry.data
    if not isinstance(name, str) or not name:
        report.add("TG104", entry.place, (), "the name of a file is expected", "write tenants.jsonl")
        return
    try:
        read_lines(tenants, lookups.shown(name), lookups.lines(name), lookups)
    except ValueProblem as problem:
        report.add_problem(problem, entry.place, ())
