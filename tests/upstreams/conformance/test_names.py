"""Where a connection goes: names, several addresses, and places no upstream may live at (DESIGN 8)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

from tests.upstreams.conformance.cases import answer
from tests.upstreams.conformance.engines import ENGINES, on_every_engine
from tests.upstreams.conformance.origin import Origin
from tests.upstreams.conformance.stage import ONE, QUICK, Failed, Stage, outcome, request, staged
from tests.upstreams.rig import upstream
from tests.wire.harness import free_port

pytestmark = pytest.mark.anyio

Resolve = Callable[..., None]


@pytest.fixture
def resolve(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Lets every name resolve to the addresses given, or fail with the error given, after ``pause_s``."""

    def set_to(*addresses: str, error: Exception | None = None, pause_s: float = 0.0) -> None:
        async def getaddrinfo(_loop: Any, host: Any, port: Any, **more: Any) -> list[Any]:
            if host in addresses:  # uvloop looks up what it connects to as well
                return socket.getaddrinfo(host, port, **more)
            await asyncio.sleep(pause_s)
            if error is not None:
                raise error
            return [
                (socket.AF_INET6 if ":" in one else socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
                for one in addresses
            ]

        monkeypatch.setattr(type(asyncio.get_running_loop()), "getaddrinfo", getaddrinfo)

    return set_to


async def unreached(stage: Stage) -> tuple[str, str]:
    """A call that fails before a byte is sent; its code and word."""
    began = asyncio.get_running_loop().time()
    result = await outcome(stage.engine, request())
    assert isinstance(result, Failed), result
    assert (result.error.phase, result.error.sent) == ("upstream_connect", False)
    assert asyncio.get_running_loop().time() - began < 2
    return result.error.code, result.error.proxy_error


@on_every_engine
async def test_a_name_that_does_not_resolve(engine: str, resolve: Resolve) -> None:
    """``.invalid`` never does (RFC 6761 6.4); once the name is there, so is the upstream."""
    async with staged(engine, Origin(), host="nowhere.invalid") as stage:
        assert await unreached(stage) == ("upstream-connect", "dns_error")
        resolve("127.0.0.1")


@on_every_engine
async def test_a_resolver_that_is_away_for_a_moment(engine: str, resolve: Resolve) -> None:
    async with staged(engine, Origin(), host="origin.test") as stage:
        resolve(error=socket.gaierror(socket.EAI_AGAIN, "try again"))
        for _ in range(3):
            assert await unreached(stage) == ("upstream-connect", "dns_error")
        resolve("127.0.0.1")


@on_every_engine
async def test_a_resolver_that_hangs_is_a_dns_timeout(engine: str, resolve: Resolve) -> None:
    async with staged(engine, Origin(), host="origin.test") as stage:
        resolve("127.0.0.1", pause_s=5.0)
        code, word = await unreached(stage)
        assert code == "upstream-timeout"
        assert word in {"dns_timeout", "connection_timeout"}
        resolve("127.0.0.1")


@on_every_engine
async def test_a_name_without_an_address(engine: str, resolve: Resolve) -> None:
    async with staged(engine, Origin(), host="origin.test") as stage:
        resolve()
        assert await unreached(stage) == ("upstream-connect", "dns_error")
        resolve("127.0.0.1")


@on_every_engine
async def test_a_name_that_no_resolver_takes(engine: str) -> None:
    """A label of more than 63 octets."""
    async with staged(engine, Origin(), host="x" * 64 + ".test", probed=False) as stage:
        assert await unreached(stage) == ("upstream-connect", "dns_error")


@on_every_engine
async def test_an_address_that_refuses(engine: str) -> None:
    """And serves as soon as somebody listens there."""
    port = free_port()
    transport = ENGINES[engine](upstream(port, timeouts=QUICK, pool=ONE))
    for _ in range(3):
        result = await outcome(transport, request())
        assert isinstance(result, Failed)
        assert (result.error.code, result.error.proxy_error) == ("upstream-connect", "connection_refused")
        assert (result.error.phase, result.error.sent) == ("upstream_connect", False)
    origin = Origin((answer(),))
    async with origin.serving(port=port):
        await Stage(transport, origin).probe()
        await transport.aclose()


@on_every_engine
async def test_the_second_address_serves_when_the_first_refuses(engine: str, resolve: Resolve) -> None:
    async with staged(engine, Origin((answer(),)), host="origin.test") as stage:
        resolve("127.0.0.2", "127.0.0.1")
        assert (await stage.fetch()).body == b"ok"


@on_every_engine
async def test_an_address_of_another_family_that_refuses_is_passed_over(engine: str, resolve: Resolve) -> None:
    async with staged(engine, Origin((answer(),)), host="origin.test") as stage:
        resolve("::1", "127.0.0.1")
        assert (await stage.fetch()).body == b"ok"


@on_every_engine
async def test_a_request_goes_to_one_address_only(engine: str, resolve: Resolve) -> None:
    """The answer counts, not the next address: what was sent is not sent elsewhere."""
    async with staged(engine, Origin((b"garbage\r\n\r\n",)), host="origin.test") as stage:
        resolve("127.0.0.1", "127.0.0.1")
        assert (await stage.failure()).error.code == "upstream-protocol"
        assert len(stage.origin.cases) == 1


@on_every_engine
async def test_every_address_refuses(engine: str, resolve: Resolve) -> None:
    async with staged(engine, Origin(), host="origin.test") as stage:
        resolve("127.0.0.2", "127.0.0.3")
        assert await unreached(stage) == ("upstream-connect", "connection_refused")
        resolve("127.0.0.1")


@on_every_engine
@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "169.254.0.1", "fe80::1", "fd00:ec2::254", "::ffff:169.254.169.254", "2852039166", "224.0.0.1"],
)
async def test_an_address_that_hands_out_credentials_is_refused(engine: str, host: str) -> None:
    async with staged(engine, Origin(), host=host, probed=False) as stage:
        assert await unreached(stage) == ("upstream-connect", "destination_ip_prohibited")


