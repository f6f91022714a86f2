"""What a tenant is promised in a month: version, pin, tier, layers, contract (V2, V4, V5, P2)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from policies.document import SourceFile, compose
from policies.model import PolicySet, Tenant, Tier
from policies.sla.agreement import Plan, agreement, plan_of
from policies.sla.promises import Own, promises_from, promises_of
from policies.sla.publication import acts_of
from tests.policies.sla_log import Log, at, own, promises

FIRST, JUNE, JULY = "2026-02-01T00:00:00Z", "2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z"


def plan(**more: Any) -> Plan:
    return Plan(promises=promises("99.8", **more), tiers={"acme": "premium", "globex": "basic", "emea": "premium"})


def target(log: Log, month: str, tenant: str | None = "acme", given: Plan | None = None) -> tuple[str | None, Any]:
    """The target, and the version that says so."""
    found = agreement(log.register, given or plan(), tenant, month)
    return found.version and found.version.number, found.terms.target


def versions(**more: Any) -> Log:
    """1.0.0 from February, 1.1.0 from June: each better than the one before."""
    log = Log()
    log.publish("1.0.0", FIRST, promises(tiers={"premium": {"target": "99.91"}, "basic": {"target": None}}, **more))
    log.publish("1.1.0", JUNE, promises(tiers={"premium": {"target": "99.92"}, "basic": {"target": None}}, **more))
    return log


def test_the_version_in_force_when_the_month_begins_governs_it() -> None:
    log = versions()
    assert target(log, "2026-05") == ("1.0.0", Decimal("99.91"))
    assert target(log, "2026-06") == ("1.1.0", Decimal("99.92"))
    assert target(log, "2027-06") == ("1.1.0", Decimal("99.92"))


def test_before_the_first_version_the_files_are_the_promise() -> None:
    assert target(versions(), "2026-01") == (None, Decimal("99.95"))
    assert target(Log(), "2026-06") == (None, Decimal("99.95"))


def test_a_pin_keeps_a_version_until_the_renewal_from_the_month_after_it_was_recorded() -> None:
    log = versions()
    log.say("pin", tenant="acme", number="1.0.0", until="2026-12-01T00:00:00Z", now="2026-06-10T00:00:00Z")
    assert target(log, "2026-06") == ("1.1.0", Decimal("99.92"))  # June had begun
    assert target(log, "2026-07") == ("1.0.0", Decimal("99.91"))
    assert target(log, "2026-11") == ("1.0.0", Decimal("99.91"))
    assert target(log, "2026-12") == ("1.1.0", Decimal("99.92"))
    assert target(log, "2026-07", "globex")[0] == "1.1.0"


def test_whom_a_version_names_keeps_the_tier_that_it_says_whatever_the_files_come_to_say() -> None:
    log = versions(tenants={"acme": own(claim_days=45)})
    files = replace(plan(), tiers={"acme": "basic", "globex": "basic"})
    assert target(log, "2026-06", given=files) == ("1.1.0", Decimal("99.92"))
    assert agreement(log.register, files, "acme", "2026-06").tier == "premium"
    assert agreement(log.register, files, "acme", "2026-01").tier == "basic"  # there was no version yet
    log.say("bind", tenant="acme", tier="basic", from_=JULY)
    assert [target(log, month, given=files)[1] for month in ("2026-06", "2026-07")] == [Decimal("99.92"), None]


def test_a_change_of_tier_waits_for_the_next_month() -> None:
    log = versions()
    log.say("bind", tenant="globex", tier="basic", from_=FIRST)
    log.say("bind", tenant="globex", tier="premium", from_="2026-06-02T00:00:00Z")
    assert target(log, "2026-06", "globex")[1] is None
    assert target(log, "2026-07", "globex")[1] == Decimal("99.92")


def test_the_first_month_of_a_contract_has_its_tier_and_the_time_in_force() -> None:
    log = versions()
    log.say("bind", tenant="hooli", tier="premium", from_="2026-06-15T00:00:00Z", to="2026-08-02T00:00:00Z",
            begins=True)  # fmt: skip
    june, july, august, september = (
        agreement(log.register, plan(), "hooli", f"2026-{month:02}") for month in (6, 7, 8, 9)
    )
    assert (june.tier, june.terms.target) == ("premium", Decimal("99.92"))
    for month in (june, july, august):
        assert month.contract == (at("2026-06-15T00:00:00Z"), at("2026-08-02T00:00:00Z"))
    assert september.contract[1] == at("2026-08-02T00:00:00Z")  # over: nothing of September is in force


def test_to_bind_a_tenant_takes_nothing_out_of_the_time_before() -> None:
    """Else whoever binds a tenant after an outage would have made it undone."""
    log = versions()
    log.say("bind", tenant="acme", tier="basic", from_="2026-06-15T00:00:00Z", now="2026-06-10T00:00:00Z")
    may, june, july = (agreement(log.register, plan(), "acme", f"2026-{month:02}") for month in (5, 6, 7))
    assert [each.tier for each in (may, june, july)] == ["premium", "premium", "basic"]
    assert [each.contract for each in (may, june, july)] == [(None, None)] * 3
    log.say("bind", tenant="gone", tier="basic", from_="2026-07-01T00:00:00Z")  # of whom no file speaks
    assert agreement(log.register, plan(), "gone", "2026-06").tier == "basic"


def test_a_tenant_that_no_act_names_has_the_tier_of_the_files_and_an_open_contract() -> None:
    found = agreement(versions().register, plan(), "globex", "2026-06")
    assert (found.tier, found.contract, found.customer) == ("basic", (None, None), None)


def test_who_is_in_neither_the_files_nor_the_log_is_nobody() -> None:
    with pytest.raises(ValueError, match="hooli is no tenant"):
        agreement(versions().register, plan(), "hooli", "2026-06")


@pytest.mark.parametrize("month", ["2026", "2026-13", "June", "2026-Q2"])
def test_a_month_is_a_month(month: str) -> None:
    with pytest.raises(ValueError, match=r"month|period"):
        agreement(Log().register, plan(), "acme", month)


def test_the_most_specific_layer_wins_and_each_term_says_whose_it_is() -> None:
    given = promises(tenants={
        "acme": own(claim_days=60, threshold_percent="4"),
        "emea": Own(fields={"claim_days": 10}, tier="premium", department_of="acme"),
    })  # fmt: skip
    log = Log()
    log.publish("1.0.0", FIRST, given)
    acme = agreement(log.register, plan(), "acme", "2026-06")
    emea = agreement(log.register, plan(), "emea", "2026-06")
    assert (acme.terms.claim_days, acme.customer) == (60, None)
    assert (emea.terms.claim_days, emea.terms.threshold_percent, emea.customer) == (
        10,
        Decimal(4),
        "acme",
    )  # no best of
    assert dict(emea.provenance) == {
        "target": "tier:premium", "claim_days": "department:emea", "threshold_percent": "customer:acme",
    }  # fmt: skip


def test_the_platform_is_judged_by_the_service_alone() -> None:
    found = agreement(versions().register, plan(), None, "2026-06")
    assert (found.tier, found.terms.target, found.terms.scope) == (None, Decimal("99.9"), "platform")
    assert found.clocks.targets == {}


def test_owners_groups_and_clocks_are_those_of_the_version() -> None:
    changed = plan(owners={"crm": "third_party"}, groups={}, support={})
    found = agreement(versions().register, changed, "acme", "2026-06")
    assert found.owners == {"crm": "managed", "code": "third_party"}
    assert found.groups["both"] == ("code", "crm")
    assert found.clocks.targets["S1"] is not None
    assert found.clocks.targets["S2"] is None
    assert (found.channels, found.escalation) == (("chat",), ("on-call",))


def test_months_begin_in_the_zone_of_the_terms_that_rule_them() -> None:
    given = promises(tenants={"acme": own(zone="America/New_York")})
    log = Log()
    log.publish("1.0.0", FIRST, given)
    found = agreement(log.register, plan(), "acme", "2026-06")  # the files say UTC
    assert (found.period.zone, found.period.start_s) == ("America/New_York", at("2026-06-01T04:00:00Z"))
    assert agreement(log.register, plan(), "acme", "2026-02").version is not None  # begins five hours later
    ahead = promises(tenants={"acme": own(zone="Asia/Tokyo")})
    log = Log()
    log.publish("1.0.0", FIRST, ahead)
    months = [agreement(log.register, plan(**vars_of(ahead)), "acme", month) for month in ("2026-02", "2026-03")]
    assert [month.version is not None for month in months] == [False, True]  # February had begun in Tokyo


def vars_of(given: Any) -> dict[str, Any]:
    return {"tenants": given.tenants}


def test_terms_that_move_the_months_back_and_forth_are_refused() -> None:
    log = Log()
    log.say("bind", tenant="acme", tier="west", from_=FIRST)
    log.say("bind", tenant="acme", tier="east", from_="2026-06-01T01:00:00Z")
    tiers = {"west": {"zone": "America/New_York"}, "east": {"zone": "UTC"}}
    with pytest.raises(ValueError, match="back and forth"):  # June begins at 4 by east's tier, which is not yet his
        agreement(log.register, Plan(promises=promises(tiers=tiers), tiers={"acme": "west"}), "acme", "2026-06")


def test_the_objectives_that_customers_never_see_are_the_files() -> None:
    tiers = {"premium": Tier(name="premium", limits=(), sla={"internal": {"target": Decimal("99.99")}})}
    policy = PolicySet(
        version="v", tiers=tiers, sla={"target": Decimal("99.9"), "internal": {"target": Decimal("99.95")}},
        tenants={"acme": Tenant(id="acme", tier="premium")},
    )  # fmt: skip
    log = versions()
    given = plan_of(policy)
    assert "internal" not in repr(given.promises)
    assert agreement(log.register, given, "acme", "2026-06").terms.internal_target == Decimal("99.99")
    assert agreement(log.register, given, None, "2026-06").terms.internal_target == Decimal("99.95")
    assert agreement(log.register, plan(), "acme", "2026-06").terms.internal_target is None


def test_a_tenant_without_a_credential_of_its_own_has_the_tier_of_the_anonymous() -> None:
    policy = PolicySet(version="v", tiers={"basic": Tier(name="basic", limits=())})
    assert plan_of(policy).tiers == {}
    policy = replace(policy, auth=replace(policy.auth, anonymous_tier="basic"))
    assert plan_of(policy).tiers == {"anonymous": "basic"}


POLICY = """
version: 1
auth: {mtls: {header: x-client}}
server: {trusted_proxies: [10.0.0.0/8]}
upstreams:
  crm: {url: "http://crm.example.com"}
  code: {url: "http://code.example.com", owner: third_party}
