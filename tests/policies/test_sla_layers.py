"""Which layer's term stands (spec V4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.layers import Layer, resolve

SERVICE = Layer(name="service", fields={"target": "99.5", "claim_days": 30, "bands": ("a", "b", "c")})
TIER = Layer(name="tier:premium", fields={"target": "99.9", "bands": ("d", "e")})
CUSTOMER = Layer(name="customer:acme", fields={"target": None})
DEPARTMENT = Layer(name="department:acme/labs", fields={"claim_days": 60})


def test_layers_are_merged_field_by_field_with_the_origin_of_each() -> None:
    found = resolve([SERVICE, TIER, CUSTOMER, DEPARTMENT])
    # a target of None is said and not unsaid; bands are replaced and not joined
    assert dict(found.fields) == {"target": None, "claim_days": 60, "bands": ("d", "e")}
    assert dict(found.provenance) == {
        "target": "customer:acme", "claim_days": "department:acme/labs", "bands": "tier:premium",
    }  # fmt: skip
    assert found.origin_of("zone") == "default"


def test_a_worse_term_of_a_more_specific_layer_stands() -> None:
    worse = Layer(name="customer:acme", fields={"target": "99.0"})
    assert resolve([TIER, worse]).fields["target"] == "99.0"


@given(st.permutations([SERVICE, TIER, CUSTOMER, DEPARTMENT]))
def test_the_kind_of_a_layer_decides_and_not_its_place_in_the_list(layers: list[Layer]) -> None:
    assert resolve(layers) == resolve([SERVICE, TIER, CUSTOMER, DEPARTMENT])


def test_of_nested_departments_the_later_is_the_more_specific() -> None:
    inner = Layer(name="department:acme/labs/optics", fields={"claim_days": 90})
    assert resolve([DEPARTMENT, inner]).provenance["claim_days"] == inner.name


@pytest.mark.parametrize("name", ["", "tier", "tier:", "service:eu", "region:eu", "Customer:acme"])
def test_a_layer_of_no_known_kind_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no layer"):
        resolve([SERVICE, Layer(name=name, fields={"target": "1"})])


def test_two_tiers_for_one_customer_are_refused() -> None:
    with pytest.raises(ValueError, match="two layers of one kind"):
        resolve([TIER, Layer(name="tier:standard", fields={})])


def test_no_layer_says_nothing() -> None:
    assert dict(resolve([]).fields) == {}


def test_what_was_merged_leaves_the_layers_as_they_were() -> None:
    before = dict(SERVICE.fields)
    resolve([SERVICE, TIER])
    assert SERVICE.fields == before
