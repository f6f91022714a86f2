"""The first minute, as a process: both parts start, are announced, and end together."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gateway import control
from gateway.demo import POLICIES, free_port
from tests.gateway.processes import ROOT, until

DEADLINE_S = 60


def demo(tmp_path: Path) -> subprocess.Popen[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIERGATE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway.demo"],
        env={
            **env, "PYTHONPATH": str(ROOT), "TIERGATE_STATE_DIR": str(tmp_path / "state"), "TIERGATE_ACCESS_LOG": "off",
            "TIERGATE_LISTEN": "127.0.0.1:0", "TIERGATE_ADMIN": "127.0.0.1:0",
        },
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def announced(running: subprocess.Popen[str]) -> str:
    """Standard output up to the last line of what to try."""
    assert running.stdout is not None
    text = ""
    while "Ctrl-C stops" not in text:
        line = running.stdout.readline()
        assert line, text
        text += line
    return text


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_it_announces_three_things_and_ctrl_c_stops_both(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        text = announced(running)
        assert all(key in text for key in ("demo-acme-key", "demo-globex-key", "demo-initech-key"))
        admin = re.search(r"admin: (http://\S+)\)", text)
        assert admin is not None
        assert urllib.request.urlopen(f"{admin[1]}/readyz", timeout=10).status == 200
        url = re.search(r"serving on (http://\S+)", text)
        assert url is not None
        call = urllib.request.Request(f"{url[1]}/crm/contacts", headers={"x-api-key": "demo-acme-key"})
        with urllib.request.urlopen(call, timeout=10) as answer:
            assert answer.status == 200
            assert '"minute";q=3000;w=60' in answer.headers["ratelimit-policy"]
        said = re.search(
            r"`(proxy-status: [^`]+)`:\n`curl -i http://127.0.0.1:8080(/\S+)", (ROOT / "README.md").read_text()
        )
        assert said is not None
        call = urllib.request.Request(url[1] + said[2], headers={"x-api-key": "demo-acme-key"})
        with pytest.raises(urllib.error.HTTPError, match="429") as refused:
            urllib.request.urlopen(call, timeout=10)
        with refused.value as answer:
            assert f"proxy-status: {answer.headers['proxy-status']}" == said[1]
        both = children(running.pid)
        assert len(both) == 2
        running.send_signal(signal.SIGINT)
        assert running.wait(DEADLINE_S) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in both)


def test_a_second_ctrl_c_cuts_calls_in_flight_off(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        url = re.search(r"serving on http://(\S+):(\d+)", announced(running))
        assert url is not None
        with socket.create_connection((url[1], int(url[2]))) as line:
            line.sendall(b"GET /crm/slow=60s/ok HTTP/1.1\r\nhost: x\r\nx-api-key: demo-acme-key\r\n\r\n")
            status = tmp_path / "state" / "control.sock"
            until(lambda: control.request(status, "status")["workers"][0]["in_flight"] == 1)
            began = time.monotonic()
            running.send_signal(signal.SIGINT)
            until(lambda: control.request(status, "status")["not_ready_because"])
            running.send_signal(signal.SIGINT)
            assert running.wait(DEADLINE_S) == 0
            assert time.monotonic() - began < 12


def test_a_ctrl_c_while_it_starts_leaves_nothing_and_shows_no_traceback(tmp_path: Path) -> None:
    for wanted in (0, 1, 2):
        with demo(tmp_path) as running:
            until(lambda wanted=wanted, pid=running.pid: len(children(pid)) >= wanted and signals_caught(pid))
            some = children(running.pid)
            running.send_signal(signal.SIGINT)
            _, text = running.communicate(timeout=DEADLINE_S)
            assert running.returncode == 0, text
        assert "Traceback" not in text
        assert not any(Path(f"/proc/{pid}").exists() for pid in some)


def signals_caught(pid: int) -> bool:
    """Whether the process has its handler for SIGHUP, which python itself does not catch."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) & 1 << (signal.SIGHUP - 1))


def test_its_help_starts_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "gateway.demo", "--help"], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert "scripts/serve" in done.stdout
    assert "mock" not in done.stderr


def test_it_ends_with_the_gateways_code_when_the_gateway_dies(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        announced(running)
        mock, gateway = children(running.pid)
        os.kill(gateway, signal.SIGKILL)
        assert running.wait(DEADLINE_S) == 128 + signal.SIGKILL
        until(lambda: not Path(f"/proc/{mock}").exists())


def test_a_gateway_that_cannot_start_ends_it_with_the_same_code(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    with demo(tmp_path) as running:
        _, text = running.communicate(timeout=DEADLINE_S)
    assert running.returncode == 3
    assert "state directory" in text


def test_public_keys_are_not_served_to_the_network(tmp_path: Path) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TIERGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", "serve", "--policies", str(POLICIES), "--listen", "0.0.0.0:0"],
        env={**env, "PYTHONPATH": str(ROOT), "TIERGATE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True, text=True, timeout=DEADLINE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert "demo key" in done.stderr


def test_a_taken_port_is_replaced_by_a_free_one() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        assert free_port(taken) not in (0, taken)
