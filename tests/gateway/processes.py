"""Real gateways for process tests: start one around the toy, wait for a state, stop it whatever happens."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from gateway import control

ROOT = Path(__file__).resolve().parents[2]
TOY = Path(__file__).with_name("toy.py")
DEADLINE_S = 20.0
T = TypeVar("T")


def until(look: Callable[[], T], *, deadline_s: float = DEADLINE_S) -> T:
    """The first true answer of ``look``; a test failure when there is none in time."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            found = look()
        except (OSError, control.ControlError, http.client.HTTPException):
            found = None  # type: ignore[assignment]
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline_s} s: {look}")
        time.sleep(0.02)


class Gateway:
    """One gateway process under test. Use as a context manager; ``ready`` waits for it to serve."""

    program: tuple[str, ...] = (str(TOY),)

    def __init__(self, home: Path, policy: dict[str, Any] | None = None, **env: str) -> None:
        self.policies = home / "policy"
        self.policies.mkdir(exist_ok=True)
        self.state = home / "state"
        self.write(policy or {})
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TIERGATE_", "TOY_"))},
            "PYTHONPATH": str(ROOT),
            "TIERGATE_POLICIES": str(self.policies),
            "TIERGATE_STATE_DIR": str(self.state),
            "TIERGATE_ACCESS_LOG": "off",
            **env,
        }
        self.process: subprocess.Popen[str] | None = None

    def write(self, policy: dict[str, Any] | str) -> None:
        """Replace the policy file in one step, as an editor does."""
        text = policy if isinstance(policy, str) else json.dumps(policy)
        fresh = self.policies / "fresh.tmp"
        fresh.write_text(text)
        fresh.replace(self.policies / "policy.json")

    def start(self) -> Gateway:
        self.process = subprocess.Popen(
            [sys.executable, *self.program, "serve"],
            env=self.env,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
        )
        return self

    def __enter__(self) -> Gateway:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process is None:
            return
        if self.process.poll() is None:
            workers = [one["pid"] for one in self.quietly_status().get("workers", [])]
            self.process.kill()
            for pid in filter(None, workers):
                self.signal_pid(pid, signal.SIGKILL)
        self.process.wait(DEADLINE_S)
        if self.process.stderr is not None:
            self.process.stderr.close()

    def quietly_status(self) -> dict[str, Any]:
        try:
            return self.status()
        except control.ControlError:
            return {}

    @staticmethod
    def signal_pid(pid: int, number: int) -> None:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return

    def ready(self) -> Gateway:
        until(lambda: self.status()["not_ready_because"] == [])
        return self

    def status(self) -> dict[str, Any]:
        return control.request(self.state / "control.sock", "status", timeout_s=5)

    def ask(self, what: str) -> dict[str, Any]:
        return control.request(self.state / "control.sock", what, timeout_s=15)

    def address(self, which: str = "listen") -> tuple[str, int]:
        host, _, port = self.status()[which].rpartition(":")
        return host, int(port)

    def get(self, path: str, which: str = "listen") -> tuple[int, str]:
        line = http.client.HTTPConnection(*self.address(which), timeout=15)
        try:
            line.request("GET", path)
            answer = line.getresponse()
            return answer.status, answer.read().decode()
        finally:
            line.close()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> tuple[int, str]:
        """Exit code and standard error, waited for."""
        assert self.process is not None
        _, text = self.process.communicate(timeout=DEADLINE_S)
        return self.process.returncode, text


class Shipped(Gateway):
    """The gateway as it is shipped, under a policy of its own format, in processes of its own."""

    program = ("-m", "gateway.cli")

    def __init__(self, home: Path, policy: dict[str, Any], **env: str) -> None:
        super().__init__(home, TIERGATE_LISTEN="127.0.0.1:0", TIERGATE_ADMIN="127.0.0.1:0", **env)
        (self.policies / "policy.json").unlink()
        (self.policies / "policy.yaml").write_text(json.dumps(policy))
