"""Uptime as an exact share of time, and how it is written (spec P2, P3, P4, P7)."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from fractions import Fraction


def uptime(downtime_s: int, judged_s: int) -> Fraction | None:
    """Percent of ``judged_s`` that was not downtime; None when there is no second to judge (P3)."""
    return None if judged_s <= 0 else 100 * (1 - Fraction(downtime_s, judged_s))


def uptime_of_all(parts: Iterable[tuple[int, int]]) -> Fraction | None:
    """Of several periods, each ``(downtime_s, judged_s)``: by the sums, never the mean of percentages (P7)."""
    listed = list(parts)
    return uptime(sum(downtime for downtime, _ in listed), sum(judged for _, judged in listed))


def meets(figure: Fraction | None, target: Decimal | None) -> bool | None:
    """Whether the target is reached, exactly; None without a figure or without a promise (P3, V6)."""
    return None if figure is None or target is None else figure >= Fraction(target)


def written(figure: Fraction | None, decimals: int) -> str | None:
    """Rounded down, so that what is shown and what is paid lie in one band (P4); None stays None."""
    if figure is None:
        return None
    scaled = figure.numerator * 10**decimals // figure.denominator
    whole, part = divmod(scaled, 10**decimals)
    return f"{whole}.{part:0{decimals}}" if decimals else str(whole)
