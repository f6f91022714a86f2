"""No profile is there for show: without it, answers of its provider are read differently (RULINGS 12)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.profiles import built_in
from policies.throttling import GENERIC, Profile, Throttle
from tests.upstreams import throttle_vectors as vectors
from tests.vector_files import Vector
from upstreams.throttle import normalise

SHIPPED = vectors.well_formed(Path("tests/vectors"))
PROVIDERS = sorted({case["provider"] for case in SHIPPED} - {"generic"})
OWN_NAME: dict[str, set[str]] = {"microsoft-graph": {"microsoft-graph", "sharepoint"}}
"""Providers with a profile for a part of them."""

Answer = tuple[int, dict[str, str], str]
SHOWN_HERE: dict[str, Answer] = {
    "amazon-sp-api": (429, {"x-amzn-ratelimit-limit": "0.2"}, ""),  # a rate, whose inverse is the estimate
    "asana": (429, {}, ""),  # an estimate
    "bamboohr": (503, {"retry-after": "30"}, ""),
    "cloudflare": (429, {}, ""),  # an estimate
    "discord": (429, {}, '{"retry_after": 1.5}'),
    "envoy-style": (503, {"x-envoy-ratelimited": "true"}, ""),
    "lever": (429, {}, ""),  # an estimate
    "linkedin": (429, {}, ""),  # a window without counters
    "postman": (429, {"x-ratelimit-limit-month": "1000", "x-ratelimit-remaining-month": "0"}, ""),
    "python-limits-style": (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "60.5"}, ""),  # an epoch, of 1970
    "quickbooks": (429, {}, ""),  # the pause that its documentation demands
    "resend": (429, {}, '{"name": "monthly_quota_exceeded"}'),
    "sendgrid": (429, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "60"}, ""),
    "slack": (200, {}, '{"ok": false, "error": "ratelimited"}'),
    "traefik-style": (429, {"x-retry-in": "2.5s"}, ""),
    "workday": (500, {}, "<faultstring>too many requests</faultstring>"),
    "xendit": (429, {"rate-limit-remaining": "0", "rate-limit-reset": "1790000060"}, ""),  # never an epoch
}
"""Providers whose vectors everybody's reader gets right, with an answer that it does not."""
NAMED_ONLY = {"box", "coinbase", "express-rate-limit-style", "notion", "square"}
"""Providers that say no more than everybody: their profile says who it was, which callers see as ``provider``."""


def of(provider: str) -> list[Vector]:
    return [case for case in SHIPPED if case["provider"] == provider]


def misread(provider: str) -> list[str]:
    """The vectors that fail without the profile."""
    return [case["id"] for case in of(provider) if vectors.differences(case, GENERIC)]


@pytest.mark.parametrize("provider", [each for each in PROVIDERS if each not in {*SHOWN_HERE, *NAMED_ONLY}])
def test_vectors_of_a_provider_fail_without_its_profile(provider: str) -> None:
    assert misread(provider)


def read(answer: Answer, profile: Profile) -> Throttle:
    status, headers, body = answer
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return replace(normalise(status, pairs, body.encode(), profile, 1_790_000_000_000_000), rule=None, waited_by="")


@pytest.mark.parametrize("provider", sorted(SHOWN_HERE))
def test_an_answer_of_a_provider_is_misread_without_its_profile(provider: str) -> None:
    answer = SHOWN_HERE[provider]
    assert misread(provider) == []
    assert read(answer, built_in().by_name[provider]) != read(answer, GENERIC)


@pytest.mark.parametrize("provider", sorted(NAMED_ONLY))
def test_a_profile_without_anything_of_its_own_still_has_the_name(provider: str) -> None:
    assert misread(provider) == []
    assert built_in().by_name[provider].hosts or provider.endswith("-style")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_every_case_of_a_provider_is_read_by_the_profile_of_its_name(provider: str) -> None:
    assert {vectors.profile_of(case).name for case in of(provider)} <= OWN_NAME.get(provider, {provider})
