"""Logs of acts for tests: written act by act, as a gateway would record them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from policies.model import BusinessTime, Calendar, Support
from policies.sla.chain import Act, Link
from policies.sla.entry import entered
from policies.sla.instants import written
from policies.sla.promises import Own, Promises
from policies.sla.publication import acts_of
from policies.sla.register import Register, register

DAY_S = 86_400
HASH = "ab" * 32


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


class Log:
    """Grows by what is recorded; ``now`` is the recorder's clock."""

    def __init__(self, now: str = "2026-01-01T00:00:00Z") -> None:
        self.links: tuple[Link, ...] = ()
        self.now_s = at(now)

    def record(self, *acts: tuple[str, Mapping[str, Any]], by: str = "on-call", now: str | None = None) -> Link:
        self.now_s = self.now_s if now is None else at(now)
        made = [Act(kind=kind, actor=by, at_s=self.now_s, content=content) for kind, content in acts]
        self.links = (*self.links, *entered(self.links, made))
        return self.links[-1]

    def say(self, kind: str, *, by: str = "on-call", now: str | None = None, **content: Any) -> Link:
        """One act; ``from_`` and ``id`` as keys of their names."""
        named = {name.rstrip("_"): value for name, value in content.items()}
        return self.record((kind, named), by=by, now=now)

    def publish(
        self, number: str, effective_from: str, promises: Promises, *, now: str | None = None, text: str = "",
        by: str = "release-manager",
    ) -> Link:  # fmt: skip
        acts = acts_of(id="sla", number=number, effective_from_s=at(effective_from), text=text, promises=promises)
        return self.record(*acts, by=by, now=now)

    @property
    def register(self) -> Register:
        return register(self.links)


PREMIUM = Support(
    name="premium", hours="24x7", channels=("chat",), escalation=("on-call",),
    respond={"S1": BusinessTime(unit="elapsed_us", amount=1_800_000_000)},
)  # fmt: skip
BUSINESS = Calendar(name="business", zone="Europe/Berlin", open={0: ((540, 1020),)}, holidays=("2026-12-25",))


def promises(
    target: str | None = "99.9", *, tiers: Mapping[str, Mapping[str, Any]] | None = None, **more: Any
) -> Promises:
    """A service with two tiers, one of which has no target."""
    given: dict[str, Any] = {
        "service": {"target": target},
        "tiers": {"premium": {"target": "99.95"}, "basic": {"target": None}} if tiers is None else tiers,
        "owners": {"crm": "managed", "code": "third_party"},
        "groups": {"crm": ("crm",), "code": ("code",), "both": ("code", "crm")},
        "support": {"premium": PREMIUM},
        "calendars": {"business": BUSINESS},
    }
    return Promises(**{**given, **more})


def own(tier: str = "premium", **fields: Any) -> Own:
    return Own(fields=fields, tier=tier)


def record(
    tenant: str | None, period: str, credit: str = "0", *, revision: int = 1, zone: str = "UTC",
    auto_claim: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """What a published record needs to say to be one."""
    return {
        "kind": "monthly", "tenant": tenant, "period": {"name": period, "zone": zone}, "revision": revision,
        "input_sha256": HASH, "credit": {"percent": credit},
        "sla": {"version": {"id": "sla"}, "terms": {"claim_days": {"value": 30}, "auto_claim": {"value": auto_claim}}},
    }  # fmt: skip


def closing(tenant: str | None, period: str, credit: str = "0", **more: Any) -> dict[str, Any]:
    made = record(tenant, period, credit, **more)
    return {
        "tenant": tenant, "period": period, "revision": made["revision"], "input_sha256": HASH, "record": made,
    }  # fmt: skip


def instant(text: str) -> str:
    return written(at(text))
