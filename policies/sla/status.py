"""Up, degraded or down at this moment, as far as the closed slots tell (spec T4).

Down is said late and back-dated: until a bad stretch is long enough and has its evidence it is degraded only.
"""

from __future__ import annotations

from typing import Literal

from policies.sla.evaluate import Figure
from policies.sla.spans import Span, intersection

Status = Literal["up", "degraded", "down"]


def current_run(figure: Figure, until_s: int) -> Span | None:
    """The bad stretch that lasts until ``until_s``, the end of what is known; None when the last second was good."""
    return next((each for each in figure.bad if each[0] < until_s <= each[1]), None)


def status(figure: Figure, until_s: int) -> Status:
    run = current_run(figure, until_s)
    if run is None:
        return "up"
    return "down" if intersection((run,), tuple((each.from_s, each.to_s) for each in figure.windows)) else "degraded"
