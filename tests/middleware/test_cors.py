"""Cross-origin answers: who may read them, which fields, and that the policy speaks instead of the upstream."""

from __future__ import annotations

import anyio
import pytest

from middleware.cors import EXPOSED, CrossOrigin, preflight
from policies.exchange import SCOPE_KEY
from policies.model import Cors, PolicySet, Route
from policies.snapshot import Snapshot
from tests.middleware.harness import Inner, Pair, Recorded, http_scope, run, scripted

pytestmark = pytest.mark.anyio

APP = b"https://app.example.com"
ORIGIN: Pair = (b"origin", APP)


def route(*origins: str, methods: frozenset[str] | None = frozenset({"GET", "POST"})) -> Route:
    cors = Cors(origins=origins) if origins else None
    return Route(name="r", path="/r", methods=methods, upstream="u", group="r", cors=cors)


class Policy:
    """A ``PolicySource`` of one route."""

    def __init__(self, of: Route | None) -> None:
        self.current = Snapshot(PolicySet(version="v", routes={of.name: of} if of is not None else {}))


SOMEWHERE = Policy(Route(name="s", path="/s", methods=None, upstream="u", group="g", cors=Cors(origins=("*",))))


async def answered(inner: Inner, of: Route | None, *headers: Pair) -> Recorded:
    scope = http_scope("/r", headers=headers)
    exchange = scope[SCOPE_KEY]
    source = Policy(of)
    if of is not None:
        exchange.snapshot = source.current
        exchange.route_name = of.name
    return await run(CrossOrigin(inner, source=source), scope)


@pytest.mark.parametrize("status", [200, 401, 429, 502])
async def test_script_of_an_allowed_origin_may_read_every_answer_and_its_limits(status: int) -> None:
    answer = await answered(Inner(status=status), route("https://app.example.com"), ORIGIN)
    assert answer.values(b"access-control-allow-origin") == [APP]
    assert answer.values(b"vary") == [b"origin"]
    exposed = answer.values(b"access-control-expose-headers")[0].split(b", ")
    assert {b"ratelimit", b"ratelimit-policy", b"retry-after", b"proxy-status", b"x-request-id"} <= set(exposed)
    assert answer.values(b"access-control-allow-credentials") == []


@pytest.mark.parametrize(
    "headers",
    [
        (),
        ((b"origin", b"https://evil.example"),),
        ((b"origin", b"https://APP.example.com"),),  # an origin is compared octet by octet
        ((b"origin", b"https://app.example.com.evil.example"),),
        ((b"origin", b"null"),),
        (ORIGIN, (b"origin", b"https://evil.example")),
    ],
)
async def test_foreign_origin_gets_no_grant_but_caches_are_told(headers: tuple[Pair, ...]) -> None:
    answer = await answered(Inner(), route("https://app.example.com"), *headers)
    assert answer.values(b"access-control-allow-origin") == []
    assert answer.values(b"vary") == [b"origin"]


async def test_any_origin_needs_no_vary() -> None:
    answer = await answered(Inner(), route("*"), ORIGIN)
    assert answer.values(b"access-control-allow-origin") == [b"*"]
    assert answer.values(b"vary") == []


async def test_grant_of_the_upstream_is_replaced_and_its_exposed_fields_are_kept() -> None:
    inner = Inner(
        headers=(
            (b"access-control-allow-origin", b"*"),
            (b"access-control-allow-credentials", b"true"),
            (b"access-control-expose-headers", b"x-total"),
            (b"vary", b"accept, Origin"),
        )
    )
    answer = await answered(inner, route("https://app.example.com"), ORIGIN)
    assert answer.values(b"access-control-allow-origin") == [APP]
    assert answer.values(b"access-control-allow-credentials") == []
    assert answer.values(b"access-control-expose-headers")[0].startswith(b"x-total, ")
    assert answer.values(b"vary") == [b"accept, Origin"]
    foreign = await answered(inner, route("https://app.example.com"), (b"origin", b"https://evil.example"))
    assert foreign.values(b"access-control-allow-origin") == []


@pytest.mark.parametrize("of", [None, route()])
async def test_route_without_cors_is_left_alone(of: Route | None) -> None:
    inner = Inner(headers=((b"access-control-allow-origin", b"*"),))
    assert (await answered(inner, of, ORIGIN)).headers == [(b"access-control-allow-origin", b"*")]


def test_preflight_grants_the_methods_of_the_route_and_the_fields_asked_for() -> None:
    asked = [ORIGIN, (b"access-control-request-method", b"POST"), (b"access-control-request-headers", b"x-api-key,x-a")]
    answer = dict(preflight(route("*"), asked) or [])
    assert answer[b"access-control-allow-methods"] == b"GET, POST"
    assert answer[b"access-control-allow-headers"] == b"x-api-key,x-a"
    assert answer[b"access-control-max-age"] == b"600"
    any_method = dict(preflight(route("*", methods=None), asked) or [])
    assert any_method[b"access-control-allow-methods"] == b"POST"


@pytest.mark.parametrize(
    "headers",
    [
        [(b"access-control-request-method", b"GET")],
        [ORIGIN],
        [ORIGIN, (b"access-control-request-method", b"G ET")],
        [(b"origin", b"https://evil.example"), (b"access-control-request-method", b"GET")],
    ],
)
def test_what_is_no_preflight_of_an_allowed_origin_gets_nothing(headers: list[Pair]) -> None:
    assert preflight(route("https://app.example.com"), headers) is None


def test_preflight_does_not_repeat_what_is_no_list_of_names() -> None:
    asked = [ORIGIN, (b"access-control-request-method", b"GET"), (b"access-control-request-headers", b"a\x01b: c")]
    assert b"access-control-allow-headers" not in dict(preflight(route("*"), asked) or [])


async def test_foreign_scope_passes_through() -> None:
    inner = Inner()
    await CrossOrigin(inner, source=SOMEWHERE)({"type": "lifespan"}, scripted(), Recorded().send)
    assert inner.scopes == [{"type": "lifespan"}]


async def test_exception_before_and_after_the_head_passes_through() -> None:
    async def before(scope: object, receive: object, send: object) -> None:
        raise LookupError

    async def after(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise LookupError

    for app in (before, after):
        with pytest.raises(LookupError):
            await run(CrossOrigin(app, source=SOMEWHERE), http_scope())


async def test_cancelled_call_ends() -> None:
    async def endless(scope: object, receive: object, send: object) -> None:
        await anyio.sleep_forever()

    with anyio.move_on_after(0) as cancelled:
        await run(CrossOrigin(endless, source=SOMEWHERE), http_scope())
    assert cancelled.cancelled_caught


def test_every_field_of_the_contract_is_exposed() -> None:
    assert len(EXPOSED) == len(set(EXPOSED)) == 10
