"""What a figure is worth: its band, the amount, and the cap over several amounts (spec P5, C1, C2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from policies.sla.terms import Band, Cap, SlaTerms

_MINOR: Mapping[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
"""Digits after the point where they are not 2, by ISO 4217."""

MINOR_DIGITS: Mapping[str, int] = {code: digits for digits, codes in _MINOR.items() for code in codes.split()}


@dataclass(frozen=True, slots=True, kw_only=True)
class CreditItem:
    """A credit to be granted. ``month`` is the month of service (``2026-04``); ``contract_year`` is numbered as the
    contract does, None where the cap is by month."""

    month: str
    credit_percent: Decimal
    contract_year: int | None = None


def band_of(figure: Fraction | None, terms: SlaTerms) -> Band | None:
    """The first band that the exact figure reaches (P5); None without a figure or a promise (P3, V6)."""
    if figure is None or terms.target is None:
        return None
    return next((band for band in terms.bands if figure >= Fraction(band.min)), None)


def minor_digits(currency: str) -> int:
    """Digits after the point. Raises ``ValueError`` for what is no currency's code."""
    if len(currency) != 3 or not (currency.isascii() and currency.isalpha() and currency.isupper()):
        raise ValueError(f"{currency!r} is no currency")
    return MINOR_DIGITS.get(currency, 2)


def money(amount: Fraction, currency: str) -> Decimal:
    """In whole minor units, halves up (C1)."""
    digits = minor_digits(currency)
    units = (2 * amount.numerator * 10**digits + amount.denominator) // (2 * amount.denominator)
    return Decimal(f"{units}E-{digits}")  # from text it is exact at any size


def credit(fee: Decimal | Fraction, credit_percent: Decimal, currency: str) -> Decimal:
    """``fee`` is that month's recurring fee of the service, net of tax and before other credits (C1)."""
    return money(Fraction(fee) * Fraction(credit_percent) / 100, currency)


def monthly_fee(fee: Decimal, force_seconds: int, period_seconds: int, *, months: int = 1) -> Fraction:
    """The part of a fee for ``months`` that one month bears, by the seconds in which the contract was in force."""
    return Fraction(fee) / months * Fraction(force_seconds, period_seconds)


def capped(fee: Decimal | Fraction, items: Iterable[CreditItem], cap: Cap, currency: str) -> tuple[Decimal, ...]:
    """The amount for each item, in their order; what the cap leaves is used up in the order of months (C2).

    Raises ``ValueError`` for an item without a contract year under a cap by contract year.
    """
    listed = list(items)
    used: dict[object, Decimal] = {}
    amounts = [Decimal(0)] * len(listed)
    for at in _by_month(listed):
        window = _window(listed[at], cap)
        before = used.get(window, Decimal(0))
        amounts[at] = left(fee, listed[at].credit_percent, cap, currency, before)
        used[window] = before + amounts[at]
    return tuple(amounts)


def left(fee: Decimal | Fraction, credit_percent: Decimal, cap: Cap, currency: str, before: Decimal) -> Decimal:
    """What the cap leaves of one credit when ``before`` was granted earlier in its window (C2)."""
    room = max(credit(fee, cap.percent, currency) - before, money(Fraction(0), currency))
    return min(credit(fee, credit_percent, currency), room)


def _by_month(items: Sequence[CreditItem]) -> list[int]:
    return sorted(range(len(items)), key=lambda at: items[at].month)


def _window(item: CreditItem, cap: Cap) -> object:
    if cap.window == "month":
        return item.month
    if item.contract_year is None:
        raise ValueError(f"the credit of {item.month} names no contract year")
    return item.contract_year
