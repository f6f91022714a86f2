"""The reader of answers is as strict as a strict parser, and finds each thing that may be untrue in a refusal."""

from __future__ import annotations

import json

import http_sf
import pytest

from loadtests.arrivals.answers import Malformed, complaints, parse, structured, violated
from loadtests.arrivals.limits import BucketLimit, Limit, SlotLimit, WindowLimit

LIMITS: tuple[Limit, ...] = (
    WindowLimit(name="short", amount=20, period_us=2_000_000),
    BucketLimit(name="steady", amount=15, period_us=1_000_000, burst=30),
    SlotLimit(name="parallel", amount=4),
)
POLICY = '"short";q=20;w=2, "steady";q=30;w=2, "parallel";q=4;qu="concurrent-requests"'
ADMITTED = f"""HTTP/1.1 200 OK
ratelimit-policy: {POLICY}
ratelimit: "short";r=19;t=2, "steady";r=29;t=1, "parallel";r=3"""
REFUSED = f"""HTTP/1.1 429 Too Many Requests
retry-after: 2
retry-after-ms: 1500
ratelimit-policy: {POLICY}
ratelimit: "short";r=0;t=2, "steady";r=9;t=1, "parallel";r=4
ratelimit-limit: 20
ratelimit-remaining: 0
ratelimit-reset: 2
proxy-status: tiergate; error=http_request_error
cache-control: no-store
content-type: application/json
x-request-id: 01a2"""
BODY = {
    "error": "rate_limited", "source": "tenant", "provider": None, "retry_after_seconds": 2, "estimated": False,
    "type": "https://iana.org/assignments/http-problem-types#quota-exceeded", "title": "A title", "status": 429,
    "violated-policies": ["short"], "request_id": "01a2",
}  # fmt: skip


def found(head: str, body: object = None) -> list[str]:
    return complaints(parse(head.replace("\n", "\r\n").encode(), json.dumps(body or BODY).encode()), LIMITS)


def test_true_answers_are_not_complained_about() -> None:
    assert found(ADMITTED) == []
    assert found(REFUSED) == []


@pytest.mark.parametrize(("old", "new"), [
    ("\nretry-after: 2", ""),
    ("retry-after: 2", "retry-after: 0"),
    ("retry-after: 2", "retry-after: 2.0"),
    ("retry-after: 2", "retry-after: 2\nretry-after: 2"),
    ("retry-after: 2", "retry-after: 1"),  # before t of the violated policy
    ("retry-after-ms: 1500", "retry-after-ms: 900"),
    ("\nretry-after-ms: 1500", ""),
    ("Too Many Requests", "Slow Down"),
    ('"short";r=0;t=2', '"short";r=1;t=2'),
    ('"short";r=0;t=2', '"short";r=-1;t=2'),
    ('"short";r=0;t=2', '"short";r=0;t=3'),  # later than the window is long
    ('"short";r=0;t=2', '"short";r=0;t=0'),
    ('"short";r=0;t=2', '"short";r=0'),
    ('"short";r=0;t=2', 'short;r=0;t=2'),
    ('"short";r=0;t=2, ', ''),
    ('"parallel";r=4', '"parallel";r=4;t=1'),
    ('"parallel";r=4', '"parallel";r=5'),
    ("q=20", "q=21"),
    ("ratelimit-remaining: 0", "ratelimit-remaining: 1"),
    ("ratelimit-reset: 2", "ratelimit-reset: 3"),
    ("\nratelimit-limit: 20", "\nratelimit-limit: 20\nratelimit-limit: 20"),
    ("\nproxy-status: tiergate; error=http_request_error", ""),
    ("no-store", "no-cache"),
    ("application/json", "text/html"),
    ("x-request-id: 01a2", "x-request-id: 01a3"),
])  # fmt: skip
def test_each_untruth_in_a_refusals_head_is_found(old: str, new: str) -> None:
    assert old in REFUSED
    assert found(REFUSED.replace(old, new, 1))


@pytest.mark.parametrize("change", [
    {"error": "slow"}, {"source": "concurrency"}, {"source": None}, {"provider": "x"}, {"retry_after_seconds": 3},
    {"retry_after_seconds": 2.0}, {"estimated": True}, {"estimated": 0}, {"type": "about:blank"}, {"title": ""},
    {"status": 503}, {"violated-policies": []}, {"violated-policies": ["other"]}, {"violated-policies": ["steady"]},
    {"request_id": "x"},
])  # fmt: skip
def test_each_untruth_in_a_refusals_body_is_found(change: dict[str, object]) -> None:
    assert found(REFUSED, {**BODY, **change})


@pytest.mark.parametrize("missing", list(BODY))
def test_each_member_that_is_missing_from_a_refusals_body_is_found(missing: str) -> None:
    assert found(REFUSED, {name: value for name, value in BODY.items() if name != missing})


def test_a_refusal_by_running_calls_has_no_triple_and_is_an_estimate() -> None:
    head = REFUSED.replace('"short";r=0;t=2', '"short";r=5;t=2').replace('"parallel";r=4', '"parallel";r=0')
    body = {**BODY, "source": "concurrency", "estimated": True, "violated-policies": ["parallel"]}
    bare = "\n".join(line for line in head.split("\n") if not line.startswith("ratelimit-") or "policy" in line)
    assert found(bare, body) == []
    assert found(head, body)


def test_an_admitted_answer_may_not_carry_retry_after() -> None:
    assert found(ADMITTED + "\nretry-after: 1")
    assert found(ADMITTED.replace("ratelimit-policy", "x-policy"))


@pytest.mark.parametrize("text", [
    '"a";r=1', '"a";r=1;t=2, "b";r=0', '"a";q=4;qu="concurrent-requests"', 'a;r=1', '"a";r=1;r', '"a";r=1.5',
    '"a";r=-1', '"a;r=1', '"a";R=1', '"a";r=1,', '"a";r="x', '', '"a";r=1 "b";r=2',
])  # fmt: skip
def test_what_is_read_is_what_a_strict_parser_reads_and_nothing_stranger(text: str) -> None:
    try:
        own = structured(text)
    except Malformed:
        return
    assert own == dict(http_sf.parse(text.encode(), tltype="list"))


@pytest.mark.parametrize(
    "text", ["", "a;r=1", '"a";r=1.5', '"a";r=-1', '"a";r=1,', '"a";r=1, "a";r=2', '"a";r=1 "b";r=2']
)
def test_what_the_gateway_may_never_emit_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        structured(text)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b'{"violated-policies": 3}', b"\xff"])
def test_the_limits_of_an_unreadable_refusal_are_none(body: bytes) -> None:
    assert violated(parse(b"HTTP/1.1 429 Too Many Requests", body)) == []
