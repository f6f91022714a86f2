"""Canonical bytes, and the chain of recorded acts (X4, V1)."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.sla.canonical import canonical, digest
from policies.sla.chain import ORIGIN, Act, Link, Withheld, append, verify


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({"b": 1, "a": (True, None)}, '{"a":[true,null],"b":1}'),
        (MappingProxyType({"x": [Decimal("99.90"), Decimal("100"), Decimal("-0.0"), Decimal("1E+3")]}),
         '{"x":["99.9","100","0","1000"]}'),
        (Decimal("0.12345678901234567890123456789012345678901"), '"0.12345678901234567890123456789012345678901"'),
        ([Fraction(1, 3), Fraction(4, 2)], '["1/3","2"]'),
        ("é\n\u2028\x7f\x01\"\\/", '"é\\n\u2028\x7f\\u0001\\"\\\\/"'),  # RFC 8785 3.2.2.2
        # RFC 8785 3.2.3 orders by UTF-16: the surrogates of an emoji come before U+FB33
        ({"\u20ac": 1, "\r": 2, "\ufb33": 3, "1": 4, "\U0001f600": 5, "\x80": 6, "ö": 7},
         '{"\\r":2,"1":4,"\x80":6,"ö":7,"€":1,"\U0001f600":5,"\ufb33":3}'),
        (2**53 - 1, "9007199254740991"),
    ],
)  # fmt: skip
def test_a_value_has_one_form(value: object, written: str) -> None:
    assert canonical(value) == written.encode()


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), Decimal("NaN"), Decimal("Infinity"), 2**53, -(2**53), {1: 2}, {"a": {None: 1}}, {1, 2}, b"x",
     "\ud800", {"\ud800": 1}, object()],
)  # fmt: skip
def test_what_has_no_one_form_is_refused(value: object) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever complaint
        canonical(value)


def acts(number: int) -> list[Act]:
    return [Act(kind="announce", actor=f"op-{at % 3}", at_s=1_000 + at, content={"n": at}) for at in range(number)]


def chain(number: int) -> list[Link]:
    links: list[Link] = []
    for act in acts(number):
        links.append(append(links[-1] if links else None, act))
    return links


def test_a_chain_holds_up_to_the_hash_that_was_kept() -> None:
    links = chain(5)
    assert verify(links) is None
    assert verify(links, tip=links[-1].hash) is None
    assert verify([]) is None
    assert verify([], tip=ORIGIN) is None


def test_a_hash_can_be_repeated_with_any_json_library() -> None:
    link = chain(1)[0]
    written = {"act": {"actor": "op-0", "at": 1000, "content": {"n": 0}, "kind": "announce"}, "previous": "0" * 64}
    text = json.dumps(written, sort_keys=True, separators=(",", ":"))
    assert link.hash == hashlib.sha256(text.encode()).hexdigest() == digest(written)


@pytest.mark.parametrize("at", range(5))
@pytest.mark.parametrize(
    "change",
    [
        {"content": {"n": 99}},
        {"actor": "somebody else"},
        {"kind": "approve"},
        {"content": {"n": 1.5}},  # what cannot be hashed cannot have been recorded
    ],
)
def test_a_changed_act_breaks_its_own_link(at: int, change: dict[str, object]) -> None:
    links = chain(5)
    links[at] = replace(links[at], act=replace(links[at].act, **change))  # type: ignore[arg-type]
    found = verify(links)
    assert found is not None
    assert found.number == at + 1


def test_a_changed_time_breaks_its_own_link_too() -> None:
    links = chain(5)
    links[2] = replace(links[2], act=replace(links[2].act, at_s=1_001))  # still in order
    found = verify(links)
    assert found is not None
    assert (found.number, found.reason) == (3, "its content is not what was recorded")


def test_an_act_that_was_hashed_anew_breaks_the_link_behind_it() -> None:
    links = chain(5)
    links[1] = append(links[0], replace(links[1].act, content={"n": 99}))
    found = verify(links)
    assert found is not None
    assert (found.number, found.reason) == (3, "it does not continue the link before it")


@pytest.mark.parametrize(
    ("order", "number"),
    [
        ([0, 2, 3, 4], 2),  # removed
        ([0, 1, 1, 2, 3, 4], 3),  # twice
        ([0, 2, 1, 3, 4], 2),  # exchanged
        ([1, 2, 3, 4], 1),  # the beginning is missing
    ],
)
def test_a_link_out_of_its_place_is_named(order: list[int], number: int) -> None:
    links = chain(5)
    found = verify([links[at] for at in order])
    assert found is not None
    assert found.number == number


def test_a_link_that_claims_another_place_is_named() -> None:
    links = chain(3)
    links[1] = replace(links[1], number=7)
    found = verify(links)
    assert found is not None
    assert (found.number, found.reason) == (2, "number 7 stands in place 2")


def test_a_removed_act_is_found_also_when_the_rest_is_numbered_anew() -> None:
    links = chain(5)
    rest = [replace(link, number=at) for at, link in enumerate([links[0], *links[2:]], 1)]
    found = verify(rest)
    assert found is not None
    assert found.number == 2


def test_a_cut_end_is_found_by_the_hash_that_was_kept_and_by_nothing_else() -> None:
    links = chain(5)
    assert verify(links[:3]) is None
    found = verify(links[:3], tip=links[-1].hash)
    assert found is not None
    assert found.number == 4
    assert verify([], tip=links[-1].hash) is not None


def test_a_whole_chain_written_anew_is_found_by_the_hash_that_was_kept() -> None:
    links, forged = chain(3), []
    for act in acts(3):
        forged.append(append(forged[-1] if forged else None, replace(act, actor="forger")))
    assert verify(forged) is None
    assert verify(forged, tip=links[-1].hash) is not None


def test_time_does_not_go_back_in_a_log() -> None:
    first = append(None, Act(kind="k", actor="a", at_s=10, content={}))
    assert append(first, Act(kind="k", actor="a", at_s=10, content={})).number == 2
    with pytest.raises(ValueError, match="cannot follow"):
        append(first, Act(kind="k", actor="a", at_s=9, content={}))
    early = Act(kind="k", actor="a", at_s=9, content={})
    forged = Link(number=2, act=early, previous=first.hash, hash=append(None, early).hash)
    found = verify([first, forged])
    assert found is not None
    assert found.reason == "it is dated before a link before it"


@pytest.mark.parametrize(
    "act", [Act(kind="", actor="a", at_s=1, content={}), Act(kind="k", actor="", at_s=1, content={})]
)
def test_an_act_of_nobody_is_refused(act: Act) -> None:
    with pytest.raises(ValueError, match="a kind and an actor"):
        append(None, act)


def test_content_without_one_form_is_refused_when_recorded() -> None:
    with pytest.raises(ValueError, match="float"):
        append(None, Act(kind="k", actor="a", at_s=1, content={"share": 0.1}))


JSONS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text("ab\U0001f600é", max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSONS)
def test_canonical_bytes_say_what_the_value_says(value: object) -> None:
    assert json.loads(canonical(value)) == value
    assert canonical(json.loads(canonical(value))) == canonical(value)


def test_a_withheld_place_hides_no_act_that_was_dated_back() -> None:
    links: list[Link | Withheld] = [*chain(3)]
    links[1] = withheld = Withheld(number=2, previous=links[1].previous, hash=links[1].hash)
    back = append(None, replace(acts(1)[0], at_s=999))
    links[2] = append(Link(number=2, act=back.act, previous="", hash=withheld.hash), back.act)
    found = verify(links)
    assert found is not None
    assert (found.number, found.reason) == (3, "it is dated before a link before it")
