"""One running program of a benchmark: started on free ports of 127.0.0.1, probed until it answers, always ended.

Ends only what it started, by process id.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from loadtests.measure import tree
from loadtests.peers.peer import Launch

ROOT = Path(__file__).resolve().parent.parent
START_S = 60.0
STOP_S = 15.0


class NotStarted(Exception):
    """A program ended, or did not answer in time; the text carries the end of what it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer as a client received it; names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: str


def free_ports(count: int) -> list[int]:
    """Ports that nobody uses now, all different."""
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


@contextlib.contextmanager
def running(launch: Launch, folder: Path) -> Iterator[int]:
    """Run a program, what it prints going to files of ``folder``; its process id. Ended on the way out."""
    with (folder / "stdout.log").open("wb") as out, (folder / "stderr.log").open("wb") as errors:
        process = subprocess.Popen(
            launch.command,
            cwd=ROOT,
            env={**os.environ, **launch.env},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=errors,
        )
    try:
        yield process.pid
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    below = tree(process.pid)
    process.terminate()
    try:
        process.wait(timeout=STOP_S)
    except subprocess.TimeoutExpired:
        for pid in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait(timeout=STOP_S)


def get(port: int, path: str, key: str) -> Answer:
    """One GET over a connection of its own. Raises ``OSError`` or ``HTTPException``."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"x-api-key": key} if key else {})
        answer = connection.getresponse()
        headers = tuple((name.lower(), value) for name, value in answer.getheaders())
        return Answer(status=answer.status, headers=headers, body=answer.read().decode())
    finally:
        connection.close()


def await_answer(pid: int, port: int, path: str, key: str, status: int, folder: Path) -> Answer:
    """Ask until ``status`` comes back. Raises ``NotStarted``."""
    last = "nothing listened"
    until = time.monotonic() + START_S
    while time.monotonic() < until and _lives(pid):
        try:
            answer = get(port, path, key)
        except (OSError, HTTPException) as error:
            last = f"{type(error).__name__}: {error}"
        else:
            if answer.status == status:
                return answer
            last = f"it answered {answer.status}: {answer.body[:200]}"
        time.sleep(0.05)
    said = [(folder / name).read_text(errors="replace")[-800:].strip() for name in ("stdout.log", "stderr.log")]
    raise NotStarted("; ".join([last, *filter(None, said)]))


def _lives(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"
