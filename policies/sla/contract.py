"""Under which tier a tenant's contract runs, from when to when, and which version it keeps (spec P2, V2, V5).

What the tier promises is ``promises``; which version governs a month is ``versions``. Of time that no act speaks of,
the policy files do: their tier, and a contract that is open. So to bind a tenant that was served before takes nothing
of that time out of its figures; only one that says so begins a contract where there was none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.sla.instants import read, written
from policies.sla.period import Period
from policies.sla.reading import filled, some_keys
from policies.sla.versions import Binding, Pin, tier_at

BIND: Final = "bind"
"""A tenant's tier and contract: ``tenant, tier, from``, perhaps ``to`` and ``begins``: there was none before."""
PIN: Final = "pin"
"""A tenant keeps a version until its renewal: ``tenant, number, until`` (V5)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A pin, which rules the months that begin after it was recorded: none is judged by terms chosen afterwards."""

    pin: Pin
    from_s: int


Stretch = tuple[int | None, int | None]
"""From when to when a contract is in force; None is open."""
OPEN: Final[Stretch] = (None, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """All that is recorded of one tenant's contract: ``bindings`` and ``stretches`` in order of time, ``kept`` as
    recorded."""

    bindings: tuple[Binding, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    kept: tuple[Kept, ...] = ()

    def tier_from(self, period_start_s: int) -> str | None:
        """The tier of a month: a change within it waits for the next (V2), only one that begins a contract does not.

        None before the first binding, where the policy files speak.
        """
        begun = tier_at(self.bindings, period_start_s)
        return self.bindings[0].tier if begun is None and self.begins else begun

    @property
    def begins(self) -> bool:
        """Whether it is recorded that there was no contract before the first one."""
        return bool(self.stretches) and self.stretches[0][0] is not None

    def pin_at(self, period_start_s: int) -> Pin | None:
        """The pin that rules a month, whether or not its renewal has come."""
        return next((each.pin for each in reversed(self.kept) if each.from_s <= period_start_s), None)

    def force_in(self, period: Period) -> Stretch:
        """When it was in force, as far as a month is concerned. Raises ``ValueError`` for two contracts in a month."""
        touching = [each for each in self.stretches if _touches(each, period)]
        if len(touching) > 1:
            raise ValueError(f"two contracts were in force in {period.name}, and a month has one figure")
        if touching:
            return touching[0]
        return self.stretches[-1] if self.stretches else OPEN


def _touches(stretch: Stretch, period: Period) -> bool:
    start, end = stretch
    return (start is None or start < period.end_s) and (end is None or end > period.start_s)


def bind_complaint(content: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for content that is none of a bind."""
    some_keys(content, "an act of bind", ("tenant", "tier", "from"), ("to", "begins", "note"))
    filled(content, "tenant", "tier")
    if not isinstance(content.get("begins", False), bool):
        raise ValueError("begins is true or false")
    start, end = _ends(content)
    if end is not None and end <= start:
        raise ValueError(f"the contract ends {written(end)}, which is not after it begins, {written(start)}")


def bound(contract: Contract, content: Mapping[str, Any]) -> Contract:
    """The contract with one more binding: it replaces what was said of the time from its beginning on."""
    start, end = _ends(content)
    before = contract.stretches if contract.bindings or content.get("begins") else (OPEN,)
    bindings = [each for each in contract.bindings if each.from_s < start]
    return replace(
        contract,
        bindings=(*bindings, Binding(tier=content["tier"], from_s=start)),
        stretches=_joined([*_until(before, start), (start, end)]),
    )


def _ends(content: Mapping[str, Any]) -> tuple[int, int | None]:
    return read(content["from"]), None if content.get("to") is None else read(content["to"])


def _until(stretches: tuple[Stretch, ...], start: int) -> list[Stretch]:
    earlier = [each for each in stretches if each[0] is None or each[0] < start]
    return [(first, start if last is None else min(last, start)) for first, last in earlier]


def _joined(stretches: list[Stretch]) -> tuple[Stretch, ...]:
    """Those that touch are one."""
    made: list[Stretch] = []
    for start, end in stretches:
        if made and made[-1][1] == start:
            made[-1] = (made[-1][0], end)
        else:
            made.append((start, end))
    return tuple(made)


def pin_complaint(content: Mapping[str, Any]) -> None:
    """Raises ``ValueError`` for content that is none of a pin."""
    some_keys(content, "an act of pin", ("tenant", "number", "until"), ("note",))
    filled(content, "tenant", "number")
    read(content["until"])


def pinned(contract: Contract, content: Mapping[str, Any], at_s: int) -> Contract:
    """The contract with one more pin."""
    pin = Pin(number=content["number"], until_s=read(content["until"]))
    return replace(contract, kept=(*contract.kept, Kept(pin=pin, from_s=at_s)))
