"""Whose owner map and patience rule an outcome: the version's that was in force in its minute (O2, O9, V2, V5)."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from policies.exchange import Outcome
from policies.model import PolicySet, Tenant, Tier
from policies.sla.judging import Judging
from policies.sla.outcome import classify
from tests.gateway.facts import outcome
from tests.policies.sla_log import Log, at, own, promises

FEBRUARY, JULY, AUGUST = "2026-02-01T00:00:00Z", "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"
FAILED: dict[str, Any] = {"status": 502, "upstream_status": 502}


def versions(**second: Any) -> Log:
    """1.0.0 from February on; 2.0.0 from July on, in which "crm" is a third party's."""
    log = Log("2026-01-10T00:00:00Z")
    log.publish("1.0.0", FEBRUARY, promises(owners={"crm": "managed"}))
    log.publish("2.0.0", JULY, promises(owners={"crm": "third_party"}, **second), now="2026-03-01T00:00:00Z")
    return log


def ended(when: str, **facts: Any) -> Outcome:
    return outcome(known_wall_us=at(when) * 1_000_000, **{"upstream": "crm", "owner": "managed", **facts})


def cause(judging: Judging, judged: Outcome, policy: PolicySet | None = None) -> str:
    return (judging.revised(judged, policy) or classify(judged))[1]


def test_an_edit_of_the_owner_map_waits_for_its_version_to_the_second() -> None:
    judging = Judging(versions().register)
    edited = {**FAILED, "owner": "customer"}  # whatever the files say now
    assert cause(judging, ended("2026-06-30T23:59:59Z", **edited)) == "managed_upstream"
    assert cause(judging, ended(JULY, **edited)) == "third_party"


def test_before_the_first_version_takes_effect_the_files_rule() -> None:
    judging = Judging(versions().register)
    assert cause(judging, ended("2026-01-31T23:59:59Z", **FAILED, owner="customer")) == "customer"
    assert cause(Judging(), ended(JULY, **FAILED, owner="customer")) == "customer"


def test_an_upstream_that_the_version_does_not_name_is_ours() -> None:
    """O9: a carve-out must be explicit, and nobody was told of this one."""
    judging = Judging(versions().register)
    assert cause(judging, ended(JULY, **FAILED, upstream="new", owner="third_party")) == "managed_upstream"
    assert (
        cause(judging, ended(JULY, upstream=None, owner=None, status=500, origin="gateway", reason="internal"))
        == "gateway"
    )


def test_a_pinned_customer_is_judged_by_the_version_that_he_keeps() -> None:
    """V5: in every month that begins before the renewal."""
    log = versions()
    log.say("pin", now="2026-03-02T00:00:00Z", tenant="acme", number="1.0.0", until="2026-07-15T00:00:00Z")
    judging = Judging(log.register)
    assert cause(judging, ended("2026-07-31T23:59:59Z", **FAILED)) == "managed_upstream"
    assert cause(judging, ended("2026-07-31T23:59:59Z", **FAILED, tenant="globex")) == "third_party"
    assert cause(judging, ended(AUGUST, **FAILED)) == "third_party"


def test_whoever_has_months_of_his_own_zone_is_judged_by_the_version_of_each() -> None:
    """V2: the version in force when the month begins governs it; in Tokyo July has begun when 2.0.0 takes effect."""
    zones = {"acme": own(zone="America/New_York"), "tokyo": own(zone="Asia/Tokyo")}
    log = Log("2026-01-10T00:00:00Z")
    log.publish("1.0.0", FEBRUARY, promises(owners={"crm": "managed"}, tenants=zones))
    log.publish("2.0.0", JULY, promises(owners={"crm": "third_party"}, tenants=zones), now="2026-03-01T00:00:00Z")
    judging = Judging(log.register)
    assert cause(judging, ended("2026-07-01T03:59:59Z", **FAILED)) == "managed_upstream"
    assert cause(judging, ended("2026-07-01T04:00:00Z", **FAILED)) == "third_party"
    assert cause(judging, ended("2026-07-31T14:59:59Z", **FAILED, tenant="tokyo")) == "managed_upstream"
    assert cause(judging, ended("2026-07-31T15:00:00Z", **FAILED, tenant="tokyo")) == "third_party"
    assert cause(judging, ended(JULY, **FAILED, tenant="globex")) == "third_party"


