"""How fast large bodies pass, and what they cost: Tiergate beside Envoy, nginx and the bare engine.

    python -m loadtests.bodies [--rounds 5] [--seconds 2] [--size 10000000] [--connections 4] [--peers a,b]

One origin (``loadtests.transfer``) behind every peer. In each round each peer in turn answers downloads, then takes
uploads, over keep-alive connections; every body must arrive whole. Printed are medians over the rounds: throughput,
and CPU of the peer's process tree by megabyte (10^6 octets); ratios to Envoy are medians of the rounds' own; the peak
is the most memory its processes ever had, which no size of a body may move (``--size 2000000000``). Client and origin
take part of the same cores, so throughput is a figure to compare and not to quote. Exits 0; 1 when a body did not
pass whole; 3 when something could not be started. A goal that is missed is printed and is no failure.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loadtests import command, report
from loadtests.command import positive
from loadtests.compare import SETTLE_S, peers_of
from loadtests.measure import cpu_us, median, median_ratio, peak
from loadtests.peers.catalogue import PEERS
from loadtests.peers.peer import Launch
from loadtests.stage import Stage, stage
from loadtests.terminal import progress
from loadtests.transfer import DIRECTIONS, SIZE, Moved, move

MEASURED = ("nginx", "envoy", "bare-engine", "tiergate")
AGAINST = "envoy"
AT_LEAST = 0.8
MIB = 1 << 20
QUICK_SIZE = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    moved: Moved
    cpu_us: int
    peak: int

    @property
    def us_per_mb(self) -> float:
        return self.cpu_us / max(self.moved.octets / 1e6, 1e-9)


@dataclass(slots=True, kw_only=True)
class Peer:
    """One running peer and its rounds in each direction."""

    name: str
    pid: int
    port: int
    rounds: dict[str, list[Round]] = field(default_factory=lambda: {direction: [] for direction in DIRECTIONS})


def started(names: Sequence[str], size: int, made: Stage) -> tuple[list[Peer], dict[str, str]]:
    """The origin and every peer in front of it; what is missing, with the reason. Raises ``NotStarted``."""
    place = made.place("origin", 0)
    command = (sys.executable, "-m", "loadtests.transfer", "--port", str(place.port), "--size", str(size))
    made.start(Launch(command=command), place)
    missing = {name: reason for name in names if (reason := PEERS[name].missing())}
    peers = []
    for name in names:
        if name not in missing:
            own = made.place(name, place.port)
            pid, _ = made.start(PEERS[name].launch(own), own)
            peers.append(Peer(name=name, pid=pid, port=own.port))
    return peers, missing


def measure(chosen: argparse.Namespace, peers: Sequence[Peer], step: Callable[[float], None]) -> None:
    """One body each way for each peer, then the rounds: A B C, A B C."""
    for peer in peers:
        for direction in DIRECTIONS:
            move(peer.port, direction, chosen.size, 1, 0)
    done = 0
    for _ in range(chosen.rounds):
        for peer in peers:
            for direction in DIRECTIONS:
                before = cpu_us(peer.pid)
                moved = move(peer.port, direction, chosen.size, chosen.connections, chosen.seconds)
                time.sleep(chosen.settle)
                used = cpu_us(peer.pid) - before
                peer.rounds[direction].append(Round(moved=moved, cpu_us=used, peak=peak(peer.pid)))
                done += 1
                step(done)


def summed_up(peers: Sequence[Peer]) -> list[dict[str, Any]]:
    """A row for each peer and direction."""
    against = next((peer for peer in peers if peer.name == AGAINST), None)
    return [_row(peer, direction, against) for direction in DIRECTIONS for peer in peers]


def _row(peer: Peer, direction: str, against: Peer | None) -> dict[str, Any]:
    rounds = peer.rounds[direction]
    speeds = [one.moved.mb_per_s for one in rounds]
    theirs = [one.moved.mb_per_s for one in against.rounds[direction]] if against else []
    ratio = round(median_ratio(speeds, theirs), 3) if theirs and all(theirs) else None
    return {
        "peer": peer.name,
        "direction": direction,
        "mb_per_s": round(median(speeds)),
        "lowest": round(min(speeds)),
        "highest": round(max(speeds)),
        "ratio_to_envoy": ratio,
        "cpu_us_per_mb": round(median(one.us_per_mb for one in rounds), 1),
        "peak_mib": round(max(one.peak for one in rounds) / MIB, 1),
        "bodies": sum(one.moved.bodies for one in rounds),
        "failed": sum(one.moved.failed for one in rounds),
        "rounds": [asdict(one) for one in rounds],
    }


COLUMNS = (
    ("peer", "peer"),
    ("direction", "direction"),
    ("MB/s", "mb_per_s"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("to Envoy", "ratio_to_envoy"),
    ("CPU us/MB", "cpu_us_per_mb"),
    ("peak MiB", "peak_mib"),
    ("bodies", "bodies"),
)


def goals(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        report.goal(f"throughput to Envoy, {row['direction']}", row["ratio_to_envoy"], at_least=AT_LEAST)
        for row in rows
        if row["peer"] == "tiergate" and row["ratio_to_envoy"] is not None
    ]


def text(found: dict[str, Any]) -> str:
    """The run for people."""
    lines = [*report.grid(COLUMNS, found["rows"], named=2), "", *report.verdicts(found["goals"])]
    lines += [f"missing: {name}: {reason}" for name, reason in found["missing"].items()]
    for row in found["rows"]:
        if row["failed"] or not row["bodies"]:
            lines.append(f"WRONG: {row['peer']}, {row['direction']}: {row['failed']} bodies did not pass whole")
    return "\n".join(lines)


def bodies(chosen: argparse.Namespace) -> dict[str, Any]:
    """Start, measure, sum up. Raises ``NotStarted`` and ``OSError``."""
    total = chosen.rounds * len(chosen.peers) * len(DIRECTIONS)
    with stage("bodies") as made, progress("moving bodies", total, still=True) as step:
        peers, missing = started(chosen.peers, chosen.size, made)
        measure(chosen, peers, step)
    rows = summed_up(peers)
    given = {name: getattr(chosen, name) for name in ("rounds", "seconds", "size", "connections")}
    return {"machine": report.machine(), **given, "rows": rows, "goals": goals(rows), "missing": missing}


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command.options(__doc__)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round of one peer in one direction")
    parser.add_argument("--size", type=positive, default=SIZE, help="octets of a body")
    parser.add_argument("--connections", type=positive, default=4)
    parser.add_argument("--peers", type=peers_of, default=list(MEASURED), help=f"some of {','.join(PEERS)}")
    chosen = parser.parse_args(given)
    chosen.settle = SETTLE_S
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.size, chosen.settle = 1, 0.1, QUICK_SIZE, 0.0
    return chosen


def wrong(found: dict[str, Any]) -> bool:
    return any(row["failed"] or not row["bodies"] for row in found["rows"])


def main() -> int:
    return command.run(bodies, parsed(), text=text, wrong=wrong)


if __name__ == "__main__":
    sys.exit(main())
