"""What the limits mean, written down naively: every admitted call is kept and the definition is checked.

This file imports nothing of the product (RULINGS 7). Times are integer microseconds, costs whole units.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

Admitted = list[tuple[int, int]]
EPOCH = datetime(1970, 1, 1, tzinfo=ZoneInfo("UTC"))


def most_in_any_window(admitted: Admitted, period_us: int) -> int:
    """The largest sum of costs in any half-open interval of length ``period_us``."""
    return max((sum(c for t, c in admitted if start <= t < start + period_us) for start, _ in admitted), default=0)


def in_last(admitted: Admitted, period_us: int, now_us: int) -> int:
    return sum(c for t, c in admitted if now_us - period_us < t <= now_us)


def worst_excess_over_bucket(admitted: Admitted, rate_per_us: Fraction, burst: int) -> Fraction:
    """The largest of (units admitted in [a, b]) - (burst + rate * (b - a)) over all pairs of calls."""
    worst = Fraction(-burst)
    for i, (start, _) in enumerate(admitted):
        total = 0
        for time, cost in admitted[i:]:
            total += cost
            worst = max(worst, total - burst - rate_per_us * (time - start))
    return worst


def tokens(admitted: Admitted, rate_per_us: Fraction, burst: int, now_us: int) -> Fraction:
    """Tokens of an ideal bucket that was full before the first call."""
    level, last = Fraction(burst), admitted[0][0] if admitted else now_us
    for time, cost in admitted:
        level = min(Fraction(burst), level + rate_per_us * (time - last)) - cost
        last = time
    return min(Fraction(burst), level + rate_per_us * (now_us - last))


def local_period(wall_us: int, unit: str, zone: str) -> tuple[int, ...]:
    """The calendar day or month that ``wall_us`` falls in, in ``zone``."""
    local = (EPOCH + timedelta(microseconds=wall_us)).astimezone(ZoneInfo(zone))
    return (local.year, local.month) if unit == "month" else (local.year, local.month, local.day)
