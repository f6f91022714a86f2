"""The internal objective is worked out for those who run the service, and is in nothing that a customer is handed."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest

from gateway.sla import report as formats
from policies.document import SourceFile, compose
from policies.sla.canonical import canonical
from policies.sla.evidence import Basis, counted, figure
from policies.sla.export import write
from policies.sla.histogram import Commitment, Histogram
from policies.sla.internal import internal
from policies.sla.promises import common_value, own_value, promises_of
from policies.sla.record import monthly
from tests.policies.sla_bases import basis_of, case_named

TELLTALES = ("99.98765", "97.53124", "internal")
TARGET, SHARE = Decimal(TELLTALES[0]), Fraction(Decimal(TELLTALES[1])) / 100


@pytest.fixture(scope="module")
def stricter() -> Basis:
    made = basis_of(case_named("late_extension_not_excluded"))
    latency = (Commitment(share=SHARE, under_us=250_000),)
    terms = replace(made.head.terms, internal_target=TARGET, internal_latency=latency)
    layers = {"internal": "tier:premium", "internal_target": "tier:premium", "target": "tier:premium"}
    return replace(made, head=replace(made.head, terms=terms, provenance=layers))


def test_the_same_month_is_judged_against_both(stricter: Basis) -> None:
    found = figure(stricter)
    ours = internal(found, stricter.head.terms, Histogram(counts=counted(stricter).latency))
    assert ours is not None
    assert (ours.target, ours.met) == (TARGET, False)
    assert [each.met for each in ours.latency] == [True]


def test_a_month_may_keep_its_promise_and_miss_what_we_aim_at(stricter: Basis) -> None:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    terms = replace(basis.head.terms, internal_target=Decimal("99.95"))
    found = figure(basis)
    ours = internal(found, terms)
    assert ours is not None
    assert (found.met, ours.met) == (True, False)


def test_without_an_internal_objective_there_is_none(stricter: Basis) -> None:
    basis = basis_of(case_named("43_minutes_meets_99_9"))
    assert internal(figure(basis), basis.head.terms) is None


def test_without_data_there_is_no_verdict() -> None:
    basis = basis_of(case_named("contract_not_in_force"))
    ours = internal(figure(basis), replace(basis.head.terms, internal_target=TARGET))
    assert ours is not None
    assert ours.met is None


@pytest.mark.parametrize("telltale", TELLTALES)
def test_nothing_that_a_customer_is_handed_tells_of_it(stricter: Basis, telltale: str) -> None:
    record = monthly(stricter)
    handed = {
        "export": "".join(write(stricter)),
        "record": canonical(record).decode(),
        "html": formats.as_html(record).decode(),
        "csv": formats.as_csv(record).decode(),
    }
    assert [name for name, text in handed.items() if telltale in text] == []


def test_no_version_and_no_layer_publishes_it() -> None:
    text = (
        f'sla: {{internal: {{target: {TELLTALES[0]}%, latency: ["{TELLTALES[1]}% under 250ms"]}}}}\n'
        "tiers: {t: {limits: {minute: 60/min}, sla: {internal: {target: 99.98765%}}}}\n"
        "tenants: {acme: {tier: t, sla: {target: 99.9%, internal: {target: 99.98765%}}}}\n"
    )
    policy = compose([SourceFile(name="a.yaml", data=text.encode())]).policy
    assert policy is not None
    promises = promises_of(policy)
    published = json.dumps([common_value(promises), *(own_value(each) for each in promises.tenants.values())])
    assert "acme" not in published  # the tenant's name is the act's, not the layer's
    assert [each for each in TELLTALES if each in published] == []
