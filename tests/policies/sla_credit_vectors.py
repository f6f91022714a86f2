"""The kinds of case about money: a credit, several under a cap, a claim's deadline."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from policies.sla.claim import deadline, opened, state_at
from policies.sla.credit import CreditItem, capped, credit
from policies.sla.terms import terms_of
from tests.policies.vector_shapes import (
    Case,
    Kind,
    array,
    count,
    decimal,
    expecting,
    flag,
    instant,
    month,
    nullable,
    one_of,
    record,
    seconds,
    text,
)


def _credit(case: Case) -> Mapping[str, object]:
    given = case["input"]
    return {"amount": str(credit(Decimal(given["fee"]), Decimal(given["credit_percent"]), given["currency"]))}


CREDIT = Kind(
    input=record({"fee": decimal, "currency": text, "credit_percent": decimal}),
    expect=expecting({"amount": decimal}),
    run=_credit,
)


def _credit_cap(case: Case) -> Mapping[str, object]:
    given = case["input"]
    items = [
        CreditItem(
            month=each["month"],
            credit_percent=Decimal(each["credit_percent"]),
            contract_year=each.get("contract_year"),
        )
        for each in given["items"]
    ]
    cap = terms_of({"cap": given.get("cap", case["policy"].get("cap", {}))}).cap
    return {"amounts": [str(each) for each in capped(Decimal(given["fee"]), items, cap, given["currency"])]}


CAP = record({}, {"percent": decimal, "window": one_of("month", "contract_year")})
ITEM = record({"month": month, "credit_percent": decimal}, {"contract_year": count})
CREDIT_CAP = Kind(
    input=record({"fee": decimal, "currency": text, "items": array(ITEM)}, {"cap": CAP}),
    expect=expecting({"amounts": array(decimal)}),
    run=_credit_cap,
)


def _claim(case: Case) -> Mapping[str, object]:
    given = case["input"]
    published_at = given.get("published_at")
    until = deadline(
        seconds(given["period_end"]),
        None if published_at is None else seconds(published_at),
        given.get("tz", "UTC"),
        case["policy"]["claim_days"],
    )
    claim = opened("a", "sla", "month", until, auto_claim=False)
    return {"deadline_exclusive": until, "accepted": state_at(claim, seconds(given["claim_at"])) == "eligible"}


CLAIM = Kind(
    input=record(
        {"period_end": instant, "claim_at": instant},
        {"tz": text, "published_at": nullable(instant)},
    ),
    expect=expecting({"deadline_exclusive": instant, "accepted": flag}),
    run=_claim,
)


KINDS: Mapping[str, Kind] = {"credit": CREDIT, "credit_cap": CREDIT_CAP, "claim": CLAIM}
