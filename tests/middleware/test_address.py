"""Whose address counts: spoofing through forwarding fields, and what shares one state."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from middleware.address import MAX_FIELD, TrustedProxies, partition
from policies.errors import GatewayError

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("2001:db8:ffff::/48")))
PEER = "10.0.0.1"


@pytest.mark.parametrize(
    ("fields", "client"),
    [
        ([], PEER),
        ([("x-forwarded-for", "192.0.2.9")], "192.0.2.9"),
        ([("x-forwarded-for", "1.2.3.4, 192.0.2.9")], "192.0.2.9"),  # the left one is the caller's own writing
        ([("x-forwarded-for", "1.2.3.4, 192.0.2.9, 10.1.1.1")], "192.0.2.9"),  # through two trusted proxies
        ([("x-forwarded-for", "10.9.9.9, 10.1.1.1")], "10.9.9.9"),  # a caller inside: the farthest
        ([("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "192.0.2.9")], "192.0.2.9"),  # two lines are one list
        ([("x-forwarded-for", "192.0.2.9:5711")], "192.0.2.9"),
        ([("x-forwarded-for", "2001:db8::9")], "2001:db8::9"),
        ([("x-forwarded-for", "[2001:db8::9]:443")], "2001:db8::9"),
        ([("x-forwarded-for", "::ffff:192.0.2.9")], "192.0.2.9"),
        ([("x-forwarded-for", "unknown")], PEER),
        ([("x-forwarded-for", "192.0.2.9, nonsense")], PEER),
        ([("x-forwarded-for", "192.0.2.9,")], PEER),
        ([("x-forwarded-for", "nonsense, 192.0.2.9")], "192.0.2.9"),  # left of the answer nothing is read
        ([("forwarded", "for=192.0.2.9")], "192.0.2.9"),
        ([("forwarded", 'For="[2001:db8::9]:4711";proto=https')], "2001:db8::9"),
        ([("forwarded", "for=1.2.3.4, for=192.0.2.9;by=_lb, for=10.1.1.1")], "192.0.2.9"),
        ([("forwarded", 'for=1.2.3.4;host="a,b", for=192.0.2.9')], "192.0.2.9"),  # a comma inside quotes
        ([("forwarded", "for=_hidden")], PEER),
        ([("forwarded", "proto=https")], PEER),
        ([("forwarded", 'for="1.2.3.4'), ("forwarded", "for=192.0.2.9")], "192.0.2.9"),  # but not another line
        ([("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "192.0.2.9")], "192.0.2.9"),
        ([("forwarded", "for=10.1.1.1, for=192.0.2.9"), ("x-forwarded-for", "192.0.2.9, 10.2.2.2")], "192.0.2.9"),
        ([("forwarded", "proto=https"), ("x-forwarded-for", "192.0.2.9")], "192.0.2.9"),  # says nothing about addresses
    ],
)
def test_client_is_the_right_most_address_that_is_no_trusted_proxy(fields: list[tuple[str, str]], client: str) -> None:
    assert PROXIES.client(PEER, [(name.encode(), value.encode()) for name, value in fields]) == client


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        # what a caller adds to what its proxy writes: it must gain no other bucket, not even the proxy's
        ([("forwarded", "for=1.2.3.4"), ("x-forwarded-for", "192.0.2.9")], "disagree"),
        ([("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "1.2.3.4")], "disagree"),
        ([("forwarded", "for=_hidden"), ("x-forwarded-for", "192.0.2.9")], "disagree"),
        ([("forwarded", "for=192.0.2.9"), ("x-forwarded-for", "nonsense")], "disagree"),
        ([("forwarded", "for=192.0.2.9;for=1.2.3.4")], "malformed"),  # a name twice in an element (F-1)
        ([("forwarded", 'for="1.2.3.4, for=192.0.2.9')], "malformed"),  # an open quote swallows the proxy's element
        ([("x-forwarded-for", "192.0.2.9," * MAX_FIELD)], "too long"),
    ],
)
def test_what_a_caller_may_have_added_is_refused(fields: list[tuple[str, str]], reason: str) -> None:
    with pytest.raises(GatewayError, match="bad-request") as refused:
        PROXIES.client(PEER, [(name.encode(), value.encode()) for name, value in fields])
    assert reason in refused.value.detail


@pytest.mark.parametrize(
    ("peer", "trusted"),
    [
        ("10.255.0.1", True),
        ("::ffff:10.0.0.1", True),  # the same host on a dual-stack listener
        ("2001:db8:ffff::1", True),
        ("192.0.2.1", False),
        ("2001:db8::1", False),
        ("", False),
        ("unix:", False),
    ],
)
def test_trusted_peers_are_those_of_the_policy(peer: str, trusted: bool) -> None:
    assert PROXIES.trusts(peer) is trusted
    assert not TrustedProxies(()).trusts(peer)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.9", "192.0.2.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("::ffff:192.0.2.9", "192.0.2.9"),
        ("", ""),
        ("not:an:address", "not:an:address"),
    ],
)
def test_partition_is_an_ipv4_address_or_an_ipv6_subscriber(address: str, key: str) -> None:
    assert partition(address) == key
