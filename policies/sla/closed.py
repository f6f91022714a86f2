"""A month's record as it was published, and its later revisions (spec P6, D6).

What a record says is ``record``; how two of them differ, and whom that serves, is ``revision``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from policies.sla.chain import Act
from policies.sla.period import Period, contract_year, month, months_before
from policies.sla.reading import count, decimal, mapping, or_none, sha256, some_keys, text
from policies.sla.terms import Cap, Chronic

CLOSE: Final = "close"
"""A month's record as published: ``tenant, period, revision, input_sha256, record``; tenant null is the platform."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedMonth:
    """``published_at_s`` and ``by`` are the act's. The claim window opens with the first one that shows a credit."""

    tenant: str | None
    period: str
    revision: int
    input_sha256: str
    record: Mapping[str, Any]
    published_at_s: int
    by: str

    @property
    def credit_percent(self) -> Decimal:
        return Decimal(self.record["credit"]["percent"])

    @property
    def month(self) -> Period:
        return month(self.period, self.record["period"]["zone"])


def close_complaint(content: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for content that is none of a close."""
    some_keys(content, "an act of close", ("tenant", "period", "revision", "input_sha256", "record"), ("note",))
    or_none(content["tenant"], lambda name: text(name, "tenant"))
    count(content["revision"], "revision", least=1)
    sha256(content["input_sha256"], "input_sha256")
    record = mapping(content["record"], "record")
    try:
        month(content["period"], record["period"]["zone"])
        said = {name: record[name] for name in ("tenant", "revision", "input_sha256")}
        said["period"] = record["period"]["name"]
        Decimal(record["credit"]["percent"])
        _amount(record["credit"])
        int(record["sla"]["terms"]["claim_days"]["value"])
    except (KeyError, TypeError, ArithmeticError):
        raise ValueError("the record is no monthly record") from None
    for name, value in said.items():
        if value != content[name]:
            raise ValueError(f"the act is about {name} {content[name]!r} and its record about {value!r}")


def closed(act: Act) -> ClosedMonth:
    """What a sound act of closing says."""
    content = act.content
    names: dict[str, Any] = {name: content[name] for name in ("tenant", "period", "revision", "input_sha256", "record")}
    return ClosedMonth(**names, published_at_s=act.at_s, by=act.actor)


def missed_before(
    closures: Mapping[tuple[str | None, str], Sequence[ClosedMonth]], tenant: str | None, month_: str,
    chronic: Chronic | None,
) -> tuple[str, ...]:  # fmt: skip
    """The earlier months whose target was missed, as published, as far as the terms look back (C5)."""
    if chronic is None:
        return ()
    earliest = months_before(month_, chronic.months - 1)
    last = {name: each[-1] for (whose, name), each in closures.items() if whose == tenant and each}
    return tuple(sorted(name for name, each in last.items() if earliest <= name < month_ and _is_missed(each.record)))


def credited_before(
    closures: Mapping[tuple[str | None, str], Sequence[ClosedMonth]], tenant: str | None, of: Period,
    began_s: int | None, cap: Cap, currency: str | None,
) -> Decimal:  # fmt: skip
    """What was credited of earlier months of the contract year, as published, where the cap is by that year (C2)."""
    if cap.window != "contract_year" or currency is None:
        return Decimal(0)
    first = contract_year(of.name, began_s, of.zone)
    last = [each[-1] for (whose, name), each in closures.items() if whose == tenant and first <= name < of.name]
    amounts = [_amount(each.record["credit"]) for each in last]
    return sum((amount for amount, of_currency in amounts if of_currency == currency), Decimal(0))


def _amount(credit: Mapping[str, Any]) -> tuple[Decimal, str]:
    """What was credited, in which currency; nothing where no fee was known."""
    if credit.get("amount") is None:
        return Decimal(0), ""
    return decimal(credit["amount"], "the amount"), str(credit["fee"]["currency"])


def _is_missed(record: Mapping[str, Any]) -> bool:
    figure = record.get("figure")
    return isinstance(figure, Mapping) and figure.get("verdict") == "missed"
