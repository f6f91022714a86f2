"""The command line as a user meets it: a process, its exit code, its two streams."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.cli import app
from tests.gateway.processes import ROOT, Gateway, until

COMMANDS = (
    "serve", "check", "explain", "schema", "throttle", "status", "reload", "keys mint", "keys list",
    "sla verify", "sla report", "sla announce", "sla work", "sla exclude", "sla approve", "sla version", "sla bind",
    "sla pin", "sla claim", "sla acts", "sla import", "sla export",
    "sla status", "sla close", "mock upstream", "mock ledger",
)  # fmt: skip


def tiergate(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIERGATE_")}
    return subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments],
        env={**clean, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    done = tiergate(*command.split(), "--help")
    assert done.returncode == 0
    assert f"Example: tiergate {command}" in done.stdout


def test_the_list_of_commands_above_is_complete() -> None:
    top = tiergate("--help").stdout
    assert {command.split()[0] for command in COMMANDS} == set(re.findall(r"^  ([a-z]+)  ", top, re.MULTILINE))
    assert app.info.name == "tiergate"


@pytest.mark.parametrize(
    "arguments",
    [
        ("serv",),
        ("serve", "--portt", "1"),
        ("serve", "--port", "70000"),
        ("serve", "--workers", "none"),
        ("serve", "--workers", "0"),
        ("serve", "--listen", "nonsense"),
        ("serve", "--listen", "127.0.0.1:1", "--port", "2"),
        ("serve", "--server", "apache"),
        ("check", "--output", "xml", "."),
        ("explain", "TG000000"),
        ("keys", "mint"),
    ],
)
def test_a_mistake_in_the_arguments_is_64_and_no_traceback(arguments: tuple[str, ...]) -> None:
    done = tiergate(*arguments)
    assert done.returncode == 64, done.stderr
    assert done.stderr.strip()
    assert "Traceback" not in done.stderr


def test_a_setting_that_cannot_be_used_is_64_and_named() -> None:
    done = tiergate("serve", TIERGATE_WORKERS="many")
    assert done.returncode == 64
    assert "TIERGATE_WORKERS" in done.stderr


def test_the_version() -> None:
    done = tiergate("--version")
    assert done.returncode == 0
    assert done.stdout.startswith("tiergate ")


def test_a_minted_key_matches_its_digest_and_is_never_the_same() -> None:
    texts = []
    for _ in range(2):
        done = tiergate("keys", "mint", "acme", "--id", "k7")
        assert done.returncode == 0
        key, digest = (re.search(rf"^{word} +(\S+)$", done.stdout, re.MULTILINE) for word in ("key", "sha256"))
        assert key is not None
        assert digest is not None
        assert re.fullmatch(r"tg_live_[A-Za-z0-9_-]{43}", key[1]), "32 random bytes behind the prefix"
        assert hashlib.sha256(key[1].encode()).hexdigest() == digest[1]
        assert f'keys: [{{id: "k7", sha256: {digest[1]}}}]' in done.stdout
        assert done.stdout.count(key[1]) == 1
        texts.append(key[1])
    assert texts[0] != texts[1]


def test_a_key_without_an_id_is_named_by_its_day_as_a_line_and_as_a_list_item() -> None:
    lines = tiergate("keys", "mint", "acme").stdout.splitlines()
    items = [line for line in lines if re.search(r'\{id: "k-20[0-9]{6}-[0-9a-f]{4}", sha256: [0-9a-f]{64}\}', line)]
    assert [item.split("{")[0].strip() for item in items] == ["keys: [", "-"]


@pytest.mark.parametrize("arguments", [("",), ("x" * 500,), ("acme", "--id", "k\x07"), ("anonymous",), (" acme",)])
def test_a_key_that_the_format_would_refuse_is_not_minted(arguments: tuple[str, ...]) -> None:
    done = tiergate("keys", "mint", *arguments)
    assert done.returncode == 64
    assert "tg_live_" not in done.stdout


@pytest.mark.parametrize("command", [("status",), ("reload",), ("keys", "list")])
def test_a_command_without_a_gateway_is_3_and_says_where_it_looked(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = tiergate(*command, TIERGATE_STATE_DIR=str(tmp_path))
    assert done.returncode == 3
    assert str(tmp_path) in done.stderr
    assert "TIERGATE_STATE_DIR" in done.stderr


def test_serve_and_check_without_a_directory_are_3(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    for arguments in (("serve", "--policies", nowhere), ("check", nowhere)):
        done = tiergate(*arguments)
        assert done.returncode == 3
        assert nowhere in done.stderr


def test_a_bad_policy_is_shown_the_same_by_check_and_by_a_cold_start(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nteirs: {}\n")
    checked = tiergate("check", str(tmp_path))
    served = tiergate("serve", "--policies", str(tmp_path), "--state-dir", str(tmp_path / "state"))
    assert (checked.returncode, served.returncode) == (1, 1)
    assert "p.yaml:2:1: error" in checked.stdout
    assert checked.stdout in served.stderr


def test_check_speaks_json(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("version: 1\nteirs: {}\n")
    done = tiergate("check", str(tmp_path), "--output", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False


def test_the_schema_is_json() -> None:
    done = tiergate("schema")
    assert done.returncode == 0
    assert json.loads(done.stdout)["$schema"]


def test_a_reader_that_leaves_early_is_no_error() -> None:
    command = f"{sys.executable} -m gateway.cli schema | head -c 10 > /dev/null; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stderr == ""


def test_a_bug_is_70_in_one_line_and_a_traceback_on_request(tmp_path: Path) -> None:
    program = (
        "import gateway.keys, gateway.cli as c; gateway.keys.minted = lambda: 1 / 0; c.main(['keys', 'mint', 'a'])"
    )
    for debug, lines in (("", 2), ("1", None)):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TIERGATE_DEBUG": debug},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 70
        assert "ZeroDivisionError" in done.stderr
        assert ("Traceback" in done.stderr) == (lines is None)


def test_commands_talk_to_a_running_gateway(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        env = {"TIERGATE_STATE_DIR": str(gateway.state)}
        status = tiergate("status", **env)
        assert status.returncode == 0
        assert "worker 1" in status.stdout
        assert ": ready" in status.stdout
        machine = json.loads(tiergate("status", "--output", "json", **env).stdout)
        assert machine["schema"] == 1
        assert machine["workers"][0]["ready"] is True
        until(lambda: "2023-11-14T22:13:20Z  acme/k1" in tiergate("keys", "list", **env).stdout)
        assert tiergate("reload", **env).returncode == 0
        gateway.write("{ broken")
        rejected = tiergate("reload", **env)
        assert rejected.returncode == 1
        assert "rejected" in rejected.stdout
        assert "policy.json:1:1" in rejected.stdout


def test_the_mock_upstream_on_a_taken_port_is_3_and_ends_on_a_signal(tmp_path: Path) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        done = tiergate("mock", "upstream", "--port", str(other.getsockname()[1]))
    assert done.returncode == 3
    assert "cannot listen" in done.stderr
    with subprocess.Popen(
        [sys.executable, "-m", "gateway.cli", "mock", "upstream", "--port", "0"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True,
    ) as mock:  # fmt: skip
        assert mock.stdout is not None
        assert "listens on" in mock.stdout.readline()
        mock.send_signal(signal.SIGTERM)
        assert mock.wait(20) == 0
