"""Expressions of profiles: what they find, what is refused, and that no text makes them slow."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.patterns import BadPattern, capture, groups


@pytest.mark.parametrize(
    ("pattern", "text", "found"),
    [
        (r"in (\d+) s", "try in 30 s or in 60 s", "30"),  # the first match
        (r"\d+", "a 30 b", "30"),  # without a group the whole match
        (r"(?:x|y)(\d)?", "x", None),  # a group that took no part has no value
        (r"(\d*)$", "", ""),  # an empty value is one
        (r"wait", "", None),
        (r"(?i)LIMIT", "a limit", "limit"),
        (r"ü(.)", "grün€", "n"),
        (r"a(.)b", "a\u20acb", "€"),  # a character is one, however many octets it has
        (r"(.)", "\ud800", "?"),  # what cannot be encoded is no reason to fail
    ],
)
def test_what_is_captured(pattern: str, text: str, found: str | None) -> None:
    assert capture(pattern)(text) == found


@pytest.mark.parametrize("pattern", ["(", r"(a)\1", "(?=a)", "(?<=a)b", "(a{1000}){1000}", "(?P<n>"])
def test_what_could_backtrack_or_explode_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(BadPattern, match=r".+"):
        groups(pattern)


def test_groups_are_counted() -> None:
    assert [groups(pattern) for pattern in ("a", "(a)", "(?:a)(b)(c)")] == [0, 1, 2]


@given(st.text(alphabet="abc=;0123456789, ü", max_size=60))
def test_a_plain_expression_finds_what_the_standard_library_finds(text: str) -> None:
    pattern = r"b=[^,;]*;(\d+)"
    found = re.search(pattern, text, re.ASCII)
    assert capture(pattern)(text) == (found[1] if found else None)


def test_an_expression_that_would_backtrack_for_ever_is_done_at_once() -> None:
    assert capture(r"^(?:a+)+$")("a" * 100_000 + "b") is None
