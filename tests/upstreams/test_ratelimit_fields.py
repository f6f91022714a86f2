"""The RateLimit fields of every draft: which values are taken, which are void as a whole, and that http_sf agrees."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import http_sf
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from policies.throttling import MAX_WAIT_S
from upstreams.ratelimit_fields import current, dictionary, limits, policies, split, windows

POLICIES = [
    ('"default";q=100;w=60', {"default": (100, 60)}),
    ('"default"; q=100;  w=60', {"default": (100, 60)}),  # blanks after a semicolon
    (' "default";q=100;w=60\t', {"default": (100, 60)}),
    ('"burst";q=100;w=60,"daily";q=5000;w=86400', {"burst": (100, 60), "daily": (5000, 86400)}),
    ('"burst";q=100;w=60 \t,\t "daily";q=5000', {"burst": (100, 60), "daily": (5000, None)}),
    ('"default";w=60;q=100', {"default": (100, 60)}),
    ('"default";qu="requests";q=100;w=60', {"default": (100, 60)}),
    ('"default";q=100;w=60;pk=:c2RmZ3NkZmc=:', {"default": (100, 60)}),
    ('"100-in-1min"; q=100; w=60; pk=:ZTNiMGM0NDI5OGZj:', {"100-in-1min": (100, 60)}),
    ('"default";q=100;w=60;acme-burst=20', {"default": (100, 60)}),
    ('"default";q=1;q=2;w=3;w=4', {"default": (2, 4)}),  # the last of two alike
    ('"default";q=5.5;q=2', {"default": (2, None)}),
    ('"default";q=2;q=5.5', None),
    ('"";q=1', {"": (1, None)}),
    (r'"a\"b\\c";q=1', {r'a"b\c': (1, None)}),
    ('"a, b;q=9";q=1', {"a, b;q=9": (1, None)}),
    ('"a";q=0', {"a": (0, None)}),
    ('"a";q=-0', {"a": (0, None)}),  # an Integer, and not negative
    ('"a";q=007', {"a": (7, None)}),
    ('"a";q=999999999999999', {"a": (999_999_999_999_999, None)}),
    ('"a";q=5;w=9, "a";q=3;w=7', {"a": (3, 7)}),  # one name, two policies: the smaller quota
    ('"a";q=3;w=7, "a";q=5;w=9', {"a": (3, 7)}),
    # every type of bare item in a parameter that nobody knows
    ('"a";q=1;b=-1;c=1.25;d="x, y;q=2";e=T/o:k;f=:AAE=:;g=:AAE:;h=::;i=?0;j;k=@1659578233;l=%"f%c3%bc%f0%9f%98%80"',
     {"a": (1, None)}),
    ('"a";q=1;*x=*y', {"a": (1, None)}),
    ("", None),
    ("   ", None),
    (",", None),
    ('"a"', None),  # q is required
    ('"a";w=60', None),
    ('"a";q', None),
    ('"a";q=', None),
    ('"a";q=-1', None),
    ('"a";q=1.0', None),
    ('"a";q="1"', None),
    ('"a";q=*1', None),
    ('"a";q=?1', None),
    ('"a";q=@1', None),
    ('"a";q=1234567890123456', None),
    ('"a";q=+1', None),
    ('"a";q=1_0', None),
    ('"a";q=\u00b2', None),
    ('"a";q=1;w=0', None),  # w is above zero
    ('"a";q=1;w=-0', None),
    ('"a";q=1;w=-60', None),
    ('"a";q=1;w', None),
    ('"a";q=1;w="60"', None),
    ('"a";q=1;w=0.5', None),
    ('"a";Q=1;W=60', None),  # keys are lower-case
    ("a;q=1", None),  # a Token
    ("100;w=60", None),
    (":AAE=:;q=1", None),
    ('("a");q=1', None),  # an Inner List
    ('"a";q=1,', None),
    ('"a";q=1 ,\t', None),
    (',"a";q=1', None),
    ('"a";q=1,,"b";q=1', None),
    ('"a";q=1 "b";q=1', None),
    ('"a";q=1, b;q=1', None),  # one bad member voids the field
    ('"a";q=1;', None),
    ('"a" ;q=1', None),  # no blank before a semicolon
    ('"a";\tq=1', None),  # and no tab after one
    ('"a";q=1;\tw=60', None),
    ('"a";q =1', None),
    ('"a";q= 1', None),
    ('"a;q=1', None),
    (r'"a\b";q=1', None),
    ('"\u00e4";q=1', None),
    ('"a\x7f";q=1', None),
    ('"a\n";q=1', None),
    ('"a";q=1\n', None),
    ("'a';q=1", None),
    ('"a";q=1;b=1.2345', None),
    ('"a";q=1;b=1234567890123.5', None),
    ('"a";q=1;b=1.', None),
    ('"a";q=1;b=-', None),
    ('"a";q=1;b=:A:', None),  # one character is no octet
    ('"a";q=1;b=:AAAAA:', None),
    ('"a";q=1;b=:AAE====:', None),
    ('"a";q=1;b=:=:', None),
    ('"a";q=1;b=:AA E=:', None),
    ('"a";q=1;b=:AAE=', None),
    ('"a";q=1;b=?2', None),
    ('"a";q=1;b=@1.5', None),
    ('"a";q=1;b=%"%C3%BC"', None),  # upper-case digits
    ('"a";q=1;b=%"%c3"', None),  # not UTF-8
    ('"a";q=1;b=%"%c0%80"', None),
    ('"a";q=1;b=%"%ed%a0%80"', None),  # a surrogate
    ('"a";q=1;b=%"%f4%90%80%80"', None),
    ('"a";q=1;b=(1 2)', None),
    ('"a";q=1;1=2', None),
]  # fmt: skip

CURRENT = [
    ('"default";r=0;t=47', [("default", 0, 47)]),
    ('"default"; r=50; t=30', [("default", 50, 30)]),
    ('"burst";r=0;t=7, "daily";r=4800;t=40000', [("burst", 0, 7), ("daily", 4800, 40000)]),
    ('"default";r=0', [("default", 0, None)]),
    ('"default";r=50;t=30;pk=:c2RmZ3NkZmc=:', [("default", 50, 30)]),
    ('"default";r=50;t=30;acme-x', [("default", 50, 30)]),
    ('"a";r=5;r=3;t=9', [("a", 3, 9)]),
    ('"a";t=9;r=5;t=7', [("a", 5, 7)]),
    ('"a";r=0;t=1790000040', [("a", 0, None)]),  # seconds by definition: no epoch is guessed at
    ('"a";r=0;t=2678400', [("a", 0, 2_678_400)]),
    ('"a";r=0;t=2678401', [("a", 0, None)]),
    ('"a";r=0;t=0', [("a", 0, 0)]),
    ('"a";r=-0;t=-0', [("a", 0, 0)]),
    ('"default";a=0;w=12', [("default", 0, 12)]),  # the draft after -11
    ('"default";a=0', [("default", 0, None)]),
    ('"default";a=0;w=1790000040', [("default", 0, None)]),
    ('"default";a=9;r=5;t=7;w=60', [("default", 5, 7)]),  # -11 with parameters it does not know
    ('"x";r=1, "x";r=2', [("x", 1, None), ("x", 2, None)]),
    ("default;r=5;t=9", None),
    ('"d";t=9', None),
    ('"d";w=9', None),
    ('"d"', None),
    ('"d";R=5;T=9', None),
    ('"d";r=5;t=9,', None),
    ('"d";r="5";t=9', None),
    ('"d";r=5;t="9"', None),
    ('"d";r=5;t=-9', None),
    ('"d";r=5;t=9.0', None),
    ('"d";r=5;t', None),
    ('"d";r=-5;t=9', None),
    ('"d";r', None),
    ('"d";a="0";w=12', None),
    ('"d";a=0;w=-12', None),
    ('"d";a=0;w', None),
    ('"d";r=1234567890123456;t=9', None),
    ("limit=100, remaining=0, reset=5", None),
    ("", None),
]

LIMITS = [
    ("100", ([100], [])),
    ("100.0", ([100], [])),
    ("-1", ([-1], [])),  # a sentinel, for the caller to see
    ("0;w=21600", ([], [(0, 21600)])),
    ("100;w=60", ([], [(100, 60)])),
    ("10, 10;w=1;burst=1000, 1000;w=3600", ([10], [(10, 1), (1000, 3600)])),
    ('10, 10;w=1;burst=1000, 1000;w=3600;comment="a, b"', ([10], [(10, 1), (1000, 3600)])),
    ('10, 10;w=1;name="per-ip", 1000;w=3600', ([10], [(10, 1), (1000, 3600)])),
    ('10;w=1;comment="a\\"b;w=9, 7;w=7"', ([], [(10, 1)])),
    ('10;w=1;comment="\u00e9"', ([], [(10, 1)])),  # a quoted-string may hold any octet
    ("10 ; w=1\t;\tcomment=x ,20;w=2", ([], [(10, 1), (20, 2)])),
    ("10;w=1;w=2", ([], [(10, 2)])),
    ("10;comment=only", ([10], [])),
    ("unlimited", None),
    ("10, unlimited", None),
    ("10;w=0", None),
    ("10;w=-1", None),
    ("10;w", None),
    ('10;w="60"', None),
    ("-1;w=60", None),
    ("10;w=1,", None),
    ("10;;w=1", None),
    ("10;w= 1", None),
    ('10;w=1;comment="a', None),
    ("1e3", None),
    ("1" * 16, None),
    ("\u0661\u0660", None),
    ('"default";q=100;w=60', None),
    ("", None),
]

DICTIONARIES = [
    ("limit=100, remaining=0, reset=5", {"limit": 100, "remaining": 0, "reset": 5}),
    ("limit=300,remaining=290 ,\treset=44", {"limit": 300, "remaining": 290, "reset": 44}),
    ("remaining=3", {"remaining": 3}),
    ("limit=1, limit=2", {"limit": 2}),
    ('limit=1;x="a, b", y=(a "b" 3;q=1 );z, flag, note="limit=9"', {"limit": 1}),
    ("limit=1, reset=1790000040", {"limit": 1}),
    ("reset=1790000040", None),
    ("limit=1, remaining=-1", None),
    ("limit=1, remaining", None),
    ("limit=1, remaining=1.5", None),
    ("limit=1, remaining=(1)", None),
    ("limit=1, Remaining=1", None),
    ("limit=1,", None),
    ("limit=1 remaining=1", None),
    ("limit = 1", None),
    ("default;r=5;t=9", None),  # a Dictionary without any of the three
    ('"d";r=5;t=9', None),
    ("100", None),
    ("", None),
]

VALUES = [
    ("100", ["100"]),
    (" 100\t", ["100"]),
    ("100, 10", ["100", "10"]),
    ("100,10 ,\t5", ["100", "10", "5"]),
    (",100,,10, ", ["100", "10"]),  # empty elements (RFC 9110 5.6.1.2)
    ('10, 10;w=1;comment="a, b", 7', ["10", '10;w=1;comment="a, b"', "7"]),
    ('"a\\", b", c', ['"a\\", b"', "c"]),
    ('"a""b, c",d', ['"a""b, c"', "d"]),
    ('1, "2, 3', ["1", '"2, 3']),
    ("Mon, 21 Sep 2026 14:14:07 GMT", ["Mon, 21 Sep 2026 14:14:07 GMT"]),
    (
        "30, Mon, 21 Sep 2026 14:14:07 GMT, Monday, 21-Sep-26 14:14:07 GMT,5",
        ["30", "Mon, 21 Sep 2026 14:14:07 GMT", "Monday, 21-Sep-26 14:14:07 GMT", "5"],
    ),
    ("", []),
    (" ", []),
    (" , ,", []),
]


@pytest.mark.parametrize(("text", "found"), POLICIES)
def test_policies_are_read_as_a_whole_or_not_at_all(text: str, found: object) -> None:
    assert policies(text) == found


@pytest.mark.parametrize(("text", "found"), CURRENT)
def test_current_state_is_read_as_a_whole_or_not_at_all(text: str, found: object) -> None:
    assert current(text) == found


@pytest.mark.parametrize(("text", "found"), LIMITS)
def test_lists_of_the_older_drafts_tell_numbers_from_windows(text: str, found: tuple[object, object] | None) -> None:
    assert limits(text) == found
    assert windows(text) == (found[1] or None if found else None)


@pytest.mark.parametrize(("text", "found"), DICTIONARIES)
def test_the_dictionary_of_draft_07_counts_where_all_of_it_is_well_formed(text: str, found: object) -> None:
    assert dictionary(text) == found


@pytest.mark.parametrize(("text", "found"), VALUES)
def test_joined_values_come_apart_at_the_commas_that_joined_them(text: str, found: list[str]) -> None:
    assert split(text) == found


known_keys = st.sampled_from(["q", "w", "r", "t", "a"])
keys = st.from_regex(r"[a-z*][a-z0-9_\-.*]{0,3}", fullmatch=True) | known_keys
integers = st.sampled_from([0, 1, 60, MAX_WAIT_S, MAX_WAIT_S + 1, 10**15 - 1]) | st.integers(-3, 10**6)
written_items = st.one_of(
    integers.map(str),
    integers.map(str),
    st.from_regex(r"-?[0-9]{1,12}\.[0-9]{1,3}", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=8).map(http_sf.ser),
    st.from_regex(r"[A-Za-z*][A-Za-z0-9:/!#$%&'*+\-.^_`|~]{0,5}", fullmatch=True),
    st.binary(max_size=9).map(http_sf.ser),
    st.booleans().map(http_sf.ser),
    st.integers(-(10**10), 10**11).map(lambda number: f"@{number}"),
    st.text(max_size=6).filter(str.isprintable).map(http_sf.DisplayString).map(http_sf.ser),
)  # fmt: skip
written_parameters = st.lists(
    st.builds(
        lambda blanks, key, item: f";{blanks}{key}" + ("" if item is None else f"={item}"),
        st.sampled_from(["", "", " ", "  "]),
        keys,
        integers.map(str) | written_items | st.none(),
    ),
    max_size=3,
).map("".join)
# mostly names, or hardly any field of several members would be well-formed
values = st.sampled_from(
    ['"default"', '"a"', r'"\"\\"', '"x, y;q=1"', '""'] * 6 + ["default", "100", ":AAE=:", '("a" b)']
)
members = st.builds(
    lambda value, early, parameters: f"{value}{early}{parameters}",
    values,
    st.sampled_from([";q=5;w=60;r=3;t=9", ";r=5;t=60;q=7", ";a=5;w=60;q=3", ";q=5;w=60", ";r=5;t=60", ""]),
    written_parameters,
)
fields = st.lists(st.tuples(members, st.sampled_from([", ", ",", " ,\t"])), max_size=4).map(
    lambda pairs: "".join(member + comma for member, comma in pairs)[: -len(pairs[-1][1])] if pairs else ""
)
entries = st.builds(
    lambda key, value, parameters: key + value + parameters,
    st.sampled_from(["limit", "remaining", "reset"]) | keys,
    st.one_of(integers.map(lambda number: f"={number}"), written_items.map(lambda item: f"={item}"),
              st.lists(written_items, max_size=3).map(lambda items: f"=({' '.join(items)})"), st.just("")),
    written_parameters,
)  # fmt: skip
dictionaries = st.lists(entries, min_size=1, max_size=5).map(", ".join)


@st.composite
def mutated(draw: st.DrawFn, texts: st.SearchStrategy[str]) -> str:
    """A text with a few characters put in, taken out, changed or doubled."""
    text = draw(texts)
    for _ in range(draw(st.integers(1, 2))):
        at = draw(st.integers(0, len(text)))
        cut = draw(st.integers(0, 3))
        inserted = draw(
            st.text('0123456789.:-+ ,;="\\()?@%*qwrtaA_\t\u00b2', max_size=2)
            | st.text(st.characters(max_codepoint=255), max_size=1)
            | st.just(text[at : at + 5])
        )
        text = text[:at] + inserted + text[at + cut :]
    return text


def parsed(text: str, shape: str) -> Any:
    """What the oracle makes of a value, its surrounding blanks taken off as HTTP does."""
    try:
        return http_sf.parse(text.strip(" \t").encode("latin-1"), tltype=shape)
    except http_sf.StructuredFieldError as why:
        assume("Date value out of range" not in str(why))  # a bound of its datetimes, and of no specification
        return None


def natural(item: object) -> int | None:
    return item if type(item) is int and item >= 0 else None


def expected_members(text: str) -> Any:
    members = parsed(text, "list")
    if not members or not all(isinstance(value, str) for value, _ in members):  # its Tokens are no str
        return None
    return members


def expected_policies(text: str) -> dict[str, tuple[int, int | None]] | None:
    found: dict[str, tuple[int, int | None]] = {}
    for name, parameters in expected_members(text) or ():
        quota, window = natural(parameters.get("q")), natural(parameters.get("w"))
        if quota is None or ("w" in parameters and not window):
            return None
        found[name] = min(found.get(name, (quota, window)), (quota, window), key=lambda pair: pair[0])
    return found or None


def expected_current(text: str) -> list[tuple[str, int, int | None]] | None:
    found = []
    for name, parameters in expected_members(text) or ():
        count, span = ("r", "t") if "r" in parameters else ("a", "w")
        left, wait = natural(parameters.get(count)), natural(parameters.get(span))
        if left is None or (span in parameters and wait is None):
            return None
        found.append((name, left, wait if wait is not None and wait <= MAX_WAIT_S else None))
    return found or None


def expected_dictionary(text: str) -> dict[str, int] | None:
    found = parsed(text, "dictionary") or {}
    known = {key: found[key][0] for key in ("limit", "remaining", "reset") if key in found}
    if any(natural(item) is None for item in known.values()):
        return None
    return {key: item for key, item in known.items() if key != "reset" or item <= MAX_WAIT_S} or None


rows = st.sampled_from([text for text, found in (*POLICIES, *CURRENT) if found])
dictionary_rows = st.sampled_from([text for text, found in DICTIONARIES if found])
latin_1 = st.text(st.characters(max_codepoint=255))


@given(fields | mutated(fields) | mutated(rows) | latin_1)
@settings(max_examples=300)
@example('"a";b=@999999999999;q=1')
def test_an_independent_parser_agrees_on_every_field(text: str) -> None:
    assert policies(text) == expected_policies(text)
    assert current(text) == expected_current(text)


@given(dictionaries | mutated(dictionaries) | mutated(dictionary_rows) | latin_1)
@settings(max_examples=200)
def test_an_independent_parser_agrees_on_every_dictionary(text: str) -> None:
    assert dictionary(text) == expected_dictionary(text)


LISTS = [text for text, _ in LIMITS]


@given(st.text() | st.sampled_from(LISTS) | mutated(st.sampled_from(LISTS)) | fields | mutated(fields))
def test_no_text_raises_and_every_number_is_within_bounds(text: str) -> None:
    for quota, window in (policies(text) or {}).values():
        assert 0 <= quota < 10**15
        assert window is None or 0 < window < 10**15
    for _, left, wait in current(text) or ():
        assert 0 <= left < 10**15
        assert wait is None or 0 <= wait <= MAX_WAIT_S
    bare, pairs = limits(text) or ((), ())
    assert all(abs(number) <= 10**15 for number in bare)
    assert all(quota >= 0 and window > 0 for quota, window in pairs)
    assert all(number >= 0 for number in (dictionary(text) or {}).values())


@given(st.lists(st.sampled_from(["100", '"a, b"', 'x;c="d\\",e"', "Mon, 21 Sep 2026 14:14:07 GMT", "a b"])))
def test_what_was_joined_comes_apart_again(values: list[str]) -> None:
    assert split(", ".join(values)) == values
    assert split(",".join(values)) == values


HOSTILE = [
    '"', '"a"', '"a";', '"a";a', '"a\\', '"a";a=1 ,', '"a";q=:', '"a";q=:AAAA', '"a";q=%"%c3', '"a";q=1;b="', ';a="',
    "1,", "1 ", "1.", "1;a", "1;a ;", '1;a="', "a;", "a=(", "a=(1 ", "a=1,", "A", "Mon, ", ",", "(", "-", "\\", " ",
]  # fmt: skip
READERS: list[Callable[[str], object]] = [policies, current, limits, dictionary, split]


def effort_ns(read: Callable[[str], object], text: str) -> int:
    """The least of three, so that a machine that does other things too does not count."""
    spent = []
    for _ in range(3):
        begun = time.process_time_ns()
        read(text)
        spent.append(time.process_time_ns() - begun)
    return max(100_000, min(spent))


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("unit", HOSTILE)
def test_effort_grows_with_the_length_and_not_with_its_square(read: Callable[[str], object], unit: str) -> None:
    for lead in ("", '"a";q=1', "a=", "1;a"):
        short, long = (lead + unit * (size // len(unit)) + "\x00" for size in (4096, 65_536))
        assert effort_ns(read, long) <= 80 * effort_ns(read, short), f"16 times the text after {lead!r}"
