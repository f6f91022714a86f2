"""The terms of an availability promise as exact values: every field of spec sla.md section 15 with its default.

Response targets and the escalation ladder are terms of support and are not among them. Which layer said what is
``policies.sla.layers``; whether a policy file is well written is ``policies.format.terms``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from itertools import pairwise
from typing import Any, Literal

from policies.sla.histogram import Commitment

Scope = Literal["tenant", "platform"]
Denominator = Literal["calendar", "calendar_minus_excluded"]
CapWindow = Literal["month", "contract_year"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """From an uptime of ``min`` percent on, inclusive, ``credit`` percent of the fee come back (P5)."""

    min: Decimal
    credit: Decimal
    termination: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cap:
    """All credits of a ``window`` together are at most ``percent`` of one month's fee (C2)."""

    percent: Decimal = Decimal(100)
    window: CapWindow = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chronic:
    """The right to terminate also comes when the target was missed in ``misses`` of the last ``months`` months (C5)."""

    misses: int
    months: int


def _band(least: str, credit: str, termination: bool = False) -> Band:
    return Band(min=Decimal(least), credit=Decimal(credit), termination=termination)


TARGET = Decimal("99.9")
BANDS = (_band("99.9", "0"), _band("99.0", "10"), _band("95.0", "25"), _band("0", "50", True))


@dataclass(frozen=True, slots=True, kw_only=True)
class SlaTerms:
    """What is judged and what it is worth. Percentages are of a hundred.

    ``target`` None promises nothing: figures are computed, there is no verdict and no credit (V6).
    ``latency`` are the commitments beside uptime, judged by bucket bounds (K2); none of them is downtime. ``chronic``
    None: no number of missed months gives a right. ``maintenance_cap_seconds`` None excludes without bound.
    ``internal_target`` and ``internal_latency`` are the stricter ones that customers never see; None and empty when
    there are none.
    """

    target: Decimal | None = TARGET
    bands: tuple[Band, ...] = BANDS
    zone: str = "UTC"
    scope: Scope = "tenant"
    slot_seconds: int = 60
    threshold_percent: Decimal = Decimal(5)
    min_run_seconds: int = 300
    min_run_errors: int = 5
    min_requests_per_slot: int = 1
    max_bridge_seconds: int = 120
    merge_gap_seconds: int = 0
    idle_inherits_platform: bool = True
    alive_quorum: int = 1
    counted_causes: tuple[str, ...] = ("gateway", "managed_upstream")
    excluded_causes: tuple[str, ...] = ("third_party", "customer")
    maintenance_notice_seconds: int = 172_800
    maintenance_cap_seconds: int | None = None
    exclusion_record_seconds: int = 432_000
    denominator: Denominator = "calendar"
    display_decimals: int = 4
    cap: Cap = field(default_factory=Cap)
    claim_days: int = 30
    auto_claim: bool = False
    sla_change_notice_days: int = 60
    client_patience_ms: int = 30_000
    latency: tuple[Commitment, ...] = ()
    chronic: Chronic | None = None
    internal_target: Decimal | None = None
    internal_latency: tuple[Commitment, ...] = ()

    @property
    def causes(self) -> tuple[str, ...]:
        """The causes whose failures are errors. One that both lists name is excluded: it left the figure before."""
        return tuple(cause for cause in dict.fromkeys(self.counted_causes) if cause not in self.excluded_causes)


def terms_of(given: Mapping[str, object]) -> SlaTerms:
    """Terms of the fields ``given``, under the names of section 15; the others keep their defaults.

    Percentages may be text or ``Decimal``. The first band begins at the target, wherever the list puts it: a layer
    may move the target alone. Raises ``ValueError`` with every complaint.
    """
    made: dict[str, Any] = {}
    said: list[str] = []
    for name, value in given.items():
        reader = _READERS.get(name)
        if reader is None:
            said.append(f"unknown field {name}")
            continue
        try:
            made.update(reader(value) if name == "internal" else {name: reader(value)})
        except (ValueError, TypeError, KeyError, AttributeError, InvalidOperation):
            said.append(f"{name} cannot be {value!r}")
    if not said:
        made["bands"] = _from_target(made.get("bands", BANDS), made.get("target", TARGET))
        said = [*_of_numbers(made), *_of_bands(made["bands"]), *_of_latency(made)]
    if said:
        raise ValueError("; ".join(said))
    return SlaTerms(**made)


