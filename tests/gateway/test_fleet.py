"""A fleet of several workers, driven without a supervisor, which refuses several until they can share a store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway import control
from gateway.fleet import Fleet
from gateway.settings import Settings
from tests.gateway.processes import ROOT
from tests.gateway.toy import toy_command
from tests.waiting import eventually

pytestmark = pytest.mark.anyio
DEADLINE_S = 20.0


@dataclass(frozen=True)
class Running:
    fleet: Fleet
    port: int

    async def pid(self) -> int:
        """Which worker answers a fresh connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /pid HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return int(answer.rpartition(b"\r\n\r\n")[2])


@asynccontextmanager
async def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> AsyncIterator[Running]:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    policies = tmp_path / "policy"
    policies.mkdir()
    (policies / "policy.json").write_text("{}")
    settings = Settings(policies=policies, state_dir=tmp_path, access_log="off")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        fleet = Fleet(count, lambda index: toy_command(settings, listener.fileno(), index), listener.fileno())

        async def attend(channel: control.Channel) -> None:
            hello = await channel.receive()
            assert isinstance(hello, control.Hello)
            await fleet.attend(channel, hello)

        server = await control.listen(settings.control_socket, attend)
        fleet.start()
        try:
            await eventually(lambda: fleet.ready == count)
            yield Running(fleet, listener.getsockname()[1])
        finally:
            await fleet.hurry()
            server.close()


async def test_all_workers_serve_one_socket_and_hear_a_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, 2) as gateway:
        pids = {member.pid for member in gateway.fleet.members}
        seen: set[int] = set()
        async with asyncio.timeout(DEADLINE_S):
            while seen != pids:
                seen |= set(await asyncio.gather(*(gateway.pid() for _ in range(8))))
        answers = await gateway.fleet.refresh()
        assert [index for index, _ in answers] == [1, 2]
        assert all(answer is not None and answer.outcome == "unchanged" for _, answer in answers)
        await eventually(
            lambda: (
                ["gateway_policy_reloads", ["unchanged"], 4] in gateway.fleet.metrics()["counters"]
                or ["gateway_policy_reloads", ["unchanged"], 2] in gateway.fleet.metrics()["counters"]
            )
        )


async def test_the_others_serve_while_one_is_replaced_and_no_count_goes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, monkeypatch, 2) as gateway:
        await gateway.fleet.refresh()

        def reloads() -> int:
            return sum(
                count for name, _, count in gateway.fleet.metrics()["counters"] if name == "gateway_policy_reloads"
            )

        await eventually(lambda: reloads() >= 2)
        before = reloads()
        victim, other = (member.pid for member in gateway.fleet.members)
        assert victim is not None
        os.kill(victim, signal.SIGKILL)
        assert await gateway.pid() == other
        await eventually(lambda: gateway.fleet.members[0].pid != victim and gateway.fleet.ready == 2)
        assert reloads() >= before
        assert not gateway.fleet.gave_up.done()


async def test_a_worker_that_has_stopped_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, 1) as gateway:
        pid = gateway.fleet.members[0].pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            await eventually(lambda: gateway.fleet.ready == 0)
        finally:
            os.kill(pid, signal.SIGCONT)
        await eventually(lambda: gateway.fleet.ready == 1)


async def test_a_stranger_cannot_pass_for_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path, monkeypatch, 1) as gateway:
        stranger = await control.connect(tmp_path / "control.sock")
        await stranger.send(control.Hello(worker=1, pid=os.getpid()))
        answer = await stranger.receive()
        assert isinstance(answer, control.Answer)
        assert answer.error is not None
        assert "no worker" in answer.error
        stranger.close()
        assert gateway.fleet.ready == 1


async def test_a_line_that_is_too_long_or_no_message_does_not_end_the_conversation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        fleet = Fleet(1, lambda index: ("true",), listener.fileno())
        (member,) = fleet.members
        member.process = await asyncio.create_subprocess_exec("sleep", "60")

        async def attend(channel: control.Channel) -> None:
            hello = await channel.receive()
            assert isinstance(hello, control.Hello)
            await fleet.attend(channel, hello)

        server = await control.listen(tmp_path / "c", attend, limit=10_000)
        _, writer = await asyncio.open_unix_connection(str(tmp_path / "c"))
        assert member.pid is not None
        writer.write(control.encode(control.Hello(worker=1, pid=member.pid)))
        writer.write(b"x" * 50_000 + b"\nrubbish\n")
        writer.write(control.encode(control.Report(ready=True, draining=False, in_flight=0, policy="v")))
        await eventually(lambda: member.ready)
        writer.close()
        server.close()
        member.process.kill()
        await member.process.wait()


async def test_a_worker_that_cannot_be_started_is_said_and_given_up_with_the_environments_code() -> None:
    fleet = Fleet(1, lambda index: ["/nonexistent/python"], 0)
    fleet.start()
    async with asyncio.timeout(DEADLINE_S):
        assert await fleet.gave_up == 3