@on_every_engine
async def test_a_name_that_resolves_to_such_an_address_is_refused(engine: str, resolve: Resolve) -> None:
    """Even as one among good ones: whoever owns the name chooses the order."""
    async with staged(engine, Origin(), host="origin.test") as stage:
        for addresses in (("169.254.169.254",), ("127.0.0.1", "169.254.169.254"), ("::ffff:169.254.1.1", "127.0.0.1")):
            resolve(*addresses)
            assert await unreached(stage) == ("upstream-connect", "destination_ip_prohibited")
        resolve("127.0.0.1")


@on_every_engine
@pytest.mark.parametrize("listener", ["127.0.0.1", "0.0.0.0"])
async def test_a_listener_of_our_own_is_refused(engine: str, listener: str) -> None:
    port = free_port()
    origin = Origin((answer(),))
    async with origin.serving(port=port):
        transport = ENGINES[engine](upstream(port, timeouts=QUICK, pool=ONE), listeners=frozenset(((listener, port),)))
        assert await unreached(Stage(transport, origin)) == ("upstream-loop", "proxy_loop_detected")
        assert origin.connections == 0
        await transport.aclose()


@on_every_engine
async def test_a_neighbour_of_our_own_listener_is_not_refused(engine: str) -> None:
    ours = frozenset((("127.0.0.1", 1), ("::", 2)))
    async with staged(engine, Origin((answer(),)), listeners=ours) as stage:
        assert (await stage.fetch()).body == b"ok"


@on_every_engine
async def test_the_name_is_looked_up_again_for_a_new_connection(engine: str, resolve: Resolve) -> None:
    """An upstream that moves is followed; an address is not kept for ever."""
    async with staged(engine, Origin((answer(b"connection: close"),)), host="origin.test") as stage:
        resolve("127.0.0.1")
        await stage.fetch()
        resolve("127.0.0.2")
        assert await unreached(stage) == ("upstream-connect", "connection_refused")
        resolve("127.0.0.1")
