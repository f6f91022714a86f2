"""Header hygiene, as tables: the rule is the first column, the lines before and after are the others."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from policies.errors import GatewayError
from policies.plan import Onward
from policies.throttling import GENERIC
from upstreams import hop
from upstreams.hop import (
    forwarded_element,
    inbound_response,
    introduction,
    outbound_request,
)
from upstreams.names import NAMES_KEPT
from upstreams.throttle import Reader


@dataclass(frozen=True)
class Passage:
    """The circumstances of one request."""

    peer: str | None = "192.0.2.7"
    trusted: bool = False
    trace: tuple[tuple[bytes, bytes], ...] | None = None
    set_here: tuple[tuple[bytes, bytes], ...] = ()


PLAIN = Passage()
TRUSTED = replace(PLAIN, trusted=True)
READER = Reader(GENERIC)


def back(lines: list[tuple[bytes, bytes]], status: int = 200) -> list[tuple[bytes, bytes]]:
    return inbound_response(status, lines, b"1.1 g", READER)[0]


ABA = [(b"a", b"1"), (b"b", b"2"), (b"a", b"3")]
OURS = {b"host", b"via", b"forwarded", b"x-request-id"}


def outbound(lines: list[tuple[bytes, bytes]], passage: Passage = PLAIN) -> list[tuple[bytes, bytes]]:
    onward = Onward(
        authority=b"origin.example",
        base_path=b"",
        strip=b"",
        headers=passage.set_here,
        owned=frozenset(name for name, _ in passage.set_here),
        tells_peer=True,
    )
    told = introduction(
        pseudonym=b"tiergate-a1",
        received=b"1.1",
        peer=passage.peer,
        host=b"api.example",
        scheme=b"https",
        trusted=passage.trusted,
    )
    return outbound_request(lines, onward, told, b"r1", None if passage.trace is None else [*passage.trace])


def owning(passage: Passage, headers: tuple[tuple[bytes, bytes], ...]) -> Passage:
    """``passage`` with fields that the policy sets."""
    return replace(passage, set_here=headers)


def crossed(lines: list[tuple[bytes, bytes]], passage: Passage = PLAIN) -> list[tuple[bytes, bytes]]:
    """What of ``lines`` goes on, without what we add."""
    return [pair for pair in outbound(lines, passage) if pair[0] not in OURS]


def value(lines: list[tuple[bytes, bytes]], name: bytes) -> list[bytes]:
    return [text for key, text in lines if key == name]


@pytest.mark.parametrize(
    ("rule", "lines", "passes"),
    [
        ("P-1 named by Connection", [(b"connection", b"close, X-Secret"), (b"x-secret", b"1")], []),
        ("P-1 two Connection lines", [(b"connection", b"a"), (b"connection", b"b"), (b"a", b"1"), (b"b", b"2")], []),
        ("P-2 Keep-Alive", [(b"keep-alive", b"timeout=5")], []),
        ("P-2 Proxy-Connection", [(b"proxy-connection", b"keep-alive")], []),
        ("P-2 TE", [(b"te", b"trailers")], []),
        ("P-2 Transfer-Encoding", [(b"transfer-encoding", b"chunked")], []),
        ("P-2 Upgrade", [(b"upgrade", b"h2c"), (b"http2-settings", b"AAMA")], []),
        ("P-5 Proxy-Authorization", [(b"proxy-authorization", b"Basic x")], []),
        ("P-16 Trailer", [(b"trailer", b"x-sum")], []),
        ("P-19 answered by our server", [(b"expect", b"100-Continue")], []),
        ("P-19 another expectation", [(b"expect", b"x")], [(b"expect", b"x")]),
        ("P-26 the engine frames", [(b"content-length", b"5")], []),
        ("P-6 unknown fields", [(b"x-new", b"1")], [(b"x-new", b"1")]),
        ("P-7 order and repetition", ABA, ABA),
        ("F-6 an untrusted peer", [(b"x-forwarded-for", b"10.0.0.1"), (b"x-forwarded-proto", b"https")], []),
        ("F-6 another spelling", [(b"x-real-ip", b"10.0.0.1"), (b"forwarded", b"for=10.0.0.1")], []),
        ("the caller's request id", [(b"x-request-id", b"mine")], []),
        ("no default is added", [], []),
    ],
)  # fmt: skip
def test_only_end_to_end_fields_cross(
    rule: str, lines: list[tuple[bytes, bytes]], passes: list[tuple[bytes, bytes]]
) -> None:
    assert crossed(lines) == passes, rule


@pytest.mark.parametrize("field", [b"host", b"via", b"forwarded", b"x-request-id"])
def test_naming_our_field_in_connection_does_not_delete_it_p3(field: bytes) -> None:
    assert value(outbound([(b"host", b"x"), (b"connection", field)]), field)


def test_naming_the_upstream_credential_in_connection_does_not_delete_it_p3() -> None:
    passage = owning(PLAIN, ((b"authorization", b"Bearer ours"),))
    assert value(outbound([(b"connection", b"authorization")], passage), b"authorization") == [b"Bearer ours"]


def test_upstream_headers_replace_every_line_of_that_name() -> None:
    passage = owning(PLAIN, ((b"user-agent", b"gw"), (b"host", b"virtual.example")))
    sent = outbound([(b"user-agent", b"a"), (b"user-agent", b"b")], passage)
    assert value(sent, b"user-agent") == [b"gw"]
    assert value(sent, b"host") == [b"virtual.example"]


def test_host_is_the_upstreams_and_comes_first() -> None:
    assert outbound([(b"host", b"api.example")])[0] == (b"host", b"origin.example")


@pytest.mark.parametrize(
    ("earlier", "via"),
    [
        ([], b"1.1 tiergate-a1"),
        ([b"1.0 fred"], b"1.0 fred, 1.1 tiergate-a1"),
        ([b"1.1 a", b"1.1 b"], b"1.1 a, 1.1 b, 1.1 tiergate-a1"),
        ([b"1.1 tiergate-b2"], b"1.1 tiergate-b2, 1.1 tiergate-a1"),  # two gateways in series are no loop
    ],
)
def test_via_is_appended_p10(earlier: list[bytes], via: bytes) -> None:
    assert value(outbound([(b"via", text) for text in earlier]), b"via") == [via]


@pytest.mark.parametrize("via", [b"1.1 tiergate-a1", b"1.0 x, 1.1 TIERGATE-A1 (comment)"])
def test_our_own_pseudonym_in_via_is_a_loop_p9(via: bytes) -> None:
    with pytest.raises(GatewayError) as refused:
        outbound([(b"via", via), (b"connection", b"via")])
    assert refused.value.code == "upstream-loop"


@pytest.mark.parametrize(
    ("peer", "element"),
    [
        ("192.0.2.7", b'for=192.0.2.7;host="api.example";proto=https'),
        ("2001:db8::1", b'for="[2001:db8::1]";host="api.example";proto=https'),  # F-3
        ("fe80::1%eth0", b'for="[fe80::1]";host="api.example";proto=https'),
        ("", b'for=unknown;host="api.example";proto=https'),  # a unix socket has no address
        (None, b"proto=https"),  # F-7
    ],
)
def test_forwarded_names_the_peer_as_rfc_7239_wants_it(peer: str | None, element: bytes) -> None:
    assert forwarded_element(peer, b"api.example", b"https") == element


def test_a_trusted_peers_chain_is_kept_and_extended_f4() -> None:
    lines = [
        (b"forwarded", b"for=198.51.100.1"),
        (b"x-forwarded-for", b"198.51.100.1"),
        (b"x-forwarded-proto", b"http"),
    ]
    sent = outbound(lines, TRUSTED)
    assert value(sent, b"forwarded") == [b'for=198.51.100.1, for=192.0.2.7;host="api.example";proto=https']
    assert value(sent, b"x-forwarded-for") == [b"198.51.100.1, 192.0.2.7"]
    assert value(sent, b"x-forwarded-proto") == [b"http"]


def test_a_third_party_learns_no_address_even_from_a_trusted_peer_f7() -> None:
    passage = replace(TRUSTED, peer=None)
    sent = outbound([(b"forwarded", b"for=198.51.100.1"), (b"x-forwarded-for", b"198.51.100.1")], passage)
    assert value(sent, b"forwarded") == [b"proto=https"]
    assert not value(sent, b"x-forwarded-for")
    assert not any(b"198.51.100.1" in text for _, text in sent)


def test_the_trace_is_replaced_as_a_whole_or_passed_as_a_whole() -> None:
    lines = [(b"traceparent", b"00-a"), (b"tracestate", b"x=1")]
    assert crossed(lines) == lines
    assert crossed(lines, replace(PLAIN, trace=((b"traceparent", b"00-b"),))) == [(b"traceparent", b"00-b")]


@pytest.mark.parametrize(("limit", "sent"), [(b"3", [b"2"]), (b"1", [b"0"]), (b"x", []), (b"-1", [])])
def test_max_forwards_counts_down_p11(limit: bytes, sent: list[bytes]) -> None:
    assert value(outbound([(b"max-forwards", limit)]), b"max-forwards") == sent


@pytest.mark.parametrize(
    ("rule", "status", "lines", "passes"),
    [
        ("P-1", 200, [(b"connection", b"X-A"), (b"x-a", b"1"), (b"x-b", b"2")], [(b"x-b", b"2")]),
        ("P-2", 200, [(b"keep-alive", b"1"), (b"transfer-encoding", b"chunked"), (b"upgrade", b"h2c")], []),
        ("P-5", 407, [(b"proxy-authenticate", b"Basic")], []),
        ("our own request id", 200, [(b"x-request-id", b"theirs")], []),
        ("P-7", 200, [(b"set-cookie", b"a"), (b"set-cookie", b"b")], [(b"set-cookie", b"a"), (b"set-cookie", b"b")]),
        ("P-21", 200, [(b"content-length", b"5")], [(b"content-length", b"5")]),
        ("P-22", 204, [(b"content-length", b"0")], []),
        ("P-23", 304, [(b"content-length", b"5"), (b"etag", b"x")], [(b"etag", b"x")]),
        ("E2", 200, [(b"ratelimit", b"x"), (b"ratelimit-policy", b"y"), (b"ratelimit-reset", b"1")], []),
        ("RULINGS 14", 200, [(b"retry-after", b"5")], []),
    ],
)  # fmt: skip
def test_only_end_to_end_fields_come_back(
    rule: str, status: int, lines: list[tuple[bytes, bytes]], passes: list[tuple[bytes, bytes]]
) -> None:
    passed = back(lines, status)
    assert [pair for pair in passed if pair[0] != b"via"] == passes, rule


def test_via_is_appended_to_the_answer() -> None:
    assert (b"via", b"1.1 x, 1.1 g") in back([(b"via", b"1.1 x")])


def test_what_was_learned_about_a_name_changes_nothing_it_says_later() -> None:
    lines = [(b"x-sometimes", b"1"), (b"x-always", b"2")]
    assert crossed(lines) == crossed(lines) == lines
    assert crossed([*lines, (b"connection", b"x-sometimes")]) == [(b"x-always", b"2")]
    assert crossed(lines) == lines
    assert back([*lines, (b"connection", b"x-sometimes")]) == [(b"x-always", b"2"), (b"via", b"1.1 g")]
    for _ in range(2):
        assert back(lines) == [*lines, (b"via", b"1.1 g")]


def test_names_without_end_are_not_kept() -> None:
    for number in range(2 * NAMES_KEPT):
        name = b"x-%d" % number
        assert crossed([(name, b"1")]) == [(name, b"1")]
        assert (name, b"1") in back([(name, b"1")])
    assert max(len(hop._ordinary), len(READER.ordinary)) <= NAMES_KEPT
    crossed([(b"x" * 100, b"1")])
    assert b"x" * 100 not in hop._ordinary


@pytest.mark.parametrize("status", [200, 301])
def test_a_length_comes_back_whether_its_name_was_seen_before_or_not(status: int) -> None:
    READER.ordinary.clear()
    for _ in range(2):
        assert (b"content-length", b"5") in back([(b"content-length", b"5")], status)


@pytest.mark.parametrize(
    ("lines", "telling"),
    [
        ([(b"etag", b"1"), (b"connection", b"close"), (b"via", b"1.1 x")], False),
        ([(b"retry-after", b"5")], True),
        ([(b"ratelimit", b'"a";r=1')], True),
        ([(b"connection", b"x-a"), (b"x-a", b"1")], False),
    ],
)
def test_what_may_say_something_of_limits_is_noticed_and_never_learned(
    lines: list[tuple[bytes, bytes]], telling: bool
) -> None:
    for _ in range(2):
        assert inbound_response(200, lines, b"1.1 g", READER)[1] is telling
    assert READER.ordinary.isdisjoint((b"retry-after", b"ratelimit", b"via", b"connection", b"x-a"))
