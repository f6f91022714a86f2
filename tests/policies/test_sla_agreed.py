"""Whether a header says what the log of acts says was promised: terms, owners, contract, version (V1, V2, V4, R2)."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from policies.sla.agreed import mismatches
from policies.sla.agreement import Plan, agreement
from policies.sla.evidence import Basis, Fee, Head, VersionName
from policies.sla.export import read, write
from policies.sla.promises import Own
from policies.sla.register import withheld
from policies.sla.terms import Cap, Chronic, SlaTerms, terms_of
from policies.sla.verification import verification
from tests.policies.sla_log import Log, at, closing, own, promises

PLAN = Plan(promises=promises("99.8"), tiers={"acme": "premium", "emea": "premium", "globex": "basic"})


def logged() -> Log:
    log = Log()
    given = promises(tenants={
        "acme": own(claim_days=45), "globex": own(tier="basic", claim_days=60),
        "emea": Own(fields={"claim_days": 10}, tier="premium", department_of="acme"),
    })  # fmt: skip
    log.publish("1.0.0", "2026-02-01T00:00:00Z", given)
    log.say("bind", tenant="globex", tier="premium", from_="2026-03-15T00:00:00Z", begins=True)
    return log


def basis(log: Log, tenant: str | None = "acme", month: str = "2026-03", **changed: Any) -> Basis:
    """As it would be exported, and then ``changed``."""
    found = agreement(log.register, PLAN, tenant, month)
    head = Head(
        tenant=tenant, period=found.period, terms=found.terms, provenance=found.provenance, owners=found.owners,
        version=found.version, contract=found.contract, known_until_s=found.period.end_s,
    )  # fmt: skip
    return Basis(head=replace(head, **changed), acts=withheld(log.links, tenant))


@pytest.mark.parametrize("tenant", ["acme", "globex", "emea", None])
@pytest.mark.parametrize("month", ["2026-01", "2026-03", "2026-04"])
def test_what_is_exported_agrees_with_the_part_of_the_log_that_goes_with_it(tenant: str | None, month: str) -> None:
    assert mismatches(basis(logged(), tenant, month)) == ()


def test_a_log_without_a_version_has_nothing_to_be_held_against() -> None:
    assert mismatches(basis(Log(), terms=terms_of({"target": "99.5"}))) == ()


NAME = VersionName(id="sla", number="1.0.0", sha256="ab" * 32)
CHANGED = [
    ({"terms": terms_of({"target": "99.5"})}, {"terms.target", "terms.bands", "terms.claim_days"}),
    ({"owners": {"crm": "third_party", "code": "third_party"}}, {"owners.crm"}),
    ({"owners": {"crm": "managed"}}, {"owners.code"}),
    ({"version": None}, {"version"}),
    ({"version": NAME}, {"version"}),  # another content under the same number
    ({"version": replace(NAME, number="1.1.0")}, {"version"}),
]


@pytest.mark.parametrize(("changed", "names"), CHANGED)
def test_terms_that_were_chosen_afterwards_are_named(changed: dict[str, Any], names: set[str]) -> None:
    assert {each.name for each in mismatches(basis(logged(), **changed))} == names


def test_a_contract_that_was_recorded_cannot_be_another_in_the_header() -> None:
    given = basis(logged(), "globex")
    assert given.head.contract == (at("2026-03-15T00:00:00Z"), None)
    (found,) = mismatches(replace(given, head=replace(given.head, contract=(at("2026-03-20T00:00:00Z"), None))))
    assert found.name == "contract"
    log = logged()
    log.say("bind", tenant="acme", tier="premium", from_="2026-03-10T00:00:00Z", to="2026-03-20T00:00:00Z")
    ends = at("2026-03-20T00:00:00Z")
    assert mismatches(basis(log, contract=(at("2026-01-05T00:00:00Z"), ends))) == ()  # since the service began
    assert [each.name for each in mismatches(basis(log, contract=(None, ends - 1)))] == ["contract"]


def test_months_that_were_missed_are_those_that_were_published() -> None:
    """One less would take a right to terminate away (C5)."""
    terms = replace(SlaTerms(), chronic=Chronic(misses=2, months=3))
    log = Log()
    for period, verdict in (("2025-12", "missed"), ("2026-01", "missed"), ("2026-02", "met")):
        act = closing("acme", period)
        log.record(("close", {**act, "record": {**act["record"], "figure": {"verdict": verdict}}}), now="2026-03-10")
    log.record(("close", closing("globex", "2026-02")))
    assert mismatches(basis(log, terms=terms, missed_before=("2026-01",))) == ()
    for claimed in ((), ("2025-12", "2026-01"), ("2026-02",)):
        (found,) = mismatches(basis(log, terms=terms, missed_before=claimed))
        assert (found.name, found.found) == ("missed_before", ["2026-01"])


BY_YEAR = replace(SlaTerms(), cap=Cap(percent=Decimal(100), window="contract_year"))
FEE = Fee(amount=Decimal(1000), currency="EUR")


@pytest.mark.parametrize(
    ("began", "credited"),
    [
        ("2024-02-10T00:00:00Z", "650"),  # the third year began in February 2026
        ("2025-12-31T23:59:59Z", "850"),
        (None, "750"),  # by the calendar
        ("2025-03-01T00:00:00Z", "0"),
    ],
)
def test_what_was_credited_before_is_what_was_published_of_the_contract_year(began: str | None, credited: str) -> None:
    """One amount less would let credits pass the cap, one more would take them away (C2)."""
    log = Log()
    for tenant, period, amount, currency in (
        ("acme", "2025-12", "100", "EUR"), ("acme", "2026-01", "100", "EUR"), ("acme", "2026-02", "650", "EUR"),
        ("globex", "2026-02", "70", "EUR"), ("acme", "2025-11", "3000", "JPY"), ("acme", "2026-03", "5", "EUR"),
    ):  # fmt: skip
        act = closing(tenant, period)
        credit = {"percent": "10", "amount": amount, "fee": {"amount": "1000", "currency": currency}}
        log.record(("close", {**act, "record": {**act["record"], "credit": credit}}), now="2026-04-10")
    given = {"terms": BY_YEAR, "fee": FEE, "contract": (None if began is None else at(began), None)}
    assert mismatches(basis(log, credited_before=Decimal(credited), **given)) == ()
    (found,) = mismatches(basis(log, credited_before=Decimal(credited) + 1, **given))
    assert (found.name, found.found) == ("credited_before", credited)
    by_month = {**given, "terms": SlaTerms()}
    assert mismatches(basis(log, **by_month)) == ()


def test_a_pin_holds_in_the_export_too() -> None:
    log = logged()
    log.say("pin", tenant="acme", number="1.0.0", until="2027-01-01T00:00:00Z", now="2026-01-10T00:00:00Z")
    log.publish("1.1.0", "2026-06-01T00:00:00Z", promises("99.95"))
    assert mismatches(basis(log, month="2026-07")) == ()
    given = agreement(log.register, PLAN, "globex", "2026-07")
    (found,) = mismatches(basis(log, month="2026-07", version=given.version))
    assert found.name == "version"


def test_verification_says_it_of_an_export_that_was_made_anew_as_a_whole() -> None:
    """Every digest is right: only the log gives it away."""
    sound = verification(read(write(basis(logged()))))
    assert [each for each in sound.findings if each.what == "header"] == []
    worse = basis(logged(), terms=replace(SlaTerms(), claim_days=45, target=terms_of({"target": "99.95"}).target,
                                          bands=terms_of({"target": "99.95"}).bands, min_run_seconds=600))  # fmt: skip
    (finding,) = verification(read(write(worse))).findings
    assert (finding.what, finding.name) == ("header", "terms.min_run_seconds")
    assert finding.said == "the header says terms.min_run_seconds = 600; the log of acts gives 300"
