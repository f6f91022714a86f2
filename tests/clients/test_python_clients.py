"""Python clients as they are published: what they make of a throttled upstream behind the gateway.

Each test says how long the client waited, how many calls reached the upstream, and what its program was told.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
import stripe
import urllib3
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry import RateLimitErrorRetryHandler

from tests.clients.stage import KEY, Body, staged

pytestmark = [pytest.mark.anyio, pytest.mark.realtime]


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """No egress proxy of the machine's between a client and the gateway."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


# --- urllib3.Retry, which also waits for requests, botocore and many others ------------------------------------------


def fetch(url: str, retries: urllib3.Retry) -> urllib3.BaseHTTPResponse:
    with urllib3.PoolManager(retries=retries) as pool:
        return pool.request("GET", url, headers={"x-api-key": KEY})


@pytest.mark.parametrize(
    ("dialect", "profile", "body"),
    [
        ("github", "github", "normalised"),  # a 403 with an epoch
        ("linear", "linear", "native"),  # a 400 with epoch milliseconds
        ("shopify", "shopify", "native"),  # "1.0", which urllib3 by itself calls an invalid header
        ("openai", "openai", "normalised"),  # milliseconds and a duration, no Retry-After
        ("iso", "plain", "normalised"),  # a date-time
    ],
)
async def test_urllib3_comes_back_when_the_upstreams_wait_is_over(
    dialect: str, profile: str, body: Body, tmp_path: Path
) -> None:
    async with staged(tmp_path) as stage:
        url = stage.throttling(dialect, profile=profile, body=body)
        answer = await asyncio.to_thread(fetch, url, urllib3.Retry(total=3, backoff_factor=0))
        assert answer.status == 200
        stage.came_back_once(after_s=1)


async def test_urllib3_gives_up_after_as_many_calls_as_it_was_allowed(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        retries = urllib3.Retry(total=1, status_forcelist=[429], backoff_factor=0)
        with pytest.raises(urllib3.exceptions.MaxRetryError, match="too many 429"):
            await asyncio.to_thread(fetch, stage.throttling("slack", times=9), retries)
        stage.came_back_once(after_s=1)


# --- openai-python: reads Retry-After-Ms before Retry-After, and obeys X-Should-Retry ---


def completion(url: str, *, max_retries: int) -> Any:
    with openai.OpenAI(api_key=KEY, base_url=url, max_retries=max_retries) as client:
        return client.chat.completions.create(model="any", messages=[{"role": "user", "content": "hello"}])


@pytest.mark.parametrize("body", ["native", "normalised"])
async def test_openai_comes_back_when_the_upstreams_wait_is_over(body: Body, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        url = stage.throttling("openai", body=body)
        answer = await asyncio.to_thread(completion, url, max_retries=2)
        assert answer.choices[0].message.content == "hello"
        stage.came_back_once(after_s=1)


async def test_openai_raises_its_own_error_with_its_own_fields(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with pytest.raises(openai.RateLimitError) as raised:
            await asyncio.to_thread(completion, stage.throttling("openai"), max_retries=0)
        assert len(stage.calls) == 1
    error = raised.value
    assert (error.code, error.type, error.message[:15]) == ("rate_limit_exceeded", "requests", "Error code: 429")
    assert error.response.headers["retry-after"] == "1"
    assert error.response.headers["x-ratelimit-limit-requests"] == "60"


async def test_openai_without_its_native_body_knows_the_error_and_no_code(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with pytest.raises(openai.RateLimitError) as raised:
            await asyncio.to_thread(completion, stage.throttling("openai", body="normalised"), max_retries=0)
    assert raised.value.code is None
    assert raised.value.response.json()["upstream_body"]["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("body", ["native", "normalised"])
async def test_openai_does_not_come_back_for_a_quota_that_must_be_bought(body: Body, tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        url = stage.throttling("openai-billing", profile="openai", body=body, times=9)
        with pytest.raises(openai.RateLimitError) as raised:
            await asyncio.to_thread(completion, url, max_retries=2)
        assert len(stage.calls) == 1
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert raised.value.code == ("insufficient_quota" if body == "native" else None)


# --- stripe-python: retries a 429 only where Stripe-Should-Retry says so, by a back-off of its own -------------------


def customer(url: str) -> Any:
    with stripe_client(url) as client:
        return client.v1.customers.retrieve("cus_1")


@contextlib.contextmanager
def stripe_client(url: str) -> Iterator[stripe.StripeClient]:
    """A client whose connections end with it."""
    http = stripe.RequestsClient()
    try:
        yield stripe.StripeClient(KEY, base_addresses={"api": url}, max_network_retries=2, http_client=http)
    finally:
        http.close()  # type: ignore[no-untyped-call]


async def test_stripe_comes_back_where_the_upstream_says_that_it_should(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        found = await asyncio.to_thread(customer, stage.throttling("stripe"))
        assert found.id == "cus_1"
        stage.came_back_once(after_s=0.5)  # it reads no Retry-After


async def test_stripe_raises_its_own_error_with_its_own_fields(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with pytest.raises(stripe.RateLimitError) as raised:
            await asyncio.to_thread(customer, stage.throttling("stripe-unsure", profile="stripe"))
        assert len(stage.calls) == 1
    error = raised.value
    assert error.error is not None
    assert error.headers is not None
    assert (error.http_status, error.error.code, error.user_message) == (
        429, "rate_limit", "Too many requests made to the API too quickly",
    )  # fmt: skip
    assert error.headers["stripe-rate-limited-reason"] == "endpoint-rate"
    assert int(error.headers["retry-after"]) >= 1


async def test_stripe_needs_its_native_body(tmp_path: Path) -> None:
    """Where ``error`` is a text its own reading of the error fails; the page tells operators to choose ``native``."""
    async with staged(tmp_path) as stage:
        with pytest.raises(AttributeError):
            await asyncio.to_thread(customer, stage.throttling("stripe-unsure", profile="stripe", body="normalised"))
        assert len(stage.calls) == 1


# --- slack_sdk: its rate-limit handler sleeps for Retry-After and up to a second more ---------------------------------


def auth_test(url: str, *, handled: bool) -> Any:
    client = WebClient(token=KEY, base_url=f"{url}/")
    if handled:
        client.retry_handlers.append(RateLimitErrorRetryHandler(max_retry_count=2))
    return client.auth_test()


async def test_slack_with_its_handler_comes_back_when_the_upstreams_wait_is_over(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        answer = await asyncio.to_thread(auth_test, stage.throttling("slack"), handled=True)
        assert answer["user"] == "someone"
        stage.came_back_once(after_s=1)


async def test_slack_raises_its_own_error_with_its_own_fields(tmp_path: Path) -> None:
    async with staged(tmp_path) as stage:
        with pytest.raises(SlackApiError) as raised:
            await asyncio.to_thread(auth_test, stage.throttling("slack"), handled=False)
        assert len(stage.calls) == 1
    response = raised.value.response
    assert (response.status_code, response["error"]) == (429, "ratelimited")
    assert response.headers["Retry-After"] == "1"
