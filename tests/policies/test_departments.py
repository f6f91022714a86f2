"""Departments: tenants with calls of their own whose SLA is laid over their customer's (spec V4)."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from time import perf_counter

import pytest

from policies.document import Composed, SourceFile, compose
from policies.format.substitution import NOTHING
from policies.model import PolicySet
from policies.sla.agreement import agreement, plan_of
from policies.sla.promises import own_from, own_value, promises_of
from policies.sla.register import Register
from policies.sla.support import Objective

TEXT = """
sla: {target: 99.5%, claim_days: 20}
tiers:
  premium: {limits: {minute: 60/min}, sla: {target: 99.9%}, support: premium}
tenants:
  acme-emea: {tier: premium, department_of: acme, sla: {claim_days: 45}}
  acme: {tier: premium, calendar: berlin, sla: {target: 99.95%, latency: ["99% under 500ms"]}}
  acme-apac: {tier: premium, department_of: acme, calendar: tokyo}
support:
  premium: {hours: 24x7, respond: {S1: 30m, S3: 4bh}, objectives: {S3: 90% within 6bh}}
calendars:
  business: {zone: UTC, open: {mon-fri: ["09:00-17:00"]}}
  berlin: {zone: Europe/Berlin, open: {mon-fri: ["09:00-17:00"]}}
  tokyo: {zone: Asia/Tokyo, open: {mon-fri: ["09:00-17:00"]}}
"""


def composed(text: str, tenants: str = "") -> Composed:
    file = SourceFile(name="a.yaml", data=text.encode())
    return compose([file], replace(NOTHING, lines=lambda _: tenants.encode().splitlines()))


@pytest.fixture(scope="module")
def policy() -> PolicySet:
    made = composed(TEXT)
    assert made.policy is not None, made.findings
    return made.policy


def test_a_department_may_stand_before_its_customer(policy: PolicySet) -> None:
    assert policy.tenants["acme-emea"].department_of == "acme"


def test_a_departments_terms_come_from_four_layers(policy: PolicySet) -> None:
    found = agreement(Register(), plan_of(policy), "acme-emea", "2026-04")
    assert (found.terms.target, found.terms.claim_days, found.customer) == (Decimal("99.95"), 45, "acme")
    assert dict(found.provenance) == {
        "target": "customer:acme", "latency": "customer:acme", "claim_days": "department:acme-emea",
    }  # fmt: skip


def test_a_department_without_terms_of_its_own_has_its_customers(policy: PolicySet) -> None:
    found = agreement(Register(), plan_of(policy), "acme-apac", "2026-04")
    assert (found.terms.target, found.provenance["claim_days"]) == (Decimal("99.95"), "service")


@pytest.mark.parametrize(
    ("tenant", "zone"),
    [
        ("acme", "Europe/Berlin"),  # its own choice
        ("acme-emea", "Europe/Berlin"),  # its customer's
        ("acme-apac", "Asia/Tokyo"),
    ],
)
def test_support_counts_by_the_calendar_that_was_chosen(policy: PolicySet, tenant: str, zone: str) -> None:
    calendar = agreement(Register(), plan_of(policy), tenant, "2026-04").clocks.calendar
    assert calendar is not None
    assert calendar.zone == zone


def test_objectives_of_support_are_part_of_what_is_agreed(policy: PolicySet) -> None:
    (found,) = agreement(Register(), plan_of(policy), "acme", "2026-04").objectives
    assert isinstance(found, Objective)
    assert (found.severity, found.share, found.within.amount) == ("S3", Decimal("0.9"), 6)


def test_what_a_department_is_promised_is_read_back_from_its_act(policy: PolicySet) -> None:
    own = promises_of(policy).tenants["acme-apac"]
    assert own_from(json.loads(json.dumps(own_value(own)))) == own


def test_departments_of_a_tenants_file_may_belong_to_customers_of_the_policy() -> None:
    lines = '{"id": "acme-new", "tier": "premium", "department_of": "acme"}\n'
    made = composed(TEXT + "tenants_from: tenants.jsonl\n", lines)
    assert made.policy is not None, made.findings
    assert made.policy.tenants["acme-new"].department_of == "acme"


def test_a_department_in_a_tenants_file_is_complained_about_by_line() -> None:
    lines = '{"id": "a", "tier": "premium"}\n{"id": "b", "tier": "premium", "department_of": "acmee"}\n'
    (found,) = [each for each in composed(TEXT + "tenants_from: t.jsonl\n", lines).findings if each.code == "TG201"]
    assert (found.line, found.path, found.hint) == (2, "tenants.b.department_of", "did you mean 'acme'?")


def test_a_customer_that_was_complained_about_is_not_called_undefined() -> None:
    broken = TEXT.replace("target: 99.95%", "target: 99.95")
    assert [each.code for each in composed(broken).findings if each.severity == "error"] == ["TG113"]


def test_ten_thousand_departments_of_nobody_are_told_in_a_moment() -> None:
    lines = "".join(f'{{"id": "d{at}", "tier": "premium", "department_of": "nobody{at}"}}\n' for at in range(10_000))
    begun = perf_counter()
    findings = composed(TEXT + "tenants_from: t.jsonl\n", lines).findings
    assert sum(each.code == "TG201" for each in findings) >= 200
    assert perf_counter() - begun < 20
