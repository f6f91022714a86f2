"""Terms from fields: defaults, exactness, and everything that is refused."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from policies.format.terms import sla_fields
from policies.schema import SlaForm
from policies.sla.terms import BANDS, FIELDS, Band, Cap, SlaTerms, terms_of

DEFAULTS = json.loads(Path("tests/vectors/sla.json").read_text())["defaults"]


def test_no_field_gives_the_defaults() -> None:
    assert terms_of({}) == SlaTerms()


def test_defaults_are_those_of_the_vectors() -> None:
    assert terms_of({name: value for name, value in DEFAULTS.items() if name in FIELDS}) == SlaTerms()


def test_percentages_stay_as_they_are_written() -> None:
    given = terms_of({"target": "99.950", "threshold_percent": Decimal("0.1"), "internal": {"target": "99.99"}})
    assert (str(given.target), given.threshold_percent, given.internal_target) == (
        "99.950", Decimal("0.1"), Decimal("99.99"),
    )  # fmt: skip


def test_target_that_moves_alone_takes_the_first_band_along() -> None:
    moved = terms_of({"target": "99.5"})
    assert moved.bands == (Band(min=Decimal("99.5"), credit=Decimal(0)), *BANDS[1:])


def test_target_of_none_keeps_bands_for_nothing() -> None:
    assert terms_of({"target": None}).target is None


def test_a_cause_in_both_lists_is_excluded() -> None:
    given = terms_of({"counted_causes": ["gateway", "third_party", "gateway"], "excluded_causes": ["third_party"]})
    assert given.causes == ("gateway",)


def test_cap_may_leave_out_its_window() -> None:
    assert terms_of({"cap": {"percent": "50"}}).cap == Cap(percent=Decimal(50), window="month")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"slot": 60}, "unknown field slot"),
        ({"target": 99.9}, "target cannot be 99.9"),  # a float is no exact value
        ({"target": True}, "target cannot be True"),
        ({"target": "NaN"}, "target cannot be 'NaN'"),
        ({"target": "ninety"}, "target cannot be 'ninety'"),
        ({"target": "100.1"}, "target cannot be '100.1'"),
        ({"threshold_percent": "0"}, "threshold_percent must lie above 0"),
        ({"threshold_percent": "-5"}, "threshold_percent cannot be '-5'"),
        ({"slot_seconds": 0}, "slot_seconds must be at least 1"),
        ({"alive_quorum": 0}, "alive_quorum must be at least 1"),
        ({"min_run_seconds": -1}, "min_run_seconds cannot be -1"),
        ({"min_run_seconds": "300"}, "min_run_seconds cannot be '300'"),
        ({"min_run_seconds": True}, "min_run_seconds cannot be True"),
        ({"idle_inherits_platform": 1}, "idle_inherits_platform cannot be 1"),
        ({"scope": "tenants"}, "scope cannot be 'tenants'"),
        ({"scope": ["tenant"]}, "scope cannot be ['tenant']"),
        ({"denominator": None}, "denominator cannot be None"),
        ({"counted_causes": "gateway"}, "counted_causes cannot be 'gateway'"),
        ({"cap": {"percent": "50", "window": "year"}}, "cap cannot be"),
        ({"bands": []}, "the last band must begin at 0"),
        ({"bands": [{"min": "99.9", "credit": "0"}]}, "the last band must begin at 0"),
        ({"bands": [{"min": "99.9"}]}, "bands cannot be"),
        ({"target": "98"}, "bands must fall"),  # below the second band, which stays
        (
            {"bands": [{"min": "99.9", "credit": "10"}, {"min": "0", "credit": "10"}]},
            "each pay more than the one above",
        ),
    ],
)
def test_terms_that_are_none(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        terms_of(given)


def test_every_complaint_is_said_at_once() -> None:
    with pytest.raises(ValueError, match=r"slots.*scope"):
        terms_of({"slots": 1, "scope": "none"})


def test_what_a_policy_file_sets_is_what_terms_take() -> None:
    """Every field of the shipped example, which sets them all."""
    form = SlaForm.model_validate(yaml.safe_load(Path("policies/examples/full/sla.yaml").read_text())["sla"])
    fields = sla_fields(form)
    assert set(fields) == FIELDS
    assert terms_of(fields).bands[0].min == form.target
