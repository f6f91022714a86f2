"""Which version of an SLA governs a month, and whether a new one may come into force (spec V1-V3, V5).

A version never changes once it is published: its hash covers what it promises and from when. A month has one version,
the one in force when it begins. Whether a change is for the worse is ``policies.sla.adverse``; who may publish, and
that the time of publication is the recorder's own, is seen to where acts are recorded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from policies.sla.adverse import Promise, adverse
from policies.sla.canonical import digest
from policies.sla.period import begins_month

DAY_S: Final = 86_400

Refusal = Literal["effective_from_not_period_start", "notice_too_short"]

_NUMBER: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What is promised from ``effective_from_s`` on.

    ``id`` names the SLA, ``number`` the version of it (``2.1.0``, semver.org without labels). ``policy`` is all that
    decides a figure: layers, detector, owner map, exclusion rules, response targets; it has a canonical form.
    ``author`` and ``published_at_s`` are of the act of publishing. Raises ``ValueError`` for a number of no such form.
    """

    id: str
    number: str
    effective_from_s: int
    text: str
    policy: Mapping[str, object]
    author: str
    published_at_s: int

    def __post_init__(self) -> None:
        if _NUMBER.fullmatch(self.number) is None:
            raise ValueError(f"{self.number!r} is no version such as 1.4.0")

    @property
    def sha256(self) -> str:
        """The hash of what is promised: anybody who holds the version can repeat it."""
        return digest(
            {
                "id": self.id, "version": self.number, "effective_from": self.effective_from_s, "text": self.text,
                "policy": self.policy,
            }
        )  # fmt: skip

    @property
    def order(self) -> tuple[int, ...]:
        return tuple(int(part) for part in self.number.split("."))


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """A customer keeps version ``number`` in every month that begins before the renewal, ``until_s`` (V5)."""

    number: str
    until_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """A tenant's tier from an instant on."""

    tier: str
    from_s: int


def refusal(
    *, published_at_s: int, effective_from_s: int, material_adverse: bool, notice_days: int, zone: str
) -> Refusal | None:
    """Why a version may not come into force as it says; None when it may.

    It begins with a month of the zone (V2). A material adverse change is published ``notice_days`` of 24 hours before,
    exactly that is enough (V3); any other at the latest when it takes effect, because no month is judged by terms
    that nobody had seen when it began.
    """
    if not begins_month(effective_from_s, zone):
        return "effective_from_not_period_start"
    notice_s = notice_days * DAY_S if material_adverse else 0
    return "notice_too_short" if effective_from_s - published_at_s < notice_s else None


def refusal_of_change(
    before: Promise | None, after: Promise, *, published_at_s: int, effective_from_s: int,
    notice_days: int | None = None,
) -> Refusal | None:  # fmt: skip
    """The same for a version that takes the place of what was promised before; None: the first version.

    The notice is that of the terms still in force, so that it cannot be shortened by the change that it is for:
    ``notice_days`` where these are not ``before``, which may be published and not be in force yet. A change of zone
    must begin a month in both, or some hours would lie in two months, or in none.
    """
    terms = after.terms if before is None else before.terms
    if not begins_month(effective_from_s, after.terms.zone):
        return "effective_from_not_period_start"
    return refusal(
        published_at_s=published_at_s, effective_from_s=effective_from_s, zone=terms.zone,
        notice_days=terms.sla_change_notice_days if notice_days is None else notice_days,
        material_adverse=before is not None and bool(adverse(before, after)),
    )  # fmt: skip


def governing(versions: Iterable[Version], period_start_s: int, pin: Pin | None = None) -> Version | None:
    """The version that rules the whole period; None before the first.

    Of two that take effect at once the one published later has replaced the other. Raises ``ValueError`` for a pin on a
    version that has not taken effect when the period begins.
    """
    begun = [version for version in versions if version.effective_from_s <= period_start_s]
    if pin is None or period_start_s >= pin.until_s:
        return max(begun, key=lambda each: (each.effective_from_s, each.published_at_s, each.order), default=None)
    pinned = [version for version in begun if version.number == pin.number]
    if not pinned:
        raise ValueError(f"version {pin.number} has not taken effect and cannot be kept")
    return pinned[0]


def tier_at(bindings: Sequence[Binding], period_start_s: int) -> str | None:
    """The tier that rules the whole period: a change within it takes effect with the next (V2)."""
    begun = [binding for binding in bindings if binding.from_s <= period_start_s]
    return max(begun, key=lambda each: each.from_s).tier if begun else None
