"""How much downtime a promise leaves, and how much of that is used (spec section 5, B2, B3)."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction


def downtime_budget(judged_s: int, target: Decimal | None) -> Fraction | None:
    """Seconds of downtime with which ``target`` is just met; None when nothing is promised (V6)."""
    return None if target is None else judged_s * (100 - Fraction(target)) / 100


def whole_seconds(budget_s: Fraction) -> int:
    """The longest downtime, in the seconds that it is counted in, that stays within the budget."""
    return budget_s.numerator // budget_s.denominator


def used_percent(downtime_s: int, budget_s: Fraction | None) -> Fraction | None:
    """Part of the budget that is used; None without a budget, and where the budget is 0 and something is used."""
    if budget_s is None:
        return None
    if budget_s == 0:
        return Fraction(0) if downtime_s == 0 else None
    return 100 * Fraction(downtime_s) / budget_s


def exact(seconds: Fraction) -> str:
    """As a decimal number without trailing zeros. Raises ``ValueError`` for one that has no end."""
    digits = 0
    while (10**digits * seconds).denominator != 1:
        digits += 1
        if digits > 50:
            raise ValueError(f"{seconds} has no decimal form")
    whole, part = divmod(int(10**digits * seconds), 10**digits)
    return f"{whole}.{part:0{digits}}" if digits else str(whole)
