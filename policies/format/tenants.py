"""Tenants, from YAML or a JSON-lines file, by one path: read, checked against the rest of the set, looked up by key.

A good tenant costs no position and shares what others have too; a hundred thousand of them load in seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from sys import intern
from typing import Any, Final

import orjson
from pydantic import ValidationError

from policies.credential import subject_key
from policies.format.entries import Named, id_problem
from policies.format.findings import Finding
from policies.format.json_schema import keys_at
from policies.format.limits import Limits
from policies.format.report import LinePlace, Loc, Place, Report
from policies.format.sections import Entry
from policies.format.substitution import Lookups, substitute
from policies.format.terms import check_sla, sla_fields
from policies.format.units import Rate, ValueProblem, closest, short
from policies.format.upstreams import header_pairs
from policies.format.yaml_tree import Unreadable, read_tree
from policies.model import ANONYMOUS, Calendar, HeaderPair, Key, Limit, ResetAs, Route, Tenant, Tier, Upstream, nothing
from policies.schema import KeyForm, TenantForm, TenantLine

LONGEST_LINE: Final = 1 << 20
MOST_COMPLAINTS: Final = 200
"""After so many broken lines the rest of a tenants file is only counted."""
MOST_SIMILAR: Final = 50
_RESETS: Final = {word.value: word for word in ResetAs}


@dataclass(slots=True)
class Tally:
    """How many tenants are of a sort, and where the first of them is; a hundred thousand get one warning."""

    count: int = 0
    first: tuple[str, Place] | None = None

    def add(self, name: str, place: Place) -> None:
        self.count += 1
        if self.first is None:
            self.first = (name, place)

    def said(self) -> str:
        name = short(self.first[0]) if self.first else ""
        more = self.count - 1
        return f"tenant {name}" + (f" and {more} more" if more else "")


@dataclass(slots=True)
class TenantReader:
    """``tenants``, ``keys`` and ``subjects`` are the look-ups of ``PolicySet``, filled as tenants are added."""

    tiers: Named[Tier]
    routes: Named[Route]
    upstreams: Named[Upstream]
    calendars: Named[Calendar]
    limits: Limits
    service_sla: Mapping[str, object]
    report: Report
    tenants: dict[str, Tenant] = field(default_factory=dict)
    keys: dict[bytes, tuple[Tenant, Key]] = field(default_factory=dict)
    subjects: dict[str, Tenant] = field(default_factory=dict)
    demo_keys: list[tuple[Place, Loc]] = field(default_factory=list)
    overriding: list[tuple[Tenant, Place]] = field(default_factory=list)
    departments: list[tuple[str, TenantForm, Place]] = field(default_factory=list)
    without_credential: Tally = field(default_factory=lambda: Tally())
    with_keys: Tally = field(default_factory=lambda: Tally())
    with_subjects: Tally = field(default_factory=lambda: Tally())
    _similar: int = 0
    _places: dict[str, Place | int] = field(default_factory=dict)

    def read(self, entries: Mapping[str, Entry]) -> None:
        """The ``tenants`` section."""
        validate = TenantForm.model_validate
        for name, entry in entries.items():
            try:
                form = validate(entry.data)
            except ValidationError as error:
                self.tiers.mention(entry.data, "tier")
                self.calendars.mention(entry.data, "calendar")
                self.complain(error, entry.place, TenantForm)
                self._places[name] = entry.place
                continue
            self.add(name, form, entry.place)

    def add(self, name: str, form: TenantForm, place: Place, line: int = 0) -> None:
        """One tenant whose shape is right; ``line`` is its line in a tenants file."""
        if name in self._places:
            self._complain_of_twin(name, place)
            return
        self._places[name] = line or place
        problem = "is the ledger's name for callers without a credential" if name == ANONYMOUS else id_problem(name)
        if problem:
            code = "TG213" if name == ANONYMOUS else "TG122"
            loc: Loc = ("id",) if line else ()
            self.report.add(
                code, place, loc, f"tenant id {short(name)} {problem}", "choose another id", on_key=not line
            )
        if self.tiers.defined and form.tier in self.tiers.defined:
            self.tiers.used.add(form.tier)
        else:
            self.tiers.refer(form.tier, place, ("tier",), self.report)
        if form.keys:
            self.with_keys.add(name, place)
        if form.subjects:
            self.with_subjects.add(name, place)
        elif not form.keys:
            self.without_credential.add(name, place)
        tenant = self._made(name, form, place)
        if tenant is not None:
            self.tenants[name] = tenant
            self._index(tenant, place)

    def is_known(self, name: str) -> bool:
        """Whether a tenant of that name was read, sound or not."""
        return name in self._places

    def _made(self, name: str, form: TenantForm, place: Place) -> Tenant | None:
        keys = tuple([self._key(key) for key in form.keys])
        self._check_keys(form, place)
        tier = intern(form.tier)
        if not (form.limits or form.routes or form.upstreams or form.sla or form.department_of or form.calendar):
            reset = _RESETS[form.reset_as] if form.reset_as else None
            return Tenant(id=name, tier=tier, keys=keys, subjects=form.subjects, reset_as=reset)
        limits = self._own_limits(form, place)
        route_limits = self._route_limits(form, place)
        headers = self._headers(form, place)
        sla = self._sla(form, place)
        if form.department_of is not None:
            self.departments.append((name, form, place))
        if form.calendar is not None:
            self.calendars.refer(form.calendar, place, ("calendar",), self.report)
        if limits is None or route_limits is None or headers is None:
            return None
        made = Tenant(
            id=name, tier=tier, keys=keys, subjects=form.subjects,
            limits=limits or nothing(), route_limits=route_limits or nothing(), upstream_headers=headers or nothing(),
            reset_as=_RESETS[form.reset_as] if form.reset_as else None, sla=sla,
            department_of=form.department_of and intern(form.department_of),
            calendar=form.calendar and intern(form.calendar),
        )  # fmt: skip
        if limits or route_limits:
            self.overriding.append((made, place))
        return made

    def _key(self, form: KeyForm) -> Key:
        return Key(
            id=intern(form.id),
            digest=form.sha256,
            not_before_us=form.not_before,
            expires_us=form.expires,
            demo=form.demo,
        )

    def _check_keys(self, form: TenantForm, place: Place) -> None:
        ids: set[str] = set()
        for at, key in enumerate(form.keys):
            if key.id in ids:
                self.report.add(
                    "TG208", place, ("keys", at, "id"), f"key id {short(key.id)} is used twice", "number them"
                )
            ids.add(key.id)
            if problem := id_problem(key.id):
                self.report.add("TG122", place, ("keys", at, "id"), f"key id {problem}", "choose another id")
            if key.expires is not None and key.expires <= (key.not_before or -1):
                self.report.add(
                    "TG215", place, ("keys", at, "expires"), "this key ends before it begins", "swap the two dates"
                )
            if key.demo:
                self.demo_keys.append((place, ("keys", at, "demo")))

    def _own_limits(self, form: TenantForm, place: Place) -> dict[str, Limit | None] | None:
        own = self.limits.read(form.limits, place, ("limits",))
        tier = self.tiers.sound.get(form.tier)
        if own is None or tier is None:
            return own
        known = [limit.name for limit in tier.limits]
        for name, limit in own.items():
            if name in known:
                continue
            if limit is None:
                self._no_such_limit(name, known, f"tier {short(form.tier)}", place, ("limits", name))
            elif isinstance(form.limits[name], Rate):
                self._new_limit(name, known, f"tier {short(form.tier)}", place, ("limits", name))
        return own

    def _route_limits(self, form: TenantForm, place: Place) -> dict[str, dict[str, Limit | None]] | None:
        made: dict[str, dict[str, Limit | None]] = {}
        sound = True
        for name, override in form.routes.items():
            known = self.routes.refer(name, place, ("routes", name), self.report, on_key=True)
            own = self.limits.read(override.limits, place, ("routes", name, "limits"))
            sound &= known and own is not None
            route = self.routes.sound.get(name)
            if own is None or route is None:
                continue
            names = [limit.name for limit in route.limits]
            for key, limit in own.items():
                loc: Loc = ("routes", name, "limits", key)
                if key in names:
                    continue
                if limit is None:
                    self._no_such_limit(key, names, f"route {short(name)}", place, loc)
                elif isinstance(override.limits[key], Rate):
                    self._new_limit(key, names, f"route {short(name)}", place, loc)
            made[name] = own
        return made if sound else None

    def _no_such_limit(self, name: str, known: list[str], owner: str, place: Place, loc: Loc) -> None:
        hint = closest(name, known) or f"its limits: {', '.join(known) or 'none'}"
        self.report.add("TG207", place, loc, f"{owner} has no limit {short(name)} to remove", hint, on_key=True)

    def _new_limit(self, name: str, known: list[str], owner: str, place: Place, loc: Loc) -> None:
        """The short form under a name that nearly exists is more often a slip than a new limit."""
        hint = closest(name, known)
        if hint and self._similar < MOST_SIMILAR:
            self._similar += 1
            said = f"{owner} has no limit {short(name)}, so this adds one and overrides nothing"
            self.report.add("TG407", place, loc, said, hint, on_key=True)

    def _headers(self, form: TenantForm, place: Place) -> dict[str, tuple[HeaderPair, ...]] | None:
        made: dict[str, tuple[HeaderPair, ...]] = {}
        sound = True
        for name, override in form.upstreams.items():
            sound &= self.upstreams.refer(name, place, ("upstreams", name), self.report, on_key=True)
            pairs = header_pairs(override.headers, place, ("upstreams", name, "headers"), self.report)
            sound &= pairs is not None
            made[name] = pairs or ()
        return made if sound else None

    def _sla(self, form: TenantForm, place: Place) -> Mapping[str, object]:
        if form.sla is None:
            return nothing()
        tier = self.tiers.sound.get(form.tier)
        if form.department_of is None:  # that of a department stands on its customer's, who may not be known yet
            check_sla(form.sla, {**self.service_sla, **(tier.sla if tier else nothing())}, place, ("sla",), self.report)
        return sla_fields(form.sla)

    def _index(self, tenant: Tenant, place: Place) -> None:
        for at, key in enumerate(tenant.keys):
            known = self.keys.setdefault(key.digest, (tenant, key))
            if known[1] is not key:
                said = f"this digest is already that of key {short(known[1].id)} of tenant {short(known[0].id)}"
                self.report.add("TG208", place, ("keys", at, "sha256"), said, "mint a key of its own", secret=True)
        for at, subject in enumerate(tenant.subjects):
            normal = subject_key(subject)
            owner = self.subjects.setdefault(normal, tenant)
            if owner is not tenant or normal in map(subject_key, tenant.subjects[:at]):
                said = f"this subject already identifies tenant {short(owner.id)}"
                self.report.add("TG208", place, ("subjects", at), said, "one subject, one tenant")

    def complain(self, error: ValidationError, place: Place, model: type[TenantForm]) -> None:
        self.report.add_validation(error.errors(include_url=False), place, partial(keys_at, model))

    def _complain_of_twin(self, name: str, place: Place) -> None:
        known = self._places[name]
        if isinstance(known, int):
            where = f"{place.file}:{known}" if isinstance(place, LinePlace) else f"line {known}"
        else:
            at = known.spot((), on_key=True)
            where = f"{at.file}:{at.line}:{at.column}"
        on_line = isinstance(place, LinePlace)
        loc: Loc = ("id",) if on_line else ()
        self.report.add(
            "TG102",
            place,
            loc,
            f"tenant {short(name)} is already set at {where}",
            "one tenant, one place",
            on_key=not on_line,
        )


def read_lines(reader: TenantReader, file: str, lines: Iterable[bytes], lookups: Lookups) -> None:
    """A tenants file: every line is a JSON object with an ``id``; blank lines are skipped."""
    validate = TenantLine.model_validate
    broken = 0
    for number, line in enumerate(lines, 1):
        if line.isspace() or not line:
            continue
        before = reader.report.errors
        place = LinePlace(file, "", number, line)
        data = _object_of(line, place, reader.report, lookups)
        if data is not None:
            try:
                form = validate(data)
            except ValidationError as error:
                place.path = f"tenants.{data['id']}" if isinstance(data.get("id"), str) else "tenants"
                reader.tiers.mention(data, "tier")
                reader.complain(error, place, TenantLine)
            else:
                place.path = f"tenants.{form.id}"
                reader.add(form.id, form, place, number)
        if reader.report.errors > before:
            broken += 1
            if broken >= MOST_COMPLAINTS:
                said = f"{broken} broken lines so far; the rest of the file was not read"
                reader.report.add("TG137", LinePlace(file, "", number, b""), (), said, "correct these first")
                return


def _object_of(line: bytes, place: LinePlace, report: Report, lookups: Lookups) -> dict[str, Any] | None:
    if len(line) > LONGEST_LINE:
        report.add(
            "TG108",
            LinePlace(place.file, "", place.line, b""),
            (),
            "this line is longer than 1 MiB",
            "one tenant a line",
        )
        return None
    try:
        data = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        _complain_of_json(error, line, place, report)
        return None
    if not isinstance(data, dict):
        report.add("TG137", place, (), "a line holds one JSON object", 'write {"id": "...", "tier": "..."}')
        return None
    try:
        if _may_repeat_a_key(line, data):
            _check_duplicates(line, place, report)
        return _substituted(data, (), place, report, lookups) if b"${" in line else data
    except (orjson.JSONEncodeError, RecursionError):
        report.add(
            "TG136", place, (), "nested deeper than any tenant needs", "tenants are flat; is a bracket left open?"
        )
        return None


def _complain_of_json(error: orjson.JSONDecodeError, line: bytes, place: LinePlace, report: Report) -> None:
    said = f"not JSON: {error.msg.split(':')[0]}"
    hint = "one complete object a line, keys and texts in double quotes"
    column = len(line.rstrip()) + 1 if "end of data" in said else max(1, error.colno)
    report.file(Finding(file=place.file, line=place.line, column=column, code="TG137", message=said, hint=hint))


def _check_duplicates(line: bytes, place: LinePlace, report: Report) -> None:
    """JSON parsers keep the last of two equal keys; here that is an error, as it is in YAML."""
    if not _has_duplicate(line):
        return
    for finding in read_tree(place.file, line, lambda text: text).findings:
        if finding.code == "TG102":
            moved = finding.message.replace(f"{place.file}:1:", f"{place.file}:{place.line}:")
            report.file(replace(finding, line=place.line, message=moved))


def _may_repeat_a_key(line: bytes, data: dict[str, Any]) -> bool:
    """A quick look that errs on the side of yes: a repeated key is missing when ``data`` is written out again.

    Escaped quotes, and blanks after a quote, can hide a key from the count, so they count as yes.
    """
    if b'" ' in line or b'"\t' in line or b"\\u0022" in line:
        return True
    return line.count(b'":') != orjson.dumps(data).count(b'":')


def _has_duplicate(line: bytes) -> bool:
    found = False

    def note(pairs: list[tuple[str, Any]]) -> None:
        nonlocal found
        found |= len({key for key, _ in pairs}) < len(pairs)

    json.loads(line, object_pairs_hook=note)
    return found


def _substituted(value: Any, loc: Loc, place: Place, report: Report, lookups: Lookups) -> Any:
    """``value`` with the references of its texts replaced; depth is bounded by the JSON parser."""
    match value:
        case dict():
            return {key: _substituted(item, (*loc, key), place, report, lookups) for key, item in value.items()}
        case list():
            return [_substituted(item, (*loc, at), place, report, lookups) for at, item in enumerate(value)]
        case str() if "${" in value:
            return _of_reference(value, loc, place, report, lookups)
    return value


def _of_reference(text: str, loc: Loc, place: Place, report: Report, lookups: Lookups) -> Any:
    try:
        return substitute(text, lookups)
    except ValueProblem as problem:
        report.add_reference(problem, place, loc)
        return Unreadable
