"""The supervisor with real processes, sockets and signals; every wait is a poll with a deadline."""

from __future__ import annotations

import contextlib
import http.client
import os
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
        assert "1 requests are cut off" in text
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
