"""YAML text under the rules of version 1.2, with positions, and bounded before it is built."""

from __future__ import annotations

import tracemalloc
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.format.substitution import Lookups, Substituted, substitute
from policies.format.units import ValueProblem
from policies.format.yaml_tree import LARGEST_FILE, Tree, read_tree


def read(text: str | bytes) -> Tree:
    return read_tree("f.yaml", text.encode() if isinstance(text, str) else text, lambda value: value)


def found(text: str | bytes) -> list[tuple[str, int, int]]:
    return [(finding.code, finding.line, finding.column) for finding in read(text).findings]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),  # YAML 1.1 says false
        ("yes", "yes"),
        ("on", "on"),
        ("12:30", "12:30"),  # YAML 1.1 says 750
        ("010", 10),  # YAML 1.1 says 8
        ("0o10", 8),
        ("0x1F", 31),
        ("2026-01-01", "2026-01-01"),  # YAML 1.1 says a date
        ("1_000", "1_000"),  # YAML 1.1 says 1000; counts are read by their own type
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("1.50", Decimal("1.50")),
        ("1e3", Decimal("1e3")),
        ("9" * 5_000, Decimal("9" * 5_000)),  # beyond what int() takes without complaint
        (".inf", ".inf"),
        ('"5"', "5"),
        ("'true'", "true"),
        ("!!str 5", "5"),
        ("<<", "<<"),
    ],
)
def test_scalars(text: str, value: object) -> None:
    tree = read(f"a: {text}\n")
    assert tree.findings == []
    assert tree.data == {"a": value}
    assert type(tree.data["a"]) is type(value)


def test_keys_are_the_text_that_is_written() -> None:
    assert read("404: a\ntrue: b\n~: c\n010: d\n").data == {"404": "a", "true": "b", "~": "c", "010": "d"}


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("a: 1\na: 2\n", "TG102", 2, 1),
        ("a: {b: 1, c: 2, b: 3}\n", "TG102", 1, 17),
        ("a:\n\tb: 1\n", "TG106", 2, 1),
        ("a: [1, 2\nb: 3\n", "TG101", 2, 2),
        ("a: *nothing\n", "TG101", 1, 4),
        ("a: 1\n---\nb: 2\n", "TG134", 2, 1),
        ("a: !!timestamp 2026-01-01\n", "TG135", 1, 4),
        ("a: {<<: {b: 1}}\n", "TG135", 1, 5),
        ("? [a]\n: 1\n", "TG104", 1, 3),
        (b"a: 1\nb: \xff\n", "TG107", 2, 4),
        ("a: 1\nb: x\x00y\n", "TG107", 2, 5),
        ("ä: 1\nb: ü\x07\n", "TG107", 2, 5),
        ("a: " + "[" * 100_000, "TG136", 1, 42),
        ("a: " + "{b: " * 100_000, "TG136", 1, 156),
        ("- " * 50_000, "TG136", 1, 79),
        (b"#" * (LARGEST_FILE + 1), "TG108", 1, 1),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_what_is_refused_is_found_where_it_stands(text: str | bytes, code: str, line: int, column: int) -> None:
    assert found(text) == [(code, line, column)]


def test_a_duplicate_quotes_both_places() -> None:
    (finding,) = read("a:\n  b: 1\n  b: 2\n").findings
    assert (finding.line, finding.column) == (3, 3)
    assert "f.yaml:2:3" in finding.message


def test_an_alias_is_followed() -> None:
    assert read("a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


def bomb(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_an_alias_bomb_is_one_finding_and_no_memory() -> None:
    tracemalloc.start()
    tree = read(bomb(12))  # 10**12 values when followed
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [finding.code for finding in tree.findings] == ["TG109"]
    assert peak < 60_000_000


def test_a_wide_alias_bomb_is_found_too() -> None:
    text = f"a: &a [{', '.join('x' * 1_000)}]\nb: [{', '.join(['*a'] * 1_000)}]\n"
    assert [code for code, _, _ in found(text)] == ["TG109"]


def test_an_alias_inside_itself_ends() -> None:
    assert [code for code, _, _ in found("a: &a [*a]\n")] == ["TG109"]


def test_many_anchors_in_a_large_file_are_no_bomb() -> None:
    body = "".join(f"t{n}: {{a: &a{n} 1, b: *a{n}}}\n" for n in range(5_000))
    assert read(body).findings == []


def test_a_byte_order_mark_and_an_empty_file_are_fine() -> None:
    assert read("\ufeffa: 1\n").data == {"a": 1}
    assert read("").data is None
    assert read("# only a comment\n").findings == []


def test_a_substitution_stays_text_and_hides_itself() -> None:
    outside = Lookups(variable={"N": "4"}.get, secret=lambda name: "pem\n", lines=lambda name: ())
    tree = read_tree("f", b"a: ${N}\nb: 'x-${N}-${file:ca}'\nc: ${M:-7}\n", lambda text: substitute(text, outside))
    assert tree.data == {"a": "4", "b": "x-4-pem", "c": "7"}
    assert all(isinstance(value, Substituted) for value in tree.data.values())
    assert "pem" not in repr(tree.data)


@pytest.mark.parametrize(
    ("text", "code"),
    [("${M}", "TG130"), ("${M", "TG131"), ("${}", "TG131"), ("${a b}", "TG131"), ("${N:-${M}}", "TG130")],
)
def test_a_reference_that_cannot_be_followed(text: str, code: str) -> None:
    outside = Lookups(variable={"N": "4"}.get, secret=lambda name: "", lines=lambda name: ())
    with pytest.raises(ValueProblem) as caught:
        substitute(text, outside)
    assert caught.value.code == code


@settings(max_examples=300)
@given(st.text(alphabet=st.sampled_from("ab:[]{}&*!|>-?#\"'%@`,~ \t\n\\0$<é\u2028")))
def test_no_text_breaks_the_reader(text: str) -> None:
    for finding in read(text).findings:
        assert finding.line >= 1
        assert finding.column >= 1


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: bytes) -> None:
    for finding in read(raw).findings:
        assert finding.line >= 1
        assert finding.column >= 1