LEFT: dict[str, Any] = {"origin": "client", "status": 499, "reason": None, "phase": "queue"}


@pytest.mark.parametrize(("elapsed_ms", "wanted"), [(9_999, "client_abort"), (10_000, "gateway")])
def test_patience_is_that_of_the_tenants_terms_in_force(elapsed_ms: int, wanted: str) -> None:
    given = {"tiers": {"premium": {"client_patience_ms": 20_000}}, "tenants": {"acme": own(client_patience_ms=10_000)}}
    judging = Judging(versions(**given).register)
    assert cause(judging, ended(JULY, **LEFT, elapsed_us=elapsed_ms * 1_000)) == wanted
    assert cause(judging, ended(JULY, **LEFT, elapsed_us=19_999_999, tenant="globex")) == "client_abort"
    assert cause(judging, ended(JULY, **LEFT, elapsed_us=20_000_000, tenant="globex")) == "gateway"
    assert cause(judging, ended(JULY, **LEFT, elapsed_us=29_999_999, tenant="", tier=None)) == "client_abort"


def test_the_contracts_tier_goes_before_the_one_that_was_served() -> None:
    log = versions(tiers={"premium": {"client_patience_ms": 5_000}, "basic": {"target": None}})
    log.say("bind", now="2026-03-02T00:00:00Z", tenant="acme", tier="premium", from_="2026-06-01T00:00:00Z")
    judging = Judging(log.register)
    assert cause(judging, ended(JULY, **LEFT, elapsed_us=5_000_000, tier="basic")) == "gateway"


def test_without_a_version_the_files_say_how_long_a_caller_waits() -> None:
    policy = PolicySet(
        version="v",
        sla={"client_patience_ms": 9_000},
        tiers={
            "premium": Tier(name="premium", limits=(), sla={"client_patience_ms": 8_000}),
            "basic": Tier(name="basic", limits=()),
        },
        tenants={
            "acme": Tenant(id="acme", tier="premium", sla={"client_patience_ms": 7_000}),
            "acme-emea": Tenant(id="acme-emea", tier="premium", department_of="acme"),
        },
    )
    for tenant, tier, patience_s in (
        ("acme", "premium", 7), ("acme-emea", "premium", 7), ("globex", "premium", 8), ("globex", "basic", 9),
        ("", None, 9),
    ):  # fmt: skip
        for elapsed_us, wanted in ((patience_s * 1_000_000 - 1, "client_abort"), (patience_s * 1_000_000, "gateway")):
            left = ended(JULY, **LEFT, elapsed_us=elapsed_us, tenant=tenant, tier=tier)
            assert cause(Judging(), left, policy) == wanted
    assert cause(Judging(), ended(JULY, **LEFT, elapsed_us=29_999_999)) == "client_abort"


def test_nothing_that_went_well_depends_on_owner_or_patience() -> None:
    """What lets the request path ask only about failures."""
    owners = (None, "managed", "third_party", "customer")
    for origin, status, upstream_status, truncated, reason in product(
        ("client", "gateway", "upstream"), (101, 200, 302, 404, 429, 499, 500, 503), (None, 200, 429, 500),
        (None, "gateway", "upstream"), (None, "upstream-connect", "rate-limited", "internal", "no-route"),
    ):  # fmt: skip
        facts = {"origin": origin, "status": status, "upstream_status": upstream_status, "truncated_by": truncated}
        found = {
            classify(outcome(**facts, reason=reason, owner=owner), client_patience_us=patience_us) == ("good", "ok")
            for owner in owners
            for patience_us in (1, 10**9)
        }
        assert len(found) == 1


def test_the_differences_are_named_with_the_version_that_rules() -> None:
    judging = Judging(versions().register)
    files = {"crm": "third_party", "new": "customer", "other": "managed"}
    first, second = judging.differences(files, at("2026-06-30T00:00:00Z"))
    assert first.startswith("upstream crm is third_party in the policy files and managed in version 1.0.0 of the SLA")
    assert second.startswith("upstream new is customer in the policy files and managed in version 1.0.0")
    assert len(judging.differences(files, at(JULY))) == 1
    assert judging.differences(files, at("2026-01-31T00:00:00Z")) == ()
