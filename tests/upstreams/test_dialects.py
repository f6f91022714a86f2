"""Answers that the shared vectors do not hold: rarer codes, SOAP faults, partial results, look-alikes that are none.

The cases are data in dialects.json, in the form of tests/vectors/throttle.json with ``executed`` beside it; each
finds its profile by its host, as an upstream does, or names one that has no hosts.
"""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.profiles import built_in
from policies.throttling import Throttle
from tests.upstreams import throttle_vectors as vectors
from upstreams.throttle import reader_of

FOLDER = files("upstreams").joinpath("providers")
CASES: list[dict[str, Any]] = json.loads(Path(__file__).with_name("dialects.json").read_text(encoding="utf-8"))


def concluded(case: dict[str, Any]) -> Throttle:
    response, catalogue = case["response"], built_in()
    profile = catalogue.of_host(case["request_host"]) or catalogue.by_name[case["provider"]]
    assert profile.name == case["provider"]
    reader, status, headers = reader_of(profile), response["status"], vectors.lines(response["headers"])
    looked_at = vectors.octets(response["body"]) if reader.inspects(status, headers) else None
    return reader.read(status, headers, looked_at, case["now_unix"] * 1_000_000)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_a_provider_is_understood(case: dict[str, Any]) -> None:
    said = concluded(case)
    assert vectors.projected(said) == {**case["expect"], "class": case["class"]}, case["note"]
    assert said.nothing_executed is (case["executed"] == "nothing"), case["note"]


def test_every_file_says_what_it_is_and_where_that_was_read() -> None:
    for file in FOLDER.iterdir():
        said = yaml.safe_load(file.read_bytes())
        assert list(said)[:3] == ["description", "source", "grade"], file.name
        assert all(said[key] for key in ("description", "source", "grade")), file.name


def test_no_host_is_claimed_twice() -> None:
    claims = Counter(host for profile in built_in().by_name.values() for host in profile.hosts)
    assert [host for host, times in claims.items() if times > 1] == []
