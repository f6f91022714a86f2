"""The scalar types of throttling profiles: patterns, paths, names of fields and hosts, statuses, and lists of them.

A type turns text into a value or raises ``ValueProblem``; what a key means is in ``profile_schema``.
"""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from policies.format.json_paths import parse_path
from policies.format.scalars import Duration, Size
from policies.format.units import ValueProblem, parse_count, short
from policies.patterns import BadPattern, groups
from policies.throttling import Path

LONGEST_PATTERN: Final = 500
LARGEST_HELD: Final = 1_048_576
LONGEST_HELD_US: Final = 10_000_000
"""Of a body that is looked at, for each call in flight."""
_FIELD = re.compile(r"[!#$%&'+.^_`|~0-9A-Za-z-]*\*?[!#$%&'+.^_`|~0-9A-Za-z-]*")
_CONTENT_TYPE = re.compile(r"[a-z0-9!#$&^_.+/-]+")
_HOST = re.compile(r"[a-z0-9*-]+(\.[a-z0-9*-]+)+")


def parse_pattern(value: object) -> str:
    """A regular expression that RE2 accepts. Raises ``ValueProblem`` (TG141)."""
    text = str(value)
    if not 0 < len(text) <= LONGEST_PATTERN:
        raise ValueProblem("TG141", f"{short(text)} has {len(text)} characters", f"1 to {LONGEST_PATTERN} are allowed")
    try:
        captured = groups(text)
    except BadPattern as bad:
        hint = "RE2 syntax: no look-around, no backreference; what could backtrack is refused"
        raise ValueProblem("TG141", f"{short(text)} is not a regular expression: {bad}", hint) from None
    if captured > 1:
        hint = "write (?:...) for the groups that only hold together"
        raise ValueProblem("TG141", f"{short(text)} has {captured} groups, but one value is wanted", hint)
    return text


def parse_field(value: object) -> str:
    """A field name, lower case, with at most one ``*``. Raises ``ValueProblem`` (TG121)."""
    text = str(value)
    if not _FIELD.fullmatch(text) or text in ("", "*"):
        hint = "letters, digits and '-' only, at most one '*', no ':'"
        raise ValueProblem("TG121", f"header {short(text)} is not a field name", hint)
    return text.lower()


def parse_content_type(value: object) -> str:
    """A part of a media type, lower case: ``application/json``, ``+json``. Raises ``ValueProblem`` (TG121)."""
    text = str(value).lower()
    if not _CONTENT_TYPE.fullmatch(text):
        raise ValueProblem("TG121", f"{short(text)} is no content type", "write application/json, +json or text/")
    return text


def parse_host(value: object) -> str:
    """``api.example.com`` or ``*.example.com``. Raises ``ValueProblem`` (TG119)."""
    text = str(value).lower()
    if not _HOST.fullmatch(text) or text.replace("*", "").count(".") < 1:
        hint = "write api.example.com or *.example.com, without a scheme or a port"
        raise ValueProblem("TG119", f"{short(text)} is not a host", hint)
    return text


def _status(value: object) -> int:
    status = parse_count(value, least=100)
    if status > 599:
        raise ValueProblem("TG114", f"{status} is not a status", "statuses run from 100 to 599")
    return status


def _written(value: object) -> str:
    """A scalar as it would stand in a field or in JSON."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (str, int)):
        return str(value)
    raise ValueProblem("TG104", f"{short(value)} cannot be compared with a value", "write a text or a whole number")


def _bounded_size(octets: int) -> int:
    if octets > LARGEST_HELD:
        raise ValueProblem("TG112", "this is more than is held of a body", "1MiB at most; each call in flight holds it")
    return octets


def _bounded_wait(wait_us: int) -> int:
    if wait_us > LONGEST_HELD_US:
        raise ValueProblem("TG111", "this is longer than an answer is held back", "10s at most")
    return wait_us


def listed(value: object) -> object:
    """One value as a list of one."""
    return value if isinstance(value, list) else [value]


Status = Annotated[int, PlainValidator(_status), WithJsonSchema({"type": "integer", "minimum": 100, "maximum": 599})]
Statuses = Annotated[
    list[Status], BeforeValidator(listed, json_schema_input_type=list[Status] | Status), Field(min_length=1)
]
Pattern = Annotated[
    str, PlainValidator(parse_pattern), WithJsonSchema({"type": "string", "description": "A regular expression (RE2)"})
]
FieldName = Annotated[str, PlainValidator(parse_field), WithJsonSchema({"type": "string"})]
FieldNames = Annotated[
    list[FieldName], BeforeValidator(listed, json_schema_input_type=list[FieldName] | FieldName), Field(min_length=1)
]
JsonPath = Annotated[
    Path, PlainValidator(parse_path), WithJsonSchema({"type": "string", "examples": ["errors[*].extensions.code"]})
]
JsonPaths = Annotated[
    list[JsonPath], BeforeValidator(listed, json_schema_input_type=list[JsonPath] | JsonPath), Field(min_length=1)
]
Written = Annotated[str, PlainValidator(_written), WithJsonSchema({"type": ["string", "integer", "boolean"]})]
Writtens = Annotated[
    list[Written], BeforeValidator(listed, json_schema_input_type=list[Written] | Written), Field(min_length=1)
]
ContentType = Annotated[str, PlainValidator(parse_content_type), WithJsonSchema({"type": "string"})]
HostPattern = Annotated[str, PlainValidator(parse_host), WithJsonSchema({"type": "string"})]
HeldSize = Annotated[Size, AfterValidator(_bounded_size)]
HeldWait = Annotated[Duration, AfterValidator(_bounded_wait)]
