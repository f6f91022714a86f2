"""Path confusion over raw sockets through the whole gateway, on both servers: what reaches the origin, or a 400."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.mock_upstream import MockUpstream
from tests.gateway.assembly import gateway
from tests.wire.harness import SERVERS, ServerName, raw_exchange, status_of

pytestmark = pytest.mark.anyio
both = pytest.mark.parametrize("server", SERVERS)

FIELDS = b"Host: a.example\r\n"
POLICIES = Path("tests/wire/policies")


class Origin:
    """What the origin behind the gateway was asked for, without queries."""

    def __init__(self, mock: MockUpstream) -> None:
        self._mock = mock

    @property
    def forwarded(self) -> list[bytes]:
        return [request.target.encode("latin-1").partition(b"?")[0] for request in self._mock.requests]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Of the last request."""
        return [(name.lower(), value) for name, value in self._mock.requests[-1].headers]

    def clear(self) -> None:
        self._mock.requests.clear()


@contextlib.asynccontextmanager
async def checked(server: ServerName) -> AsyncIterator[tuple[Origin, int]]:
    with tempfile.TemporaryDirectory() as state:
        async with gateway(Path(state), policies=POLICIES, server=server) as gate:
            yield Origin(gate.origin), gate.port


def message(target: bytes, *, method: bytes = b"GET", fields: bytes = FIELDS, version: bytes = b"HTTP/1.1") -> bytes:
    return b"%b %b %b\r\n%bConnection: close\r\n\r\n" % (method, target, version, fields)


FORWARDED = [
    (b"/a/b", b"/a/b"),
    (b"/a/", b"/a/"),
    (b"/%61dmin", b"/admin"),
    (b"/a%7eb", b"/a~b"),
    (b"/%c3%a9", b"/%C3%A9"),
    (b"/a%20b", b"/a%20b"),
    (b"/a%3fb", b"/a%3Fb"),
    (b"/a%23b", b"/a%23b"),
    (b"/a%3bb", b"/a%3Bb"),
    (b"/a;v=1/b", b"/a;v=1/b"),
    (b"/a+b%2b", b"/a+b%2B"),
    (b"/100%25", b"/100%25"),
    (b"/...", b"/..."),
    (b"/a?b=../c", b"/a"),
    (b"/a?b#c", b"/a"),
    (b"http://other.example/a/b", b"/a/b"),
    (b"http://other.example/", b"/"),
    (b"HTTP://other.example:8080/%61?x", b"/a"),
]

REFUSED = [
    b"/a%2fb", b"/a%2Fb", b"/a%5cb", b"/a%5Cb", b"/a\\b", b"/a\\..\\b",
    b"/..", b"/../a", b"/a/..", b"/a/../b", b"/./a", b"/a/.", b"/%2e%2e/a", b"/.%2E/a", b"/%2e/a", b"/a/%2e%2e",
    b"/..;/a", b"/..;x=1/a", b"/a/..%3b/b", b"/.;/a", b"/;/a",
    b"//a", b"/a//b", b"/a//", b"//", b"http://other.example//a", b"http://other.example/../a",
    b"/%252e%252e/a", b"/a%252fb", b"/%25%32%66", b"/%2525",
    b"/%", b"/%zz", b"/%u002e%u002e/a", b"/%1",
    b"/a%00", b"/a%0d%0ax:y", b"/a%0a", b"/a%7f", b"/a%c2%85b",
    b"/%c0%af", b"/%c0%ae%c0%ae/a", b"/%e0%80%ae/a", b"/%ff", b"/%c3", b"/%ed%a0%80",
    b"*", b"a.example:443", b"a/b",
    b"/a\x00b", b"/a\x01b", b"/a\xffb", b"/a\tb",
    b"/" + b"a" * 9000,
]  # fmt: skip


@both
async def test_what_was_matched_is_what_is_forwarded(server: ServerName) -> None:
    async with checked(server) as (app, port):
        for target, forwarded in FORWARDED:
            app.clear()
            assert status_of(await raw_exchange(port, message(target))) == 200, target
            assert app.forwarded == [forwarded], target


@both
async def test_an_ambiguous_target_is_400_and_nothing_is_forwarded(server: ServerName) -> None:
    async with checked(server) as (app, port):
        for target in REFUSED:
            assert status_of(await raw_exchange(port, message(target))) == 400, target
            assert app.forwarded == [], target
        assert status_of(await raw_exchange(port, message(b"/after"))) == 200


@both
@pytest.mark.parametrize("target", [b"/a b", "/é".encode(), b'/{a}|"<>^`'])
async def test_a_target_the_servers_read_differently_is_never_forwarded_raw(server: ServerName, target: bytes) -> None:
    """One server refuses these, the other lets them pass: then they go on escaped."""
    async with checked(server) as (app, port):
        assert status_of(await raw_exchange(port, message(target))) in (200, 400)
        assert all(forwarded.isascii() and b"%" in forwarded for forwarded in app.forwarded)


