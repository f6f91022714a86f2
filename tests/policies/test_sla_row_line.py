"""The short way to a row's line gives the very bytes of the long one."""

from __future__ import annotations

import pytest

from policies.sla.canonical import LARGEST_INTEGER, canonical
from policies.sla.counters import Counts
from policies.sla.evidence import Row
from policies.sla.evidence_form import SEAL, row_value, sealed
from policies.sla.histogram import BUCKETS
from policies.sla.row_line import row_line

ROWS = [
    Row(slot_s=1_775_001_600, tenant="acme", group="crm", counts=Counts(good=3)),
    Row(slot_s=1_775_001_660, tenant=None, group="", counts=Counts()),
    Row(slot_s=-60, tenant="before 1970", group="x", counts=Counts(good=1)),
    Row(slot_s=253_402_300_740, tenant="9999", group="x", counts=Counts(good=1)),
    Row(slot_s=1_775_001_601, tenant="off the minute", group="x", counts=Counts(good=1)),
    Row(slot_s=0, tenant='"\\\n\u2028\x7f\U0001f600', group="ü\x00", counts=Counts(failed={"gateway": 1})),
    Row(
        slot_s=60, tenant="acme", group="crm",
        counts=Counts(
            good=LARGEST_INTEGER, failed={"own_limit": 2, "gateway": 1, "customer": 0, "third_party": 4},
            latency=tuple(range(BUCKETS)),
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=lambda row: ascii(row.tenant))
def test_the_line_is_the_canonical_one(row: Row) -> None:
    value = sealed(row_value(row))
    assert row_line(row) == (value[SEAL], canonical(value).decode())


@pytest.mark.parametrize(
    "row",
    [
        Row(slot_s=0, tenant="\ud800", group="x", counts=Counts()),
        Row(slot_s=0, tenant="x", group="\udfff", counts=Counts()),
        Row(slot_s=0, tenant="x", group="x", counts=Counts(good=LARGEST_INTEGER + 1)),
        Row(slot_s=0, tenant="x", group="x", counts=Counts(failed={"gateway": LARGEST_INTEGER + 1})),
        Row(slot_s=0, tenant="x", group="x", counts=Counts(latency=(LARGEST_INTEGER + 1,))),
        Row(slot_s=10**12, tenant="x", group="x", counts=Counts()),
    ],
)
def test_what_has_no_canonical_form_has_no_line(row: Row) -> None:
    reason = "canonical form|Unicode text|no instant|out of range|outside|year"
    with pytest.raises(ValueError, match=reason):
        canonical(sealed(row_value(row)))
    with pytest.raises(ValueError, match=reason):
        row_line(row)
