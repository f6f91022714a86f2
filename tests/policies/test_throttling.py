"""Which profile an upstream gets, by name and by host; what becomes of names from outside."""

from __future__ import annotations

import pytest

from policies.throttling import GENERIC, Catalogue, Profile, host_matches, slug


@pytest.mark.parametrize(
    ("pattern", "host", "matches"),
    [
        ("api.example.com", "api.example.com", True),
        ("api.example.com", "api.example.com.evil.test", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", ".example.com", False),  # the star stands for something
        ("*.example.com", "a.example.com.evil.test", False),
        ("*.example.com", "notexample.com", False),
        ("*.crm*.example.com", "acme.crm4.example.com", True),
        ("*.crm*.example.com", "acme.crm.example.com", False),
        ("*.crm*.example.com", "acme.api.example.com", False),
        ("www.example.*", "www.example.eu", True),
        ("www.example.*", "www.example.", False),
        ("api-*.example.com", "api-eu.example.com", True),
        ("a*a", "a", False),  # what precedes the star and what follows it do not overlap
    ],
)
def test_a_star_stands_for_any_text_but_none(pattern: str, host: str, matches: bool) -> None:
    assert host_matches(pattern, host) is matches


def test_the_exact_host_goes_before_a_pattern_and_the_longer_pattern_before_the_shorter() -> None:
    broad = Profile(name="broad", hosts=("*.example.com",))
    narrow = Profile(name="narrow", hosts=("*.api.example.com",))
    exact = Profile(name="exact", hosts=("eu.api.example.com",))
    catalogue = Catalogue([broad, narrow, exact])
    hosts = ("www.example.com", "us.api.example.com", "eu.api.example.com", "example.org")
    assert [catalogue.of_host(host) for host in hosts] == [broad, narrow, exact, None]


def test_the_generic_profile_has_a_name_and_no_host() -> None:
    catalogue = Catalogue()
    assert catalogue.by_name == {"generic": GENERIC}
    assert catalogue.of_host("api.example.com") is None


def test_equal_profiles_are_equal_whoever_read_them() -> None:
    # A reload reads a profile anew; connections to its upstream must not be given up for that.
    assert Profile(name="a", hosts=("h.example.com",)) == Profile(name="a", hosts=("h.example.com",))
    assert Profile(name="a", hosts=("h.example.com",)) != Profile(name="a", hosts=("i.example.com",))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("Search", "search"),
        ("API_Calls (daily)", "api-calls-daily"),
        ('x";r=9, "y', "x-r-9-y"),  # no structured field can be broken by it
        ("\r\nset-cookie: a", "set-cookie-a"),
        ("éü", ""),
        ("-", ""),
        ("x" * 1000, "x" * 32),
    ],
)
def test_a_name_from_outside_is_never_verbatim(name: str, found: str) -> None:
    assert slug(name) == found