HOSTS = [
    ("none", b"", b"HTTP/1.1", 400),
    ("empty", b"Host:\r\n", b"HTTP/1.1", 400),
    ("two", b"Host: a\r\nHost: b\r\n", b"HTTP/1.1", 400),
    ("twice the same", b"Host: a\r\nHost: a\r\n", b"HTTP/1.1", 400),
    ("with a path", b"Host: a/b\r\n", b"HTTP/1.1", 400),
    ("with a user", b"Host: u@a\r\n", b"HTTP/1.1", 400),
    ("with a space", b"Host: a b\r\n", b"HTTP/1.1", 400),
    ("a list", b"Host: a, b\r\n", b"HTTP/1.1", 400),
    ("two on HTTP/1.0", b"Host: a\r\nHost: b\r\n", b"HTTP/1.0", 400),
    ("none on HTTP/1.0", b"", b"HTTP/1.0", 200),
    ("with a port", b"Host: a:80\r\n", b"HTTP/1.1", 200),
    ("IPv6", b"Host: [::1]:80\r\n", b"HTTP/1.1", 200),
]


@both
@pytest.mark.parametrize(("case", "fields", "version", "status"), HOSTS)
async def test_exactly_one_host(server: ServerName, case: str, fields: bytes, version: bytes, status: int) -> None:
    async with checked(server) as (app, port):
        assert status_of(await raw_exchange(port, message(b"/a", fields=fields, version=version))) == status
        assert app.forwarded == [b"/a"] * (status == 200)


@both
@pytest.mark.parametrize(
    "fields",
    [
        b"x: a\x00b\r\n",
        b"x: a\rb\r\n",
        b"x : a\r\n",
        b"content-length: 5\r\ncontent-length: 6\r\n",
        b"content-length: +5\r\n",
        b"transfer-encoding: gzip, chunked\r\n",
    ],
)
async def test_a_head_that_two_servers_may_read_differently_is_400(server: ServerName, fields: bytes) -> None:
    async with checked(server) as (app, port):
        sent = message(b"/a", method=b"POST", fields=FIELDS + fields) + b"0\r\n\r\n"
        assert status_of(await raw_exchange(port, sent)) == 400
        assert app.forwarded == []


@both
@pytest.mark.parametrize("target", [b"/a#frag", b"ftp://other.example/a"])
async def test_what_is_no_target_is_cut_to_the_path_or_refused(server: ServerName, target: bytes) -> None:
    """granian gives the application the path alone, h11 the target as it came, which is then our 400."""
    async with checked(server) as (app, port):
        assert status_of(await raw_exchange(port, message(target))) == (200 if server == "granian" else 400)
        assert app.forwarded == ([b"/a"] if server == "granian" else [])


@both
@pytest.mark.parametrize(
    ("field", "repaired"),
    [(b"x: a\r\n b\r\n", ("x", "a b")), (b"content-length: 5, 5\r\n", ("content-length", "5"))],
    ids=["obs-fold", "equal lengths"],
)
async def test_what_may_be_repaired_is_refused_or_forwarded_repaired(
    server: ServerName, field: bytes, repaired: tuple[str, str]
) -> None:
    """RFC 9112 5.2 and RFC 9110 8.6 leave the choice: granian refuses, h11 makes one reading of it."""
    async with checked(server) as (app, port):
        sent = message(b"/a", method=b"POST", fields=FIELDS + field) + b"0\r\n\r\n"
        assert status_of(await raw_exchange(port, sent)) == (400 if server == "granian" else 200)
        if server == "uvicorn":
            ((name, value),) = [pair for pair in app.fields if pair[0] == repaired[0]]
            assert (name, value) == repaired


@both
async def test_a_smuggled_second_request_is_never_seen(server: ServerName) -> None:
    """Content-Length beside Transfer-Encoding: at most one request is forwarded, whatever the server makes of it."""
    inner = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    head = (
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    async with checked(server) as (app, port):
        await raw_exchange(port, head % (5 + len(inner)) + b"0\r\n\r\n" + inner)
        assert b"/smuggled" not in app.forwarded


@both
async def test_a_header_of_64_kilobytes_does_not_hurt_the_next_request(server: ServerName) -> None:
    async with checked(server) as (_, port):
        large = await raw_exchange(port, message(b"/a", fields=FIELDS + b"x: " + b"a" * 65_536 + b"\r\n"))
        assert status_of(large) in (200, 400, 431)
        assert status_of(await raw_exchange(port, message(b"/a"))) == 200


@both
async def test_an_unknown_method_is_answered(server: ServerName) -> None:
    async with checked(server) as (_, port):
        assert status_of(await raw_exchange(port, message(b"/a", method=b"BREW"))) in (200, 400)


def test_there_are_at_least_thirty_cases_of_path_confusion() -> None:
    assert len(set(REFUSED)) + len({target for target, _ in FORWARDED}) >= 60