routes:
  one: {match: {path: "/a"}, upstream: crm, group: g}
  two: {match: {path: "/b"}, upstream: code, group: g}
  three: {match: {path: "/c"}, upstream: code}
tiers:
  premium: {sla: {target: 99.95%, bands: [{min: 99.95%, credit: 0%}, {min: 0%, credit: 12.5%}]}, support: s}
support: {s: {hours: 24x7, respond: {S1: 30m, S3: 4bh}}}
calendars: {business: {zone: Europe/Berlin, open: {mon-fri: ["09:00-12:00", "13:00-17:00"]}, holidays: [2026-12-25]}}
sla: {target: 99.9%, maintenance_cap: 4h, cap: {percent: 50%}, internal: {target: 99.99%}}
tenants:
  acme: {tier: premium, subjects: [a], sla: {claim_days: 45}}
  globex: {tier: premium, subjects: [g]}
"""


def test_what_the_policy_files_promise_survives_its_publication() -> None:
    """Every kind of value that a file can hold, exactly."""
    found = compose([SourceFile(name="policy.yaml", data=POLICY.encode())])
    assert found.policy is not None, found.findings
    given = promises_of(found.policy)
    assert given.groups == {"g": ("code", "crm"), "three": ("code",)}
    assert given.owners == {"crm": "managed", "code": "third_party"}
    assert set(given.tenants) == {"acme"}
    *layers, (_, version) = acts_of(id="s", number="1.0.0", effective_from_s=at(FIRST), text="", promises=given)
    assert [content["tenant"] for _, content in layers] == ["acme"]
    assert promises_from(version["policy"], given.tenants) == given
    log = Log()
    log.publish("1.0.0", FIRST, given)
    by_version = agreement(log.register, plan_of(found.policy), "acme", "2026-03")
    by_files = agreement(Log().register, plan_of(found.policy), "acme", "2026-03")
    assert by_version == replace(by_files, version=by_version.version)
    assert by_version.terms.bands[1].credit == Decimal("12.5")
