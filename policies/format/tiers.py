"""Tiers with their parents worked in: limits merged by name, removals gone, SLA fields laid over one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from policies.format.entries import Named, read_form
from policies.format.limits import Limits
from policies.format.report import Place, Report
from policies.format.sections import Entry
from policies.format.terms import check_sla, sla_fields
from policies.format.units import closest, short
from policies.model import Limit, Tier, nothing
from policies.schema import TierForm

MOST_SHOWN: Final = 10
"""Tiers of a circle that a message names."""


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
        """Parents first, in a loop: a chain may be longer than a stack."""
        chain: dict[str, None] = {name: None}
        last = name
        while (parent := self._parent(last)) is not None and parent not in self._done:
            if parent in chain:
                names = list(chain)
                circle = names[names.index(parent) :]
                self._complain_of_cycle(circle)
                self.tiers.used.update(circle)
                self._done.update(dict.fromkeys(circle))
                break
            chain[parent] = None
            last = parent
        for child in reversed(chain):
            form = self._forms[child]
            if child not in self._done:
                place = self.entries[child].place
                self._done[child] = None if form is None else self._laid_over_parent(child, form, place)
        return self._done[name]

    def _parent(self, name: str) -> str | None:
        form = self._forms.get(name)
        return form.extends if form and form.extends in self._forms else None

    def _laid_over_parent(self, name: str, form: TierForm, place: Place) -> Tier | None:
        parent: Tier | None = None
        if form.extends is not None:
            known = self.tiers.refer(form.extends, place, ("extends",), self.report)
            parent = self._done.get(form.extends) if known else None
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

    def _complain_of_cycle(self, circle: list[str]) -> None:
        members = set(circle)
        first = next(name for name in self.entries if name in members)
        at = circle.index(first)
        steps = [*circle[at:], *circle[: at + 1]]
        shown = steps if len(steps) <= MOST_SHOWN else [*steps[: MOST_SHOWN - 2], "...", first]
        round_trip = " -> ".join(shown)
        place = self.entries[first].place
        self.report.add("TG202", place, ("extends",), f"tiers extend each other: {round_trip}", "cut the circle")
