"""The closed-loop load generators, each a process of its own: wrk where it is installed, ours where counts matter."""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from loadtests.instance import ROOT, NotStarted
from loadtests.measure import Load, cpu_us
from loadtests.peers.catalogue import program
from loadtests.peers.peer import FOLDER

END_S = 15.0
SPARE_FILES = 64


def drive(port: int, key: str, connections: int, seconds: int) -> Load:
    """Closed-loop load for ``seconds``, by wrk where there is one."""
    wrk = program("wrk")
    if wrk is None:
        return closed_loop(port, key, connections, ("--seconds", str(seconds)))
    url = f"http://127.0.0.1:{port}/bench"
    script = ("-s", str(FOLDER / "wrk.lua"), "-H", f"x-api-key: {key}")
    return _load((wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", *script, url), seconds)


def closed_loop(port: int, key: str, connections: int, until: Sequence[str]) -> Load:
    return _load((*_ours(port, connections), "--key", key, *until), 60)


@contextlib.contextmanager
def connected(port: int, connections: int, who: Sequence[str], until: Sequence[str]) -> Iterator[Callable[[], Load]]:
    """Our client with all of its connections made; what it gives drives them once. They end with the context.

    So the cost of making and ending connections can be left out. ``who`` and ``until`` are arguments of
    ``loadtests.closed_loop``. Raises ``NotStarted``.
    """
    command = (*_ours(port, connections), "--hold", *who, *until)
    client = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert client.stdin is not None
    assert client.stdout is not None
    told, said = client.stdin, client.stdout

    def run() -> Load:
        before = cpu_us(client.pid)
        told.write("go\n")
        told.flush()
        line = said.readline()
        if not line:
            raise NotStarted("the load generator ended before its load did")
        return _read(json.loads(line), cpu_us(client.pid) - before)

    try:
        if said.readline() != "connected\n":
            raise NotStarted(f"{connections} connections to port {port} could not be made")
        yield run
    finally:
        told.close()
        try:
            client.wait(timeout=END_S)
        except subprocess.TimeoutExpired:
            client.kill()
            client.wait()
        said.close()


def raise_file_limit(wanted: int) -> int:
    """Allow ``wanted`` open files and a few more; how many connections may be made."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + SPARE_FILES:
        soft = wanted + SPARE_FILES if hard == resource.RLIM_INFINITY else min(hard, wanted + SPARE_FILES)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft - SPARE_FILES)


def _ours(port: int, connections: int) -> tuple[str, ...]:
    return (sys.executable, "-m", "loadtests.closed_loop", "--port", str(port), "--connections", str(connections))


def _load(command: Sequence[str], seconds: int) -> Load:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, check=True)
    return _read(json.loads(done.stdout.strip().splitlines()[-1]))


def _read(found: dict[str, Any], generator_us: int = 0) -> Load:
    return Load(**{name: found[name] for name in Load.__slots__ if name in found}, generator_us=generator_us)
