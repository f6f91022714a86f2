from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from gateway.admin import create_admin, host_name
from gateway.metrics import Metrics
from policies.model import Address

LOOPBACK = Address(host="127.0.0.1", port=9900)
TOKEN = "let-me-in"
DIGEST = hashlib.sha256(TOKEN.encode()).digest()


class Shown:
    """A gateway as the listener sees it."""

    def __init__(self, *reasons: str) -> None:
        self.reasons = reasons

    def readiness(self) -> tuple[str, ...]:
        return self.reasons

    def metrics(self) -> dict[str, Any]:
        return Metrics().snapshot()

    def policy(self) -> dict[str, Any]:
        return {"version": "v1", "workers": []}


def client(*reasons: str, listen: Address = LOOPBACK, token_digest: bytes | None = None) -> TestClient:
    return TestClient(create_admin(Shown(*reasons), listen, token_digest), base_url="http://127.0.0.1:9900")


def test_health_says_that_the_loop_is_alive_whatever_the_readiness() -> None:
    assert client("draining").get("/healthz").json() == {"status": "ok"}


def test_ready() -> None:
    answer = client().get("/readyz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "reasons": []})


def test_not_ready_says_why() -> None:
    answer = client("draining", "no worker is ready").get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["draining", "no worker is ready"]


def test_metrics_are_prometheus_text() -> None:
    answer = client().get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert "http_server_active_requests 0.0" in answer.text


def test_the_policy_and_the_index() -> None:
    assert json.loads(client().get("/policy").text)["version"] == "v1"
    assert "/readyz" in client().get("/").text


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/policy"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_it_is_read_only(path: str, method: str) -> None:
    answer = client().request(method, path)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_head_gets_the_head_alone() -> None:
    answer = client().head("/metrics")
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/policy", "/unknown"])
@pytest.mark.parametrize(
    "host",
    [
        "evil.example",  # a page whose own name was rebound to 127.0.0.1
        "evil.example:9900",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.1@evil.example",
        "127.0.0.1:9900@evil.example",
        "[::1].evil.example",
        "10.0.0.1",  # an address, but not of this listener
        "",
        "[::1",
    ],
)
def test_a_page_that_rebinds_its_name_reads_nothing(path: str, host: str) -> None:
    answer = client().get(path, headers={"host": host})
    assert answer.status_code == 421
    assert "v1" not in answer.text


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:9900", "localhost:9900", "LOCALHOST", "[::1]:9900", "[::1]"])
def test_loopback_by_any_name_may_read(host: str) -> None:
    assert client().get("/readyz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    ("listen", "host", "status"),
    [
        ("0.0.0.0", "10.1.2.3:9900", 200),  # a kubelet's probe names the pod's address
        ("::", "[fd00::1]:9900", 200),
        ("0.0.0.0", "evil.example", 421),
        ("admin.internal", "admin.internal:9900", 200),
        ("admin.internal", "Admin.Internal", 200),
        ("admin.internal", "10.1.2.3", 421),
    ],
)
def test_another_address_answers_to_its_own_name(listen: str, host: str, status: int) -> None:
    answer = client(listen=Address(host=listen, port=9900)).get("/readyz", headers={"host": host})
    assert answer.status_code == status


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("a:1", "a"),
        ("A", "a"),
        ("[::1]:1", "::1"),
        ("a:", ""),
        ("a:b", ""),
        ("[::1]x", ""),
        ("[::1", ""),
        ("a:1:2", ""),
    ],
)
def test_the_host_field_is_read_strictly(field: str, name: str) -> None:
    assert host_name(field) == name


@pytest.mark.parametrize("field", [None, "Bearer wrong", "Basic " + TOKEN, TOKEN, "Bearer ", "Bearer"])
def test_a_configured_token_is_required(field: str | None) -> None:
    headers = {"authorization": field} if field is not None else {}
    for path in ("/", "/metrics", "/policy"):
        answer = client(token_digest=DIGEST).get(path, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == "Bearer"


def test_the_token_opens_it_and_probes_need_none() -> None:
    guarded = client(token_digest=DIGEST)
    assert guarded.get("/policy", headers={"authorization": f"bearer {TOKEN}"}).status_code == 200
    assert guarded.get("/readyz").status_code == 200
    assert guarded.get("/healthz").status_code == 200


def test_nothing_is_cached_or_sniffed() -> None:
    headers = client().get("/policy").headers
    assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
