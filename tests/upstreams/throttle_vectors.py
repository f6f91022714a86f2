"""A case of ``throttle.json``: one answer of an upstream, and what is to be read from it.

Source: spec throttling.md section 1. Names what the form allows, turns a case into the reader's arguments, and its
conclusion into the case's words.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from gateway.profiles import built_in
from policies.throttling import GENERIC, Kind, Profile, Throttle
from tests import vector_files
from tests.vector_files import Vector
from upstreams.throttle import normalise
from upstreams.transport import Headers

FILE = "throttle.json"
REQUIRED = {"id", "provider", "request_host", "response", "now_unix", "expect", "class"}
OPTIONAL = {"source", "grade", "note"}
RESPONSE = {"status", "headers", "body"}
NUMBERS = {"limit", "remaining", "reset_seconds", "retry_after_seconds", "window_seconds"}
KINDS = set(get_args(Kind))
CHOSEN_BY_NAME = ".example.com"
"""Hosts under which a case names its profile itself (RULINGS 28)."""


def well_formed(directory: Path) -> list[Vector]:
    """The cases that can be run."""
    return vector_files.well_formed(directory, FILE, complaints)


def findings(directory: Path) -> list[str]:
    """Everything that is wrong with the form of the file and of its cases."""
    return vector_files.findings(directory, FILE, complaints)


def complaints(case: Vector) -> list[str]:
    """What is wrong with the form of a case."""
    return [f"{case.get('id')}: {said}" for said in _keys(case) or _values(case)]


def _keys(case: Vector) -> list[str]:
    response, expect = case.get("response"), case.get("expect")
    parts: tuple[tuple[str, Any, set[str], set[str]], ...] = (
        ("the case", case, REQUIRED, OPTIONAL),
        ("response", response, RESPONSE, set()),
        ("expect", expect, NUMBERS | {"throttled"}, set()),
    )
    said = []
    for what, part, required, optional in parts:
        keys = set(part) if isinstance(part, dict) else set()
        said += [f"{what} has no {key}" for key in sorted(required - keys)]
        said += [f"{what} has an unknown key {key}" for key in sorted(keys - required - optional)]
    return said


def _values(case: Vector) -> list[str]:
    response, expect = case["response"], case["expect"]
    said = [] if case["class"] in KINDS else [f"unknown class {case['class']}"]
    pairs = response["headers"]
    if not isinstance(pairs, list) or not all(map(_is_pair, pairs)):
        said.append("headers are not pairs of text")
    numbers = {"status": response["status"], "now_unix": case["now_unix"]}
    said += [f"{key} is no integer" for key, value in numbers.items() if type(value) is not int]
    said += [f"{key} is no text" for key in ("id", "provider", "request_host") if not isinstance(case[key], str)]
    said += [f"{key} is neither a count nor null" for key in sorted(NUMBERS) if not _is_count(expect[key])]
    return said if isinstance(expect["throttled"], bool) else [*said, "throttled is neither true nor false"]


def _is_pair(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, str) for each in pair)


def _is_count(value: object) -> bool:
    return value is None or (type(value) is int and value >= 0)


def profile_of(case: Vector) -> Profile:
    """As the product chooses for an upstream at this host; where the host says nothing, by the provider's name."""
    catalogue, host = built_in(), case["request_host"].lower()
    if host.endswith(CHOSEN_BY_NAME):
        return catalogue.by_name.get(case["provider"], GENERIC)
    return catalogue.of_host(host) or GENERIC


def observed(case: Vector, profile: Profile) -> Mapping[str, object]:
    """What the product reads from the case's answer."""
    response = case["response"]
    headers, body = lines(response["headers"]), octets(response["body"])
    return projected(normalise(response["status"], headers, body, profile, case["now_unix"] * 1_000_000))


def lines(pairs: Iterable[tuple[str, str]]) -> Headers:
    """A case's fields, as they come."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs]


def octets(body: object) -> bytes:
    """A case's body, as it comes."""
    if body is None:
        return b""
    return (body if isinstance(body, str) else json.dumps(body)).encode()


def projected(throttle: Throttle) -> Mapping[str, object]:
    """A conclusion in the words of ``expect`` and ``class``."""
    limit = throttle.selected
    return {
        "throttled": throttle.throttled,
        "limit": limit and limit.q,
        "remaining": limit and limit.r,
        "reset_seconds": limit and limit.t,
        "retry_after_seconds": throttle.retry_after_seconds,
        "window_seconds": limit and limit.w,
        "class": throttle.kind,
    }


def differences(case: Vector, profile: Profile) -> list[str]:
    """The fields in which reading and expectation differ."""
    expected = {**case["expect"], "class": case["class"]}
    found = observed(case, profile)
    return [f"{key} is {found[key]}, not {want}" for key, want in expected.items() if found[key] != want]
