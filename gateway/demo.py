"""The first minute: a mock upstream and the gateway on ``policies/examples/demo``, with three things to try.

Only starts, watches and stops the two processes; everything it shows is the ordinary product. Arguments go to
``tiergate serve``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from gateway.control import ControlError, request
from gateway.exit_codes import EXIT_ENVIRONMENT
from gateway.settings import SettingsError, from_environment

POLICIES = Path(__file__).resolve().parents[1] / "policies" / "examples" / "demo"
MOCK_PORT = 9000
READY_S = 30.0
STOP_S = 35.0
POLL_S = 0.05
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
Process = subprocess.Popen[bytes]

TO_TRY = """
Tiergate is serving on {url} (admin: {admin}). Three things to try in another terminal:

  1. a call that is allowed, with every limit in the answer's head (acme, premium):
     curl -i {url}/crm/contacts -H 'x-api-key: demo-acme-key'

  2. 61 quick calls where 60 a minute are allowed (globex, basic); the last answer is the 429:
     for i in $(seq 60); do curl -s -o /dev/null {url}/crm/contacts -H 'x-api-key: demo-globex-key'; done
     curl -i {url}/crm/contacts -H 'x-api-key: demo-globex-key'

  3. what is left of every limit, free of charge (initech, standard):
     curl -s {url}/_gateway/usage -H 'authorization: Bearer demo-initech-key'

Ctrl-C stops everything; a second one cuts calls in flight off.
"""


HELP = """usage: scripts/serve [OPTIONS OF tiergate serve]

Starts a mock upstream and the gateway on policies/examples/demo, and says what to try. Ctrl-C stops everything.
Options go to `tiergate serve` (`tiergate serve --help` lists them), for example --port 8081.
"""


class _Stopped(Exception):
    """A signal asked for the end."""


def main() -> int:
    """Run until Ctrl-C or until the gateway ends; answers the gateway's exit code, 0 after a Ctrl-C before it ran."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(HELP, end="")
        return 0
    for number in SIGNALS:
        signal.signal(number, _stop)
    running: list[Process] = []
    try:
        return _run(running)
    except _Stopped:
        print("\nstopping; Ctrl-C again cuts calls in flight off", file=sys.stderr, flush=True)
        return _hurried(running)
    except (SettingsError, OSError) as error:
        print(f"tiergate: {error}", file=sys.stderr)
        _ended(running)
        return EXIT_ENVIRONMENT


def _stop(number: int, frame: FrameType | None) -> None:
    for quiet in SIGNALS:
        signal.signal(quiet, signal.SIG_IGN)
    raise _Stopped


def _hurried(running: list[Process]) -> int:
    """The end after a signal; another signal is passed on to the gateway, which then cuts off."""

    def passed_on(number: int, frame: FrameType | None) -> None:
        if len(running) > 1 and running[1].poll() is None:
            running[1].send_signal(signal.SIGTERM)

    if len(running) < 2:
        _ended(running)
        return 0
    running[1].terminate()
    for number in SIGNALS:
        signal.signal(number, passed_on)
    code = _waited(running[1])
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    _ended(running)
    return 0 if code == -signal.SIGTERM else _shown(code)  # told to stop before it could listen for that


def _run(running: list[Process]) -> int:
    port = free_port(MOCK_PORT)
    env = {**os.environ, "TIERGATE_MOCK_PORT": str(port)}
    env.setdefault("TIERGATE_POLICIES", str(POLICIES))
    settings = from_environment(env)
    _start(running, "gateway.cli", "mock", "upstream", "--port", str(port), env=env)
    _await_port(running[0], port)
    _start(running, "gateway.cli", "serve", *sys.argv[1:], env=env)
    status = _await_ready(running[1], settings.control_socket)
    if status is not None:
        url, admin = f"http://{status['listen']}", f"http://{status['admin']}"
        print(TO_TRY.format(url=url, admin=admin), flush=True)
        running[1].wait()
    return _ended(running)


def _start(running: list[Process], module: str, *arguments: str, env: Mapping[str, str]) -> None:
    """Start a process and note it, with no signal in between: one that is not noted would never be stopped.

    It gets a session of its own: a terminal's Ctrl-C reaches this process only, which stops both in order.
    """
    told: list[int] = []
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: told.append(number))
    command = [sys.executable, "-m", module, *arguments]
    running.append(subprocess.Popen(command, env=dict(env), stdin=subprocess.DEVNULL, start_new_session=True))  # noqa: S603 - ours
    for number in SIGNALS:
        signal.signal(number, _stop)
    if told:
        _stop(told[0], None)


def free_port(wanted: int) -> int:
    """``wanted`` when nobody has it, else one that the system picks."""
    for port in (wanted, 0):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return int(probe.getsockname()[1])
    raise OSError("no loopback port is free")


def _await_port(process: Process, port: int) -> None:
    end = time.monotonic() + READY_S
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(POLL_S)
    raise OSError(f"the mock upstream does not answer on port {port}")


def _await_ready(process: Process, control_socket: Path) -> dict[str, str] | None:
    """The gateway's status once ``/readyz`` says so; None when it has ended."""
    end = time.monotonic() + READY_S
    while process.poll() is None:
        if time.monotonic() > end:
            raise OSError(f"the gateway was not ready within {READY_S:.0f} s")
        with contextlib.suppress(ControlError, OSError, urllib.error.URLError):
            status = request(control_socket, "status", timeout_s=2)
            if status["pid"] == process.pid:
                with urllib.request.urlopen(f"http://{status['admin']}/readyz", timeout=2) as answer:
                    if json.load(answer)["status"] == "ready":
                        return status
        time.sleep(POLL_S)
    return None


def _ended(running: list[Process]) -> int:
    """Stop what runs, the gateway first so that its calls in flight still find the upstream; the gateway's code."""
    for process in reversed(running):
        if process.poll() is None:
            process.terminate()
        _waited(process)
    return _shown(running[1].returncode) if len(running) > 1 else 3


def _waited(process: Process) -> int:
    try:
        return process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def _shown(code: int) -> int:
    return code if code >= 0 else 128 - code  # a death by signal, as a shell says it


if __name__ == "__main__":
    sys.exit(main())
