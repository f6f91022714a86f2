"""What an idle keep-alive client costs in memory, on both servers.

    python -m loadtests.idle [--clients 1000,5000] [--servers granian,uvicorn] [--json FILE]

For each server a gateway of its own: some load first, so that what is made once has been made, then the resident
memory of its worker; then so many clients connect, make one request each, and stay. Their cost is what the worker's
resident memory grew by, for each. At the end every client makes a second request: one that had been dropped meanwhile
would have cost nothing. The kernel's socket buffers are in nobody's resident memory and are not counted.

Numbers of clients beyond the file limit (``ulimit -n``) are left out, and that is said. Exits 0; 1 when a client was
dropped or answered otherwise than 200; 3 when something could not be started. A goal that is missed is printed and is
no failure.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from loadtests import command, report
from loadtests.closed_loop import request
from loadtests.command import positive
from loadtests.driver import closed_loop, raise_file_limit
from loadtests.instance import NotStarted
from loadtests.measure import memory, tree
from loadtests.peers.tiergate import launch
from loadtests.stage import KEY, Stage, stage
from loadtests.terminal import progress
from loadtests.transfer import Broken, Stream, length_of

SERVERS = ("granian", "uvicorn")
CLIENTS = (1_000, 5_000)
AT_MOST_KIB = 20.0
WARM_CALLS = 5_000
WARM_CONNECTIONS = 10
SETTLE_S = 2.5
"""Before memory is read: two reports of the worker and every log line have gone out."""
ANSWER_S = 10.0


class Clients:
    """Connections that stay. ``wrong`` counts answers that were none, or not 200."""

    def __init__(self, port: int, held: contextlib.ExitStack) -> None:
        self._port = port
        self._held = held
        self._streams: list[tuple[socket.socket, Stream]] = []
        self.wrong = 0

    def grow(self, count: int, step: Callable[[float], None]) -> None:
        """Connect until there are ``count``, each making one request. Raises ``OSError``."""
        while len(self._streams) < count:
            connection = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_S)
            self._held.callback(connection.close)
            self._streams.append((connection, Stream(connection)))
            self._ask(*self._streams[-1])
            step(len(self._streams))

    def ask_again(self) -> None:
        for connection, stream in self._streams:
            self._ask(connection, stream)

    def _ask(self, connection: socket.socket, stream: Stream) -> None:
        try:
            connection.sendall(request(KEY))
            head = stream.head()
            stream.discard(length_of(head))
        except (OSError, Broken):
            head = b""
        self.wrong += not head.startswith(b"http/1.1 200")


def measure(server: str, chosen: argparse.Namespace, made: Stage, upstream: int) -> list[dict[str, Any]]:
    """A row for each number of clients on one server. Raises ``NotStarted`` and ``OSError``."""
    place = made.place(server, upstream)
    started = launch(place)
    pid, _ = made.start(replace(started, env={**started.env, "TIERGATE_SERVER": server}), place)
    closed_loop(place.port, KEY, WARM_CONNECTIONS, ("--calls", str(chosen.warm)))
    worker = worker_of(pid)
    before = settled(worker, chosen.settle)
    rows = []
    with contextlib.ExitStack() as held, progress(f"clients on {server}", chosen.clients[-1]) as step:
        clients = Clients(place.port, held)
        for count in chosen.clients:
            clients.grow(count, step)
            rows.append(row(server, count, before, settled(worker, chosen.settle)))
        clients.ask_again()
    rows[-1]["wrong"] = clients.wrong
    return rows


def worker_of(pid: int) -> int:
    """The one worker of the supervisor ``pid``. Raises ``NotStarted``."""
    below = tree(pid)[1:]
    if len(below) != 1:
        raise NotStarted(f"one worker was expected below process {pid}, there are {len(below)}")
    return below[0]


def settled(pid: int, settle_s: float) -> int:
    time.sleep(settle_s)
    return memory(pid).rss


def row(server: str, clients: int, before: int, after: int) -> dict[str, Any]:
    """``before`` and ``after`` in octets."""
    return {
        "server": server,
        "clients": clients,
        "before_mib": round(before / (1 << 20), 1),
        "after_mib": round(after / (1 << 20), 1),
        "kib_each": round((after - before) / 1024 / clients, 2),
        "wrong": 0,
    }


COLUMNS = (
    ("server", "server"),
    ("clients", "clients"),
    ("RSS before, MiB", "before_mib"),
    ("RSS after, MiB", "after_mib"),
    ("KiB each", "kib_each"),
)


def text(found: dict[str, Any]) -> str:
    """The run for people."""
    lines = [*report.grid(COLUMNS, found["rows"]), "", *report.verdicts(found["goals"])]
    if found["left_out"]:
        lines.append(f"left out, too many for the file limit: {', '.join(f'{count:,}' for count in found['left_out'])}")
    lines += [f"WRONG: {one['server']}: {one['wrong']:,} clients were dropped" for one in found["rows"] if one["wrong"]]
    return "\n".join(lines)


def idle(chosen: argparse.Namespace) -> dict[str, Any]:
    """Start, measure, sum up. Raises ``NotStarted`` and ``OSError``."""
    most = raise_file_limit(chosen.clients[-1])
    left_out = [count for count in chosen.clients if count > most]
    chosen.clients = [count for count in chosen.clients if count <= most]
    if not chosen.clients:
        raise NotStarted(f"the file limit allows {most} clients; raise it with ulimit -n")
    rows: list[dict[str, Any]] = []
    with stage("idle") as made:
        upstream = made.upstream().plain
        for server in chosen.servers:
            rows += measure(server, chosen, made, upstream)
    goals = [
        report.goal(
            f"KiB an idle client, {one['server']}, {one['clients']:,} of them", one["kib_each"], at_most=AT_MOST_KIB
        )
        for one in rows
    ]
    return {"machine": report.machine(), "rows": rows, "goals": goals, "left_out": left_out}


def counts(text: str) -> list[int]:
    return sorted({positive(part.strip()) for part in text.split(",")})


def servers(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if strange := [name for name in names if name not in SERVERS]:
        raise argparse.ArgumentTypeError(f"{', '.join(strange)} is none of {', '.join(SERVERS)}")
    return names


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command.options(__doc__)
    parser.add_argument("--clients", type=counts, default=list(CLIENTS), help="how many, ascending")
    parser.add_argument("--servers", type=servers, default=list(SERVERS), help=f"some of {','.join(SERVERS)}")
    chosen = parser.parse_args(given)
    chosen.warm, chosen.settle = WARM_CALLS, SETTLE_S
    if chosen.quick:
        chosen.clients, chosen.warm, chosen.settle = [5, 20], 50, 0.1
    return chosen


def wrong(found: dict[str, Any]) -> bool:
    return any(one["wrong"] for one in found["rows"])


def main() -> int:
    return command.run(idle, parsed(), text=text, wrong=wrong)


if __name__ == "__main__":
    sys.exit(main())
