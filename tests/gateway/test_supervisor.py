"""The supervisor with real processes, sockets and signals; every wait is a poll with a deadline."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.processes import Gateway, until

SERVERS = ("granian", "uvicorn")


@contextlib.contextmanager
def in_flight(gateway: Gateway, path: str) -> Iterator[http.client.HTTPConnection]:
    """A call that has been sent and that a worker is known to have."""
    with contextlib.closing(http.client.HTTPConnection(*gateway.address(), timeout=15)) as line:
        line.request("GET", path)
        until(lambda: sum(one["in_flight"] for one in gateway.status()["workers"]) > 0)
        yield line


def refused(where: tuple[str, int]) -> bool:
    try:
        socket.create_connection(where, timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("server", SERVERS)
def test_a_call_in_flight_ends_well_when_the_gateway_is_told_to_stop(tmp_path: Path, server: str) -> None:
    with Gateway(tmp_path, TIERGATE_SERVER=server) as gateway:
        gateway.ready()
        where = gateway.address()
        with in_flight(gateway, "/slow/4") as line:
            gateway.signal(signal.SIGTERM)
            until(lambda: refused(where))
            assert gateway.status()["workers"][0]["in_flight"] == 1, "refused while the call is still going"
            answer = line.getresponse()
            assert (answer.status, answer.read()) == (200, b"slow")
        assert answer.getheader("connection") == "close"
        assert gateway.end()[0] == 0
        assert (gateway.state / "closed").exists()
        assert not (gateway.state / "control.sock").exists()


def test_during_the_drain_delay_it_is_unready_and_still_serves(tmp_path: Path) -> None:
    with Gateway(tmp_path, {"delay_us": 3_000_000}) as gateway:
        gateway.ready()
        assert gateway.get("/readyz", "admin")[0] == 200
        gateway.signal(signal.SIGTERM)
        until(lambda: gateway.get("/readyz", "admin")[0] == 503)
        assert "draining" in gateway.get("/readyz", "admin")[1]
        until(lambda: not gateway.status()["workers"][0]["ready"])
        with contextlib.closing(http.client.HTTPConnection(*gateway.address(), timeout=15)) as line:
            line.request("GET", "/pid")
            answer = line.getresponse()
            assert (answer.status, answer.getheader("connection")) == (200, "close")
        assert gateway.end()[0] == 0


@pytest.mark.parametrize("server", SERVERS)
def test_the_drain_is_bounded(tmp_path: Path, server: str) -> None:
    with Gateway(tmp_path, {"timeout_us": 300_000}, TIERGATE_SERVER=server) as gateway:
        gateway.ready()
        with in_flight(gateway, "/slow/60"):
            gateway.signal(signal.SIGTERM)
            code, text = gateway.end()
        assert code == 0
        assert "1 request is cut off" in text
        assert "Traceback" not in text
        assert (gateway.state / "closed").exists(), "what must survive is written also after a cut"


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with Gateway(tmp_path, {"timeout_us": 60_000_000}) as gateway:
        gateway.ready()
        with in_flight(gateway, "/slow/60"):
            gateway.signal(signal.SIGINT)
            until(lambda: gateway.status()["not_ready_because"] != [])
            gateway.signal(signal.SIGINT)
            assert gateway.end()[0] == 0


def test_a_killed_worker_is_replaced_and_waiting_callers_are_served(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        first = int(gateway.get("/pid")[1])
        os.kill(first, signal.SIGKILL)
        second = until(lambda: int(gateway.get("/pid")[1]))
        assert second != first
        assert gateway.ready().status()["workers"][0]["restarts"] == 1
        assert "gateway_worker_restarts_total 1.0" in gateway.get("/metrics", "admin")[1]
        assert "gateway_outcomes_recorded_total 6.0" in gateway.get("/metrics", "admin")[1], "the first worker's stay"


def test_connections_made_while_no_worker_lives_wait_in_the_queue(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        where = gateway.address()
        os.kill(gateway.status()["workers"][0]["pid"], signal.SIGKILL)
        with contextlib.closing(http.client.HTTPConnection(*where, timeout=15)) as line:
            line.request("GET", "/pid")
            assert line.getresponse().status == 200


def test_a_worker_drains_when_the_supervisor_is_gone(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        where, worker = gateway.address(), gateway.status()["workers"][0]["pid"]
        gateway.signal(signal.SIGKILL)
        until(lambda: (gateway.state / "closed").exists())
        until(
            lambda: not Path(f"/proc/{worker}").exists() or "Z" in Path(f"/proc/{worker}/stat").read_text().split()[2]
        )
        assert refused(where)
        with Gateway(tmp_path) as next_one:
            next_one.ready()


def test_sighup_and_the_reload_command_read_the_policy_again(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        before = gateway.ready().get("/policy")[1]
        gateway.write({"name": "second"})
        gateway.signal(signal.SIGHUP)
        second = until(lambda: (now := gateway.get("/policy")[1]) != before and now)
        gateway.write({"name": "third"})
        (answer,) = gateway.ask("reload")["workers"]
        assert answer["outcome"] in ("accepted", "unchanged")  # unchanged: the watch was quicker
        assert answer["version"] != second


def test_a_broken_edit_keeps_the_last_good_policy_and_says_so(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        before = gateway.ready().get("/policy")[1]
        gateway.write("{ broken")
        (answer,) = gateway.ask("reload")["workers"]
        assert (answer["outcome"], answer["version"]) == ("rejected", before)
        assert answer["findings"][0].startswith("policy.json:1:1")
        assert gateway.get("/policy") == (200, before)
        assert gateway.get("/readyz", "admin")[0] == 200
        until(lambda: gateway.status()["workers"][0]["complaints"])
        gateway.write({})
        until(lambda: not gateway.status()["workers"][0]["complaints"])


@pytest.mark.parametrize("server", SERVERS)
def test_no_call_is_lost_while_policies_are_swapped(tmp_path: Path, server: str) -> None:
    with Gateway(tmp_path, TIERGATE_SERVER=server) as gateway:
        gateway.ready()
        where = gateway.address()
        statuses: list[int] = []
        done = threading.Event()

        def calling() -> None:
            while not done.is_set():
                with contextlib.closing(http.client.HTTPConnection(*where, timeout=15)) as line:
                    line.request("GET", "/pid")
                    statuses.append(line.getresponse().status)

        callers = [threading.Thread(target=calling) for _ in range(4)]
        for caller in callers:
            caller.start()
        for number in range(10):
            gateway.write({"name": str(number)} if number % 2 else "{ broken")
            gateway.ask("reload")
        done.set()
        for caller in callers:
            caller.join(15)
        assert len(statuses) > 10
        assert set(statuses) == {200}


@pytest.mark.parametrize("setting", ["TIERGATE_LISTEN", "TIERGATE_ADMIN"])
def test_a_taken_port_is_one_message_and_exit_3(tmp_path: Path, setting: str) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with Gateway(tmp_path, **{setting: f"127.0.0.1:{port}"}) as gateway:
            code, text = gateway.end()
    assert code == 3
    assert f"cannot listen on 127.0.0.1:{port}" in text
    assert "the port is taken" in text
    assert "Traceback" not in text


def test_an_unusable_state_directory_is_one_message_and_exit_3(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    with Gateway(tmp_path) as gateway:
        code, text = gateway.end()
    assert code == 3
    assert text.startswith("tiergate: state directory")
    assert "TIERGATE_STATE_DIR" in text
    assert text.count("\n") == 1


def test_a_second_gateway_on_the_same_state_directory_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with Gateway(tmp_path) as first:
        first.ready()
        with Gateway(tmp_path) as second:
            code, text = second.end()
        assert code == 3
        assert first.process is not None
        assert f"process {first.process.pid}" in text
        assert "TIERGATE_STATE_DIR" in text
        assert first.get("/pid")[0] == 200


def test_a_state_directory_too_deep_for_a_socket_is_explained(tmp_path: Path) -> None:
    with Gateway(tmp_path, TIERGATE_STATE_DIR=str(tmp_path / ("d" * 120))) as gateway:
        code, text = gateway.end()
    assert code == 3
    assert "too long for a unix socket" in text


def test_a_missing_policy_directory_is_one_message_and_exit_3(tmp_path: Path) -> None:
    with Gateway(tmp_path, TIERGATE_POLICIES=str(tmp_path / "nowhere")) as gateway:
        code, text = gateway.end()
    assert code == 3
    assert "nowhere does not exist" in text
    assert "--policies" in text


def test_a_bad_policy_at_cold_start_is_exit_1(tmp_path: Path) -> None:
    gateway = Gateway(tmp_path)
    gateway.write("{ broken")
    with gateway:
        code, _ = gateway.end()
    assert code == 1


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ({"workers": 2}, ("memory://", "TIERGATE_WORKERS=1", "neither is in this version")),
        ({"store": "redis://r"}, ("redis://", "not in this version")),
        ({"store": "mysql://r"}, ("mysql://", "is not a store")),
    ],
)
def test_what_cannot_be_served_is_refused_with_the_remedies(tmp_path: Path, policy: dict, words: tuple) -> None:  # type: ignore[type-arg]
    with Gateway(tmp_path, policy) as gateway:
        code, text = gateway.end()
    assert code == 3
    assert all(word in text for word in words), text


def test_a_worker_that_cannot_start_ends_the_gateway_with_its_code_and_message(tmp_path: Path) -> None:
    with Gateway(tmp_path, TOY_START="environment") as gateway:
        code, text = gateway.end()
    assert code == 3
    assert "the toy store is locked" in text


def test_a_worker_that_always_breaks_is_given_up_on(tmp_path: Path) -> None:
    with Gateway(tmp_path, TOY_START="bug") as gateway:
        code, text = gateway.end()
    assert code == 70
    assert "the toy is broken" in text
    assert "giving up" in text


def test_the_drain_command_ends_the_gateway(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        assert gateway.ask("drain") == {"draining": True}
        assert gateway.end()[0] == 0


def test_a_stop_before_the_worker_is_up_is_obeyed(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        until(lambda: gateway.status())
        gateway.signal(signal.SIGTERM)
        began = time.monotonic()
        assert gateway.end()[0] == 0
        assert time.monotonic() - began < 15


def test_a_worker_that_dies_while_a_broken_edit_is_on_disk_is_replaced_with_the_last_good_policy(
    tmp_path: Path,
) -> None:
    with Gateway(tmp_path, {"name": "first"}) as gateway:
        gateway.ready()
        gateway.write({"name": "second"})
        good = gateway.ask("reload")["workers"][0]["version"]
        gateway.write("{ broken")
        assert gateway.ask("reload")["workers"][0]["outcome"] == "rejected"
        for _ in range(2):
            first = int(gateway.get("/pid")[1])
            os.kill(first, signal.SIGKILL)
            assert until(lambda: int(gateway.get("/pid")[1])) != first
            assert gateway.get("/policy") == (200, good)
        until(lambda: gateway.status()["workers"][0]["complaints"])
        kept = gateway.state / "last-good"
        modes = {path.stat().st_mode & 0o777 for path in (kept, *kept.rglob("*")) if path.is_dir()}
        assert modes == {0o700}
        assert {path.stat().st_mode & 0o777 for path in kept.rglob("policy.json")} == {0o600}
        gateway.write({"name": "third"})
        until(lambda: gateway.get("/policy")[1] != good)
        gateway.signal(signal.SIGTERM)
        assert gateway.end()[0] == 0
        assert not kept.exists()


def test_without_a_copy_a_worker_is_started_again_until_the_edit_is_repaired(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        shutil.rmtree(gateway.state / "last-good")
        gateway.write("{ broken")
        os.kill(gateway.status()["workers"][0]["pid"], signal.SIGKILL)
        until(lambda: gateway.status()["workers"][0]["restarts"] >= 3)
        gateway.write({})
        assert until(lambda: gateway.get("/pid"))[0] == 200


def test_a_setting_that_needs_a_restart_is_accepted_and_said(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        where = gateway.status()["listen"]
        gateway.write({"port": 1})
        answer = gateway.ask("reload")
        wanted = ["server.listen changed; takes effect at restart"]
        assert answer["pending"] == wanted == gateway.status()["pending"]
        shown = json.loads(gateway.get("/policy", "admin")[1])
        assert (shown["pending"], shown["bound"]["listen"]) == (wanted, where)
        gateway.write({})
        assert gateway.ask("reload")["pending"] == []
        gateway.signal(signal.SIGTERM)
        assert gateway.end()[1].count("takes effect at restart") == 1


def test_a_store_that_cannot_be_served_is_rejected_by_a_reload_too(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        before = gateway.ready().get("/policy")[1]
        gateway.write({"store": "redis://r"})
        (answer,) = gateway.ask("reload")["workers"]
        assert (answer["outcome"], answer["version"]) == ("rejected", before)
        assert "not in this version" in answer["findings"][0]


def test_an_access_log_that_cannot_be_written_ends_the_start_before_anything_is_announced(tmp_path: Path) -> None:
    with Gateway(tmp_path, TIERGATE_ACCESS_LOG=str(tmp_path / "no" / "log")) as gateway:
        code, text = gateway.end()
    assert code == 3
    assert text.startswith(f"tiergate: access log {tmp_path}/no/log (server.access_log or TIERGATE_ACCESS_LOG)")
    assert text.count("\n") == 1


def test_a_directory_in_the_place_of_the_control_socket_is_explained(tmp_path: Path) -> None:
    (tmp_path / "state" / "control.sock").mkdir(parents=True)
    with Gateway(tmp_path) as gateway:
        code, text = gateway.end()
    assert code == 3
    assert "is a directory" in text
    assert text.count("\n") == 1


def test_a_reload_that_finds_nothing_new_says_one_line(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        gateway.signal(signal.SIGHUP)
        until(lambda: 'gateway_policy_reloads_total{outcome="unchanged"}' in gateway.get("/metrics", "admin")[1])
        gateway.signal(signal.SIGTERM)
        assert gateway.end()[1].count(" unchanged") == 1


def test_a_flood_of_findings_neither_ends_the_worker_nor_floods_the_log(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        first = int(gateway.get("/pid")[1])
        gateway.write({"mistakes": 100_000})
        (answer,) = gateway.ask("reload")["workers"]
        assert answer["outcome"] == "rejected"
        assert len(answer["findings"]) == 201
        assert "99,800 more" in answer["findings"][-1]
        until(lambda: gateway.status()["workers"][0]["complaints"])
        assert int(gateway.get("/pid")[1]) == first
        gateway.signal(signal.SIGTERM)
        assert gateway.end()[1].count("\n") < 300


def test_a_pipe_among_the_policy_files_does_not_stop_the_worker(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        gateway.ready()
        os.mkfifo(gateway.policies / "x.yml")
        os.mkfifo(gateway.policies / ".hidden.yaml")
        gateway.write({"name": "beside a pipe"})
        assert gateway.ask("reload")["workers"][0]["outcome"] in ("accepted", "unchanged")
        assert gateway.get("/pid")[0] == 200


def resident_mb(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4 // 1024


def sent_until_it_stops(where: tuple[str, int], piece: bytes, most: int) -> None:
    """Send ``piece`` again and again and read nothing, until ``most`` bytes, a full buffer or a hang-up."""
    with contextlib.closing(socket.create_connection(where)) as line:
        line.settimeout(2)
        sent = 0
        with contextlib.suppress(OSError):
            while sent < most:
                sent += line.send(piece)


@pytest.mark.parametrize("server", SERVERS)
def test_one_connection_cannot_fill_the_memory_by_pipelining_or_by_an_endless_head(tmp_path: Path, server: str) -> None:
    with Gateway(tmp_path, TIERGATE_SERVER=server) as gateway:
        gateway.ready()
        pid, where = int(gateway.get("/pid")[1]), gateway.address()
        before = resident_mb(pid)
        sent_until_it_stops(where, b"GET /slow/0.05 HTTP/1.1\r\nhost: g\r\n\r\n" * 500, 10_000_000)
        assert gateway.get("/pid")[0] == 200
        sent_until_it_stops(where, b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 5_000, 10_000_000)
        assert resident_mb(pid) - before < 60
        assert int(gateway.get("/pid")[1]) == pid