def _from_target(bands: tuple[Band, ...], target: Decimal | None) -> tuple[Band, ...]:
    if target is None or not bands or bands[0].min == target:
        return bands
    first = bands[0]
    return (Band(min=target, credit=first.credit, termination=first.termination), *bands[1:])


def _of_numbers(made: Mapping[str, Any]) -> list[str]:
    said = [f"{name} must be at least 1" for name in ("slot_seconds", "alive_quorum") if made.get(name) == 0]
    if not 0 < made.get("threshold_percent", 5) <= 100:
        said.append("threshold_percent must lie above 0 and up to 100")  # at 0 a flawless slot would be bad
    return said


def _of_bands(bands: Sequence[Band]) -> list[str]:
    """P5: descending to 0, each paying more than the one above. Half-open edges then leave no gap."""
    if not bands or bands[-1].min != 0:
        return ["the last band must begin at 0"]
    if any(below.min >= above.min or below.credit <= above.credit for above, below in pairwise(bands)):
        return ["bands must fall from the target to 0 and each pay more than the one above"]
    return []


def _of_latency(made: Mapping[str, Any]) -> list[str]:
    """One bound, one share: of two the lower would say nothing."""
    said = []
    for name in ("latency", "internal_latency"):
        bounds = [each.under_us for each in made.get(name, ())]
        said += [f"{name} names {at // 1_000} ms twice" for at in dict.fromkeys(bounds) if bounds.count(at) > 1]
    return said


def _percent(value: object) -> Decimal:
    if not isinstance(value, str | Decimal | int) or isinstance(value, bool):
        raise TypeError(value)
    number = Decimal(value)
    if not 0 <= number <= 100:
        raise ValueError(value)
    return number


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(value)
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(value)
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError(value)
        return _text(value)

    return read


def _or_none(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise TypeError(value)
    return tuple(_text(each) for each in value)


def _bands(value: Any) -> tuple[Band, ...]:
    return tuple(
        Band(
            min=_percent(each["min"]),
            credit=_percent(each["credit"]),
            termination=_flag(each.get("termination", False)),
        )
        for each in value
    )


def _cap(value: Any) -> Cap:
    window: Any = _one_of("month", "contract_year")(value.get("window", "month"))
    return Cap(percent=_percent(value.get("percent", 100)), window=window)


def _latency(value: Any) -> tuple[Commitment, ...]:
    return tuple(_commitment(each) for each in value)


def _commitment(value: Any) -> Commitment:
    share = Fraction(_percent(value["share_percent"])) / 100
    return Commitment(share=share, under_us=_whole(value["under_ms"]) * 1_000)


def _chronic(value: Any) -> Chronic:
    misses, months = _whole(value["misses"]), _whole(value["months"])
    if not 1 <= misses <= months:
        raise ValueError(value)
    return Chronic(misses=misses, months=months)


def _internal(value: Any) -> dict[str, Any]:
    return {
        "internal_target": _or_none(_percent)(value.get("target")),
        "internal_latency": _latency(value.get("latency", ())),
    }


_READERS: Mapping[str, Callable[[Any], Any]] = {
    **{each.name: _whole for each in fields(SlaTerms) if each.type == "int"},
    **{each.name: _flag for each in fields(SlaTerms) if each.type == "bool"},
    "target": _or_none(_percent),
    "bands": _bands,
    "zone": _text,
    "scope": _one_of("tenant", "platform"),
    "threshold_percent": _percent,
    "counted_causes": _words,
    "excluded_causes": _words,
    "maintenance_cap_seconds": _or_none(_whole),
    "denominator": _one_of("calendar", "calendar_minus_excluded"),
    "cap": _cap,
    "latency": _latency,
    "chronic": _or_none(_chronic),
    "internal": _internal,
}

FIELDS = frozenset(_READERS)
"""The names that ``terms_of`` takes."""
