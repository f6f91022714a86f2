"""The file format of limits, and the base of every map of the format.

Which kind a map is follows from its keys; what a limit means is in ``limits``. Source: spec policy.md, Rules.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag

from policies.format.report import TAG
from policies.format.scalars import Positive, RateValue, Zone
from policies.format.units import ValueProblem, parse_rate_list

OnFailureWord = Literal["share", "open", "closed", "local"]


class Section(BaseModel):
    """A map of the file format. Its ``repr`` shows no values, since some come from secret files."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, defer_build=True)

    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        return []


class _LongLimit(Section):
    mode: Literal["enforce", "shadow"] = Field("enforce", description="shadow measures and never refuses")
    on_failure: OnFailureWord | None = Field(None, description="What this limit does while the store is down")


class WindowForm(_LongLimit):
    """Never more than that many in any such time."""

    window: RateValue = Field(description="60/min, 10/30s; 1 s to 24 h")


class QuotaForm(_LongLimit):
    """A counter aligned to the calendar of a zone."""

    quota: RateValue = Field(description="5_000/day or 1_000_000/month")
    zone: Zone = Field("UTC", description="Whose midnight the counter starts afresh at")


class BucketForm(_LongLimit):
    """Smooth: the rate, with bursts."""

    rate: RateValue = Field(description="100/s")
    burst: Positive = Field(description="How many may come at once")


class ConcurrentForm(_LongLimit):
    """So many calls at the same time."""

    concurrent: Positive = Field(description="Calls at the same time")


def _kind_of(value: object) -> str | None:
    if not isinstance(value, dict):
        return TAG + "short"
    kinds = [kind for kind in ("window", "quota", "rate", "concurrent") if kind in value]
    if not kinds and "burst" in value:
        kinds = ["rate"]
    return TAG + kinds[0] if len(kinds) == 1 else None


LimitForm = Annotated[
    Annotated[RateValue, Tag(TAG + "short")]
    | Annotated[WindowForm, Tag(TAG + "window")]
    | Annotated[QuotaForm, Tag(TAG + "quota")]
    | Annotated[BucketForm, Tag(TAG + "rate")]
    | Annotated[ConcurrentForm, Tag(TAG + "concurrent")],
    Discriminator(_kind_of),
]


def _named_limits(value: object) -> object:
    """The notation of several limits in one string; a problem stays at the string itself."""
    if not isinstance(value, str):
        return value
    try:
        return dict(parse_rate_list(str(value)))
    except ValueProblem as problem:
        hint = problem.hint if ";" in value or "," in value else f"name it: {{minute: {str(value)[:30]}}}"
        raise ValueProblem(problem.code, problem.message, hint) from None


_ByName = dict[str, LimitForm | None]
Limits = Annotated[_ByName, BeforeValidator(_named_limits, json_schema_input_type=_ByName | str)]
