"""Routes of a policy set: each well formed, none hidden behind another, none of the same calls twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.format.entries import Named, id_problem, read_form
from policies.format.limits import Limits
from policies.format.path_templates import path_problem, strip_problem
from policies.format.report import Place, Report
from policies.format.sections import Entry
from policies.format.units import short
from policies.model import Cors, Cost, Idempotency, Limit, ResetAs, Route, Tier, Upstream
from policies.routing import segments_of
from policies.schema import IdempotencyForm, RouteForm


@dataclass(slots=True)
class RouteReader:
    """Reads every route; ``upstreams`` and ``tiers`` are what they may refer to."""

    entries: Mapping[str, Entry]
    limits: Limits
    upstreams: Named[Upstream]
    tiers: Named[Tier]
    report: Report
    routes: Named[Route] = field(default_factory=lambda: Named("route"))
    groups: set[str] = field(default_factory=set)

    def read(self) -> Named[Route]:
        for name, entry in self.entries.items():
            self.routes.define(name, entry.place, self.report)
            form = read_form(RouteForm, entry, self.report)
            if form is None:
                self.upstreams.mention(entry.data, "upstream")
                self.tiers.mention(entry.data, "tiers")
            route = None if form is None else self._route(name, form, entry.place)
            self.groups.add((form.group if form else None) or name)
            if route is not None:
                self.routes.sound[name] = route
        self._check_overlaps()
        return self.routes

    def _route(self, name: str, form: RouteForm, place: Place) -> Route | None:
        sound = self._check_match(form, place)
        self.upstreams.refer(form.upstream, place, ("upstream",), self.report)
        self._check_tiers(form.tiers, place)
        if form.group is not None and (problem := id_problem(form.group)):
            self.report.add("TG122", place, ("group",), f"group {problem}", "rename it")
        if form.idempotency is not None:
            self._check_idempotency(form.idempotency, place)
        own = self.limits.read(form.limits, place, ("limits",))
        own = None if own is None else self._without_removals(own, place)
        if own is None or not sound:
            return None
        return Route(
            name=name,
            path=form.match.path,
            methods=None if form.match.methods is None else frozenset(form.match.methods),
            upstream=form.upstream,
            group=form.group or name,
            strip=form.strip.rstrip("/") or None if form.strip else None,
            cost=_cost(form.cost),
            limits=tuple(limit for limit in own.values() if limit is not None),
            tiers=None if form.tiers is None else frozenset(form.tiers),
            cors=None if form.cors is None else Cors(origins=tuple(form.cors.origins)),
            idempotency=None if form.idempotency is None else _idempotency(form.idempotency),
            reset_as=ResetAs(form.reset_as) if form.reset_as else None,
            forward_authorization=form.forward_authorization,
        )

    def _check_match(self, form: RouteForm, place: Place) -> bool:
        problem = path_problem(form.match.path)
        if problem:
            self.report.add(problem[0], place, ("match", "path"), *problem[1:])
            return False
        if form.match.methods == []:
            self.report.add(
                "TG204",
                place,
                ("match", "methods"),
                "a route without methods takes no call",
                "remove 'methods' to take any",
            )
        wrong = strip_problem(form.strip, form.match.path) if form.strip is not None else None
        if wrong:
            self.report.add("TG214", place, ("strip",), *wrong)
        return wrong is None

    def _check_idempotency(self, form: IdempotencyForm, place: Place) -> None:
        if form.ttl == 0:
            said = "a record that is kept for no time promises nothing"
            self.report.add("TG111", place, ("idempotency", "ttl"), said, "write 24h")
        need = "a call without a key is not refused" if form.require else "a repeated key is not recognised"
        said = f"idempotency is checked but not kept yet: {need}, and a repeated write runs again"
        hint = "callers must not rely on Idempotency-Key in this version"
        self.report.add("TG404", place, ("idempotency",), said, hint, on_key=True)

    def _check_tiers(self, tiers: list[str] | None, place: Place) -> None:
        if tiers == []:
            self.report.add(
                "TG204", place, ("tiers",), "a route for no tier takes no call", "remove 'tiers' to take any"
            )
        for at, tier in enumerate(tiers or ()):
            self.tiers.refer(tier, place, ("tiers", at), self.report)

    def _without_removals(self, own: dict[str, Limit | None], place: Place) -> dict[str, Limit | None]:
        for name in [name for name, limit in own.items() if limit is None]:
            said, hint = "a route inherits no limits, so there is nothing to remove", "remove the line"
            self.report.add("TG207", place, ("limits", name), said, hint, on_key=True)
            del own[name]
        return own

    def _check_overlaps(self) -> None:
        """Segment by segment a literal beats a capture, so only equal templates can be in doubt."""
        seen: dict[tuple[str, ...], list[Route]] = {}
        for route in self.routes.sound.values():
            for other in seen.setdefault(segments_of(route.path), []):
                shared = _shared_methods(route, other)
                if shared is not None:
                    at = self.entries[other.name].place.spot(("match", "path"), on_key=False)
                    whose = f"route {short(other.name)} at {at.file}:{at.line}:{at.column}"
                    said = f"{short(route.path)} takes the same {shared} calls as {whose}"
                    hint = "give each its own methods, or make one path more specific"
                    self.report.add("TG203", self.entries[route.name].place, ("match", "path"), said, hint)
                    break
            seen[segments_of(route.path)].append(route)


def _shared_methods(one: Route, other: Route) -> str | None:
    if one.methods is None or other.methods is None:
        known = one.methods or other.methods
        return ", ".join(sorted(known)) if known else "(all)" if one.methods is other.methods else None
    return ", ".join(sorted(one.methods & other.methods)) or None


def _cost(form: int | dict[str, int]) -> Cost:
    return Cost(default=form) if isinstance(form, int) else Cost(by_name=MappingProxyType(dict(form)))


def _idempotency(form: IdempotencyForm) -> Idempotency:
    return Idempotency(
        require=form.require, ttl_us=form.ttl, max_body=form.max_body, retain=form.retain,
        fingerprint=form.fingerprint, on_unknown=form.on_unknown, on_5xx=form.on_5xx,
        on_store_failure=form.on_store_failure,
    )  # fmt: skip
