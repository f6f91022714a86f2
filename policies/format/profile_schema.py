"""The format of throttling profiles: which keys may stand where (docs/throttling-profiles.md).

Shapes only; what they amount to is made by ``policies.format.profiles``, their scalars are read by
``policies.format.profile_scalars``. The same forms read the files of ``upstreams/providers`` and the maps under
``throttling.profile`` in a policy file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from policies.format.limit_schema import Section
from policies.format.profile_scalars import (
    ContentType,
    FieldName,
    FieldNames,
    HeldSize,
    HeldWait,
    HostPattern,
    JsonPaths,
    Pattern,
    Statuses,
    Writtens,
    listed,
)
from policies.format.report import TAG
from policies.format.scalars import Duration, Text
from policies.throttling import Inspection, Kind, Unit

MOST_RULES: Final = 100
MOST_LIMITS: Final = 50
"""Each is looked at for every answer of its status, on the one thread that serves all callers."""
_INSPECTION: Final = Inspection()  # the defaults


class SourceForm(Section):
    """Where in an answer a value stands: header, body or text."""

    header: FieldNames | None = Field(None, description="A field's name, or several: the first that is there counts")
    body: JsonPaths | None = Field(None, description="A path into the body as JSON: errors[*].extensions.code")
    text: Pattern | None = Field(None, description="A regular expression on the body as text")
    json_: JsonPaths | None = Field(None, alias="json", description="With header: a path into its value as JSON")
    match: Pattern | None = Field(None, description="Narrows a value to the first group, or to the whole match")


class ReadingForm(SourceForm):
    """A value, and the unit of a time."""

    unit: Unit = Field("auto", description="How a time is written")


class ConditionForm(SourceForm):
    """Holds when a value is there, or equals one of these."""

    equals: Writtens | None = Field(None, description="A text or several; numbers as they are written")
    absent: Literal[True] | None = Field(None, description="true: holds when there is no such value")


class RuleForm(ConditionForm):
    """What an answer is."""

    status: Statuses
    and_: list[ConditionForm] = Field(default_factory=list, alias="and", description="More conditions; all must hold")
    kind: Kind = Field("quota", description="billing: no wait helps; overload and none are no throttles")
    limit: Text | None = Field(None, description="The entry of limits that was violated")
    wait: Duration | None = Field(None, description="The pause that the documentation demands")
    default_wait: Duration | None = Field(None, description="An estimate, for this rule alone")
    executed: Literal["nothing", "maybe"] | None = Field(
        None, description="nothing: such a request has had no effect, so the status may become 429"
    )


class RestoreForm(Section):
    """(requested - available) / rate seconds."""

    requested: SourceForm
    available: SourceForm
    rate: SourceForm


class RestoreRef(Section):
    """The wait of a cost bucket."""

    restore: RestoreForm


def _map_or(scalar: str) -> Callable[[object], str]:
    return lambda value: TAG + ("long" if isinstance(value, dict) else scalar)


def _wait_kind(value: object) -> str:
    return TAG + ("restore" if isinstance(value, dict) and "restore" in value else "long")


ReadingOrName = Annotated[
    Annotated[FieldName, Tag(TAG + "header")] | Annotated[ReadingForm, Tag(TAG + "long")],
    Discriminator(_map_or("header")),
]
WindowOrReading = Annotated[
    Annotated[Duration, Tag(TAG + "fixed")] | Annotated[ReadingForm, Tag(TAG + "long")], Discriminator(_map_or("fixed"))
]
WaitReading = Annotated[
    Annotated[ReadingForm, Tag(TAG + "long")] | Annotated[RestoreRef, Tag(TAG + "restore")], Discriminator(_wait_kind)
]
Conditions = Annotated[
    list[ConditionForm], BeforeValidator(listed, json_schema_input_type=list[ConditionForm] | ConditionForm)
]


class CountersForm(Section):
    """How one limit is reported."""

    limit: ReadingOrName | None = None
    remaining: ReadingOrName | None = None
    used: ReadingOrName | None = None
    percent_used: ReadingOrName | None = Field(None, description="On a scale of 100")
    reset: ReadingOrName | None = None
    window: WindowOrReading | None = Field(None, description="A duration, or where to read one")


class LimitFamilyForm(CountersForm):
    """One entry of limits."""

    if_: Conditions = Field(default_factory=list, alias="if", description="When this entry applies; all must hold")
    structured: Annotated[list[FieldName], Field(min_length=2, max_length=2)] | None = Field(
        None, description="Names of a pair in the syntax of RateLimit-Policy and RateLimit"
    )


class InspectForm(Section):
    """When the body is looked at."""

    statuses: Statuses | None = None
    content_types: list[ContentType] | None = Field(None, description="application/json, +json or text/, say")
    max: HeldSize = Field(_INSPECTION.max_bytes, description="Larger bodies are not looked at")
    wait: HeldWait = Field(_INSPECTION.wait_us, description="Slower ones neither")


class ProfileForm(CountersForm):
    """How one provider throttles."""

    description: Text = ""
    source: Text = Field("", description="Where this was read")
    grade: Literal["A", "B", "C", "design"] | None = Field(None, description="A documentation, B excerpts, C seen")
    hosts: list[HostPattern] = Field(default_factory=list)
    when: list[RuleForm] = Field(
        default_factory=list, max_length=MOST_RULES, description="The first rule that holds decides"
    )
    limits: dict[str, LimitFamilyForm] = Field(default_factory=dict, max_length=MOST_LIMITS)
    retry_after: list[WaitReading] = Field(default_factory=list, description="Spellings of a wait, best first")
    default_wait: WindowOrReading | None = Field(None, description="The estimate where nothing says how long")
    inspect: InspectForm | None = None
    replaces: list[FieldName] = Field(default_factory=list, description="More fields that must not pass")
