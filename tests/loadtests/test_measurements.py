"""Large bodies, added latency, idle clients: that each counts what it must, and one tiny run of each."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from loadtests import bodies, idle, latency, reconcile, transfer
from loadtests.arrivals.client import Call
from loadtests.bodies import Peer
from loadtests.closed_loop import tenant_key
from loadtests.driver import closed_loop, connected
from loadtests.instance import NotStarted, free_ports
from loadtests.latency import Round
from loadtests.peers.tiergate import launch
from loadtests.stage import KEY, stage
from loadtests.transfer import DOWN, UP, Moved, Stream

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"


@contextlib.contextmanager
def scripted(answer: Callable[[bytes], bytes | None], *, once: bool = False) -> Iterator[int]:
    """A server that answers each head with ``answer`` of it; None, or ``once``, ends the connection."""
    listener = socket.create_server(("127.0.0.1", 0))

    def attend(connection: socket.socket) -> None:
        stream = Stream(connection)
        with connection, contextlib.suppress(OSError, transfer.Broken):
            while head := stream.head():
                if b"content-length" in head:
                    stream.discard(transfer.length_of(head))
                said = answer(head)
                if said is None:
                    return
                connection.sendall(said)
                if once:
                    return

    def accept() -> None:
        with contextlib.suppress(OSError):  # the listener was shut down
            while True:
                threading.Thread(target=attend, args=(listener.accept()[0],), daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield int(listener.getsockname()[1])
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        listener.close()


def test_calls_of_many_tenants_use_every_key_as_often() -> None:
    keys: Counter[bytes] = Counter()

    def count(head: bytes) -> bytes:
        keys[head.partition(b"x-api-key: ")[2].partition(b"\r\n")[0]] += 1
        return OK

    with scripted(count) as port, connected(port, 2, ("--tenants", "3"), ("--calls", "9")) as run:
        load = run()
    assert (load.requests, load.failed, load.not_2xx) == (9, 0, 0)
    assert keys == {tenant_key(number).encode(): 3 for number in (1, 2, 3)}


def test_a_generator_that_cannot_connect_is_not_started() -> None:
    (nobody,) = free_ports(1)
    with pytest.raises(NotStarted), connected(nobody, 1, ("--key", KEY), ("--calls", "1")):
        pass


def test_a_connection_that_ends_is_one_failed_request_and_does_not_hold_up_the_run() -> None:
    with scripted(lambda head: None) as port, connected(port, 2, ("--key", KEY), ("--seconds", "5")) as run:
        load = run()
    assert (load.requests, load.failed) == (0, 2)
    assert load.duration_us < 4_000_000


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",  # and then it ends
        b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhell",  # whole, and not the body that was asked for
        b"HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\n\r\nhello",
        None,
    ],
)
def test_a_body_that_did_not_pass_whole_is_no_throughput(answer: bytes | None) -> None:
    with scripted(lambda head: answer, once=True) as port:
        moved = transfer.move(port, DOWN, 5, 1, 0)
    assert (moved.bodies, moved.failed) == (0, 1)


@pytest.mark.parametrize("direction", [DOWN, UP])
def test_bodies_are_counted_one_by_one(direction: str) -> None:
    with scripted(lambda head: OK) as port:
        moved = transfer.move(port, direction, 5, 2, 0)
    assert (moved.bodies, moved.octets, moved.failed) == (2, 10, 0)


def test_throughput_is_compared_round_by_round() -> None:
    def peer(name: str, *speeds: int) -> Peer:
        rounds = [
            bodies.Round(moved=Moved(bodies=1, octets=speed, duration_us=1, failed=0), cpu_us=speed, peak=0)
            for speed in speeds
        ]
        return Peer(name=name, pid=0, port=0, rounds={DOWN: rounds, UP: rounds})

    rows = bodies.summed_up([peer("envoy", 100, 10, 100), peer("tiergate", 90, 9, 50)])
    ours = next(row for row in rows if row["peer"] == "tiergate")
    assert ours["ratio_to_envoy"] == 0.9, "a minute that is slow for both is no difference"
    assert ours["cpu_us_per_mb"] == 1_000_000
    assert [goal["met"] for goal in bodies.goals(rows)] == [True, True]
    worse = bodies.summed_up([peer("envoy", 100), peer("tiergate", 79)])
    assert [goal["met"] for goal in bodies.goals(worse)] == [False, False]


def test_a_tiny_run_moves_bodies_both_ways() -> None:
    found = bodies.bodies(bodies.parsed(["--quick", "--peers", "bare-engine,tiergate"]))
    assert [(row["peer"], row["direction"]) for row in found["rows"]] == [
        ("bare-engine", DOWN), ("tiergate", DOWN), ("bare-engine", UP), ("tiergate", UP),
    ]  # fmt: skip
    assert all(
        row["bodies"] and not row["failed"] and row["mb_per_s"] > 0 and row["peak_mib"] > 1 for row in found["rows"]
    )
    assert found["goals"] == [], "there is nothing to compare with"
    assert "| tiergate " in bodies.text(json.loads(json.dumps(found)))


def measured(*latencies_us: int, late_us: int = 0) -> Round:
    return Round(latencies_us=sorted(latencies_us), late_us=[late_us], wrong=0)


def test_what_is_added_is_the_difference_within_a_round() -> None:
    # in the second round the machine was slow for both
    found = latency.summed_up({
        "direct": [measured(200, 300), measured(10_200, 10_300), measured(200, 300)],
        "through": [measured(900, 2_300), measured(10_900, 12_300), measured(950, 4_300)],
    })  # fmt: skip
    assert found["added"] == {"p50_ms": 0.7, "p90_ms": 2.0, "p99_ms": 2.0}


def test_latency_counts_from_the_intended_moment_and_what_failed_is_wrong() -> None:
    late = Call(0, 0, 1_000, sent_us=5_000, answered_us=6_000, head=b"HTTP/1.1 200 OK")
    refused = Call(1, 0, 1_000, sent_us=1_000, answered_us=2_000, head=b"HTTP/1.1 429 No")
    never = Call(2, 0, 1_000, sent_us=1_000)
    found = latency.seen([late, refused, never])
    assert (list(found.latencies_us), found.wrong) == ([5_000], 2)
    assert list(found.late_us) == [0, 0, 4_000]


def test_a_tiny_run_measures_both_sides() -> None:
    found = latency.latency(latency.parsed(["--quick"]))
    assert found["capacity"] > 0
    assert found["rate"] == 100
    for side in ("direct", "through"):
        assert (found[side]["calls"], found[side]["wrong"]) == (30, 0)
        assert 0 < found[side]["p50_ms"] <= found[side]["p99_ms"]
    assert [goal["goal"] for goal in found["goals"]] == ["ms added at p50", "ms added at p99"]
    assert "| through |" in latency.text(json.loads(json.dumps(found)))


def test_memory_is_shared_out_over_the_clients() -> None:
    assert idle.row("granian", 1_000, 70 << 20, (70 << 20) + 1_000 * 9 * 1024)["kib_each"] == 9


def test_a_client_that_was_dropped_meanwhile_is_found() -> None:
    left = [OK, OK, OK]
    with scripted(lambda head: left.pop() if left else None) as port, contextlib.ExitStack() as held:
        clients = idle.Clients(port, held)
        clients.grow(3, lambda done: None)
        assert clients.wrong == 0
        clients.ask_again()
        assert clients.wrong == 3


def test_a_tiny_run_measures_idle_clients_on_both_servers() -> None:
    found = idle.idle(idle.parsed(["--quick"]))
    assert [(row["server"], row["clients"]) for row in found["rows"]] == [
        ("granian", 5), ("granian", 20), ("uvicorn", 5), ("uvicorn", 20),
    ]  # fmt: skip
    assert all(row["after_mib"] > 10 and row["wrong"] == 0 for row in found["rows"])
    assert len(found["goals"]) == 4
    assert "| uvicorn |" in idle.text(json.loads(json.dumps(found)))


def test_a_counted_run_through_the_bench_policy_is_in_every_record() -> None:
    """The access log stands where the policy says, and log, metrics, outcomes and decisions agree (RULINGS 30)."""
    with stage("test") as made:
        place = made.place("tiergate", made.upstream().plain)
        made.start(launch(place), place)
        load = closed_loop(place.port, KEY, 5, ("--calls", "200"))
        every = 201  # and the probe of the start
        found = reconcile.settled(place.admin, place.access_log, lambda counts: counts.equal(every))
    assert (load.requests, load.not_2xx) == (200, 0)
    assert found.equal(every), found
