"""By whose owner map and patience an outcome is classified: those of the version in force (spec O2, O9, V2, V5).

An edit of the policy files changes neither until a version that says so takes effect; while none was ever published,
the files are the promise. An upstream that the version does not name is ours: a carve-out must be explicit (O9). Only
outcomes that went wrong depend on either, so an answered request costs nothing here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.exchange import Outcome
from policies.model import PolicySet
from policies.sla.contract import Contract
from policies.sla.outcome import CLIENT_PATIENCE_US, Class, classify
from policies.sla.period import month_at
from policies.sla.promises import Promises, layers_for
from policies.sla.publication import Edition
from policies.sla.register import Register
from policies.sla.terms import SlaTerms
from policies.sla.versions import governing

KEPT: Final = 10_000
PATIENCE: Final = "client_patience_ms"
MINUTE_US: Final = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """``owners`` None: as the policy files say."""

    owners: Mapping[str, str] | None
    patience_us: int


class Judging:
    """What a register says of every outcome. Rules are worked out once for each tenant and minute."""

    __slots__ = ("_register", "_rules")

    def __init__(self, register: Register | None = None) -> None:
        self._register = register or Register()
        self._rules: dict[tuple[str, str | None, int], Rule] = {}

    def revised(self, outcome: Outcome, policy: PolicySet | None) -> Class | None:
        """The class of an outcome that went wrong where it is not the one that ``classify`` gives; None where it is.

        ``policy`` is the one that the outcome was served under.
        """
        if not self._register.editions:
            return _judged(outcome, _patience_of_files(outcome, policy)) if outcome.origin == "client" else None
        rule = self._rule(outcome)
        if rule.owners is not None and outcome.upstream is not None:
            owner = rule.owners.get(outcome.upstream)
            if owner != outcome.owner:
                return _judged(replace(outcome, owner=owner), rule.patience_us)
        return _judged(outcome, rule.patience_us) if outcome.origin == "client" else None

    def _rule(self, outcome: Outcome) -> Rule:
        key = (outcome.tenant, outcome.tier, outcome.known_wall_us // MINUTE_US)
        rule = self._rules.get(key)
        if rule is None:
            if len(self._rules) >= KEPT:
                self._rules.clear()
            rule = self._rules[key] = self._worked_out(*key)
        return rule

    def _worked_out(self, tenant: str, tier: str | None, minute: int) -> Rule:
        at_s = minute * 60
        contract = self._register.contract(tenant)
        edition = self.edition(at_s)
        if edition is None:
            return Rule(owners=None, patience_us=CLIENT_PATIENCE_US)
        tier = _tier_in(edition, tenant, tier)
        if contract.bindings or contract.kept or _zone(edition, tenant, tier) != _zone(edition, None, None):
            edition, tier = self._agreed(contract, edition, tenant, tier, at_s)
        fields = layers_for(edition.promises, tenant, tier).fields
        return Rule(owners=edition.promises.owners, patience_us=_patience_us(fields))

    def _agreed(
        self, contract: Contract, edition: Edition, tenant: str, tier: str | None, at_s: int
    ) -> tuple[Edition, str | None]:
        """What a contract of its own makes of it, for the whole month that holds ``at_s``."""
        zone = _zone(edition, tenant, tier)
        start_s = month_at(at_s, zone).start_s
        try:
            kept = governing(self._register.versions, start_s, contract.pin_at(start_s))
        except ValueError:  # a pin that cannot be kept
            kept = None
        found = (self._register.edition(kept.number) if kept is not None else None) or edition
        return found, contract.tier_from(start_s) or _tier_in(found, tenant, tier)

    def edition(self, at_s: int) -> Edition | None:
        """The version that rules everybody who keeps no older one; it takes effect with a month."""
        found = governing(self._register.versions, at_s)
        return None if found is None else self._register.edition(found.number)

    def differences(self, owners: Mapping[str, str], at_s: int) -> tuple[str, ...]:
        """What the files say otherwise than the version in force, by upstream; ``owners`` are the files'."""
        edition = self.edition(at_s)
        return () if edition is None else tuple(_differences(edition.promises, owners, edition.version.number))


def _zone(edition: Edition, tenant: str | None, tier: str | None) -> str:
    return str(layers_for(edition.promises, tenant, tier).fields.get("zone", SlaTerms().zone))


def _tier_in(edition: Edition, tenant: str, tier: str | None) -> str | None:
    """The tier that a version says of whom it names, else the one of the files."""
    own = edition.promises.tenants.get(tenant)
    return tier if own is None or own.tier is None else own.tier


def _differences(promises: Promises, owners: Mapping[str, str], number: str) -> list[str]:
    said = {name: promises.owners.get(name, "managed") for name in owners}
    return [
        f"upstream {name} is {owner} in the policy files and {said[name]} in version {number} of the SLA, which rules "
        "until another takes effect (`tiergate sla version`)"
        for name, owner in sorted(owners.items())
        if owner != said[name]
    ]


def _judged(outcome: Outcome, patience_us: int) -> Class:
    return classify(outcome, client_patience_us=patience_us)


def _patience_of_files(outcome: Outcome, policy: PolicySet | None) -> int:
    if policy is None:
        return CLIENT_PATIENCE_US
    tenant = policy.tenants.get(outcome.tenant)
    tier = policy.tiers.get(outcome.tier or "")
    of = policy.tenants.get(tenant.department_of) if tenant is not None and tenant.department_of else None
    layers = (policy.sla, *(each.sla for each in (tier, of, tenant) if each is not None))
    return _patience_us({name: value for layer in layers for name, value in layer.items() if name == PATIENCE})


def _patience_us(fields: Mapping[str, Any]) -> int:
    patience_ms = fields.get(PATIENCE)
    return CLIENT_PATIENCE_US if patience_ms is None else int(patience_ms) * 1_000
