"""Tiers with their parents worked in: limits merged by name, removals gone, SLA fields laid over one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from policies.contracts import check_sla, sla_fields
from policies.limits import Limits
from policies.model import Limit, Tier, nothing
from policies.places import Place, Report
from policies.reading import Named, read_form
from policies.schema import TierForm
from policies.sections import Entry
from policies.units import closest, short


@dataclass(slots=True)
class TierReader:
    """``service_sla`` is what the ``sla`` section says; ``support`` are the names a tier may refer to.

    ``origins`` tells where a limit of a resolved tier is written, for complaints about it.
    """

    entries: Mapping[str, Entry]
    limits: Limits
    support: Named[object]
    service_sla: Mapping[str, object]
    report: Report
    tiers: Named[Tier] = field(default_factory=lambda: Named("tier"))
    _forms: dict[str, TierForm | None] = field(default_factory=dict)
    _resolving: list[str] = field(default_factory=list)
    _done: dict[str, Tier | None] = field(default_factory=dict)

    def read(self) -> Named[Tier]:
        for name, entry in self.entries.items():
            self.tiers.define(name, entry.place, self.report)
            form = self._forms[name] = read_form(TierForm, entry, self.report)
            if form is None:
                self.tiers.mention(entry.data, "extends")
                self.support.mention(entry.data, "support")
        for name in self.entries:
            tier = self._resolve(name)
            if tier is not None:
                self.tiers.sound[name] = tier
        return self.tiers

    def _resolve(self, name: str) -> Tier | None:
        if name in self._done:
            return self._done[name]
        form = self._forms[name]
        if form is None:
            return None
        if name in self._resolving:
            self._complain_of_cycle(name)
            return None
        self._resolving.append(name)
        self._done[name] = self._laid_over_parent(name, form, self.entries[name].place)
        self._resolving.pop()
        return self._done[name]

    def _laid_over_parent(self, name: str, form: TierForm, place: Place) -> Tier | None:
        parent: Tier | None = None
        if form.extends is not None:
            known = self.tiers.refer(form.extends, place, ("extends",), self.report)
            parent = self._resolve(form.extends) if known else None
        own = self.limits.read(form.limits, place, ("limits",))
        if form.support is not None:
            self.support.refer(form.support, place, ("support",), self.report)
        sla = self._sla(form, parent, place)
        if own is None or (form.extends is not None and parent is None):
            return None
        limits = self._merged(own, parent, place)
        support = form.support or (parent.support if parent else None)
        return Tier(name=name, limits=limits, sla=sla, support=support)

    def _merged(self, own: Mapping[str, Limit | None], parent: Tier | None, place: Place) -> tuple[Limit, ...]:
        made = {limit.name: limit for limit in parent.limits} if parent else {}
        for name, limit in own.items():
            if limit is not None:
                made[name] = limit
            elif made.pop(name, None) is None:
                hint = closest(name, made) or "null removes a limit that the parent tier has"
                said = f"there is no inherited limit {short(name)} to remove"
                self.report.add("TG207", place, ("limits", name), said, hint, on_key=True)
        return tuple(made.values())

    def _sla(self, form: TierForm, parent: Tier | None, place: Place) -> Mapping[str, object]:
        inherited = parent.sla if parent else nothing()
        if form.sla is None:
            return inherited
        check_sla(form.sla, {**self.service_sla, **inherited}, place, ("sla",), self.report)
        return MappingProxyType({**inherited, **sla_fields(form.sla)})

    def _complain_of_cycle(self, name: str) -> None:
        circle = [*self._resolving[self._resolving.index(name) :], name]
        first = min(circle[:-1], key=list(self.entries).index)
        at = circle.index(first)
        round_trip = " -> ".join([*circle[at:-1], *circle[: at + 1]])
        place = self.entries[first].place
        self.report.add("TG202", place, ("extends",), f"tiers extend each other: {round_trip}", "cut the circle")
