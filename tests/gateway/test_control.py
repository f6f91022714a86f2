from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway import control
from gateway.control import (
    Answer,
    Ask,
    Channel,
    ControlError,
    Described,
    Drain,
    Hello,
    Record,
    Refresh,
    Refreshed,
    Report,
)

pytestmark = pytest.mark.anyio


MESSAGES = [
    Hello(worker=1, pid=42),
    Report(
        ready=True, draining=False, in_flight=3, policy="v", complaints=["x"], metrics={"a": []}, last_used={"k": 1}
    ),
    Described(version="v", description={"a": 1}, drain_delay_us=0, drain_timeout_us=1),
    Drain(delay_us=0, timeout_us=5),
    Refresh(id=7, reopen=True),
    Refreshed(id=7, outcome="accepted", version="v", findings=["f"]),
    Ask(what="status"),
    Record(acts=[{"kind": "note", "content": {"text": "x"}}], actor="on-call"),
    Answer(result={"a": 1}),
    Answer(error="no", declined=True),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_message_survives_the_line(message: control.Message) -> None:
    line = control.encode(message)
    assert line.count(b"\n") == 1
    assert control.decode(line) == message


def test_every_kind_of_message_is_tried() -> None:
    assert {type(message) for message in MESSAGES} == set(control.KINDS.values())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"\n", "not JSON"),
        (b"{\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[1]\n", "not a JSON object"),
        (b"{}\n", "unknown kind"),
        (b'{"kind": "shutdown"}\n', "unknown kind"),
        (b'{"kind": ["ask"]}\n', "unknown kind"),
        (b'{"kind": "ask"}\n', "what"),
        (b'{"kind": "ask", "what": "rm"}\n', "ask.what has the wrong type"),
        (b'{"kind": "ask", "what": "status", "extra": 1}\n', "extra"),
        (b'{"kind": "hello", "worker": true, "pid": 1}\n', "hello.worker has the wrong type"),
        (b'{"kind": "drain", "delay_us": "0", "timeout_us": 1}\n', "drain.delay_us has the wrong type"),
        (b'{"kind": "answer", "error": 3}\n', "answer.error has the wrong type"),
    ],
)
def test_what_is_no_message_is_an_error_that_says_why(line: bytes, said: str) -> None:
    with pytest.raises(ControlError, match=said.replace(".", r"\.")):
        control.decode(line)


@asynccontextmanager
async def served(path: Path, **bounds: int) -> AsyncIterator[None]:
    """A socket that answers each ``Ask`` with what was asked."""

    async def handle(channel: Channel) -> None:
        while (message := await channel.receive()) is not None:
            assert isinstance(message, Ask)
            await channel.send(Answer(result={"asked": message.what}))

    server = await control.listen(path, handle, **bounds)
    try:
        yield
    finally:
        server.close()


async def said(path: Path, line: bytes) -> Any:
    """What a raw ``line`` is answered with."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line)
    answer = await asyncio.wait_for(reader.readline(), 10)
    writer.close()
    return json.loads(answer)


async def test_a_command_gets_its_answer(tmp_path: Path) -> None:
    async with served(tmp_path / "c"):
        assert await asyncio.to_thread(control.request, tmp_path / "c", "keys") == {"asked": "keys"}


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    async with served(tmp_path / "c"):
        assert stat.S_IMODE(os.stat(tmp_path / "c").st_mode) == 0o600


async def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "c"))
    async with served(tmp_path / "c"):
        assert await asyncio.to_thread(control.request, tmp_path / "c", "status") == {"asked": "status"}


async def test_rubbish_is_answered_and_the_next_caller_served(tmp_path: Path) -> None:
    async with served(tmp_path / "c"):
        assert "not JSON" in (await said(tmp_path / "c", b"GET / HTTP/1.1\r\n\n"))["error"]
        assert (await said(tmp_path / "c", control.encode(Ask(what="status"))))["error"] is None


async def test_a_line_without_end_is_refused(tmp_path: Path) -> None:
    async with served(tmp_path / "c", limit=1_000):
        assert "longer than" in (await said(tmp_path / "c", b"x" * 5_000))["error"]


async def test_half_a_message_is_the_end_of_the_conversation(tmp_path: Path) -> None:
    async with served(tmp_path / "c"):
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "c"))
        writer.write(b'{"kind": "ask", "wh')
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


def test_nobody_there_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="TIERGATE_STATE_DIR"):
        control.request(tmp_path / "c", "status")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "c"))
    with pytest.raises(ControlError, match="no gateway runs"):
        control.request(tmp_path / "c", "status")


async def test_what_the_gateway_declines_is_told_from_what_it_cannot_do(tmp_path: Path) -> None:
    """And both from what it never heard of, and from what nobody knows the end of."""
    answers = iter([Answer(error="it is published", declined=True), Answer(error="the disk is full")])

    async def handle(channel: Channel) -> None:
        await channel.receive()
        await channel.send(next(answers))

    server = await control.listen(tmp_path / "c", handle)
    asked = Record(acts=[], actor="on-call")
    with pytest.raises(control.Declined, match="it is published"):
        await asyncio.to_thread(control.converse, tmp_path / "c", asked)
    with pytest.raises(ControlError, match="the disk is full") as full:
        await asyncio.to_thread(control.converse, tmp_path / "c", asked)
    assert type(full.value) is ControlError
    server.close()
    await server.wait_closed()
    with pytest.raises(control.NobodyThere):
        await asyncio.to_thread(control.converse, tmp_path / "c", asked)


def test_a_gateway_that_does_not_answer_is_given_up_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "c"))
        silent.listen()
        with pytest.raises(control.Unanswered, match="did not answer within"):
            control.request(tmp_path / "c", "status", timeout_s=0.1)


def test_a_gateway_that_hangs_up_is_an_error_and_not_an_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as rude:
        rude.bind(str(tmp_path / "c"))
        rude.listen()
        hanging_up = threading.Thread(target=lambda: rude.accept()[0].close())
        hanging_up.start()
        with pytest.raises(control.Unanswered):
            control.request(tmp_path / "c", "status", timeout_s=5)
        hanging_up.join()


def test_a_path_that_no_socket_can_have_is_explained(tmp_path: Path) -> None:
    with pytest.raises(ControlError, match="at most 107"):
        control.check_path(Path("/" + "x" * 107))
    control.check_path(Path("/" + "x" * 106))


def test_what_is_not_a_socket_in_its_place_is_explained(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    with pytest.raises(ControlError, match="is a directory"):
        control.check_path(tmp_path / "c")


async def test_a_message_that_is_too_long_is_not_sent_and_an_answer_says_so(tmp_path: Path) -> None:
    huge = {"a": "x" * control.MAX_LINE}

    async def handle(channel: Channel) -> None:
        await channel.receive()
        await channel.send(Described(version="v", description=huge, drain_delay_us=0, drain_timeout_us=0))
        await channel.send(Answer(result=huge))

    server = await control.listen(tmp_path / "c", handle)
    with pytest.raises(ControlError, match="longer than"):
        await asyncio.to_thread(control.request, tmp_path / "c", "status")
    server.close()
