"""What the gateway adds to a call's latency at half of the load that it can carry.

    python -m loadtests.latency [--rounds 5] [--seconds 6] [--share 0.5] [--rate N] [--poisson] [--json FILE]

First the gateway's capacity: a short closed-loop run over 50 connections. Then, in turns, an open loop at ``--share``
of that rate (or at ``--rate``) straight to the upstream and through the gateway. A call is sent when its time has
come, and its latency counts from that intended moment, whatever became of earlier calls (no coordinated omission).
What is added is the difference of the two percentiles of a round; printed are medians over the rounds.

Client, gateway and upstream share the machine, and the client's own lateness is in both sides: it is printed, and
above 1 ms at p99 the machine was too busy to judge a p99 by. Exits 0; 1 when an answer was wrong or missing; 3 when
something could not be started. A goal that is missed is printed and is no failure.
"""

from __future__ import annotations

import argparse
import gc
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from loadtests import command, report
from loadtests.arrivals.client import Call, Client, schedule
from loadtests.arrivals.origin import now_us
from loadtests.closed_loop import request
from loadtests.command import positive
from loadtests.driver import closed_loop
from loadtests.instance import NotStarted
from loadtests.measure import median, percentile
from loadtests.open_loop import LEAD_US
from loadtests.peers.tiergate import launch
from loadtests.stage import KEY, stage
from loadtests.terminal import progress

CONNECTIONS = 50
CAPACITY_CALLS = 10_000
WARM_CALLS = 2_000
SETTLE_US = 500_000
"""Calls of the first half second open the connections, and are left out."""
LATE_US = 1_000
DIRECT, THROUGH = "direct", "through"
PERCENTILES = (50, 90, 99)
AT_MOST_MS = {50: 1.0, 99: 5.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """Latencies and the client's own lateness in microseconds, ascending; ``wrong`` calls were not answered 200."""

    latencies_us: Sequence[int]
    late_us: Sequence[int]
    wrong: int


async def open_loop(port: int, rate: float, seconds: float, *, poisson: bool, seed: int) -> Round:
    """One round on ``port``. Raises nothing for calls that fail: they are counted."""
    asked = request(KEY)
    client = Client("127.0.0.1", port, lambda call: asked)
    start = now_us() + LEAD_US
    times = schedule(rate, seconds + SETTLE_US / 1e6, 1, poisson=poisson, seed=seed)
    calls = [Call(number, 0, start + at) for number, (at, _) in enumerate(times)]
    try:
        await client.run(calls, lambda done: None)
    finally:
        client.close()
    return seen([call for call in calls if call.intended_us >= start + SETTLE_US])


def seen(calls: Sequence[Call]) -> Round:
    good = [call for call in calls if call.status == 200]
    return Round(
        latencies_us=sorted(call.latency_us for call in good),
        late_us=sorted(call.sent_us - call.intended_us for call in calls if call.sent_us),
        wrong=len(calls) - len(good),
    )


def capacity(port: int, calls: int) -> float:
    """Requests a second that the gateway answers when it is asked for as many as it can. Raises ``NotStarted``."""
    closed_loop(port, KEY, CONNECTIONS, ("--calls", str(min(calls, WARM_CALLS))))
    load = closed_loop(port, KEY, CONNECTIONS, ("--calls", str(calls)))
    if not load.requests:
        raise NotStarted("the gateway answers nothing")
    return load.requests / load.duration_us * 1_000_000


def measure(chosen: argparse.Namespace, ports: dict[str, int], rate: float, step: Callable[[float], None]) -> Rounds:
    """A round to each side before the measured ones, then the rounds."""
    found: Rounds = {side: [] for side in ports}
    for number in range(chosen.rounds + 1):
        for side, port in ports.items():
            seconds = chosen.seconds if number else min(chosen.seconds, 1.0)
            one = uvloop.run(open_loop(port, rate, seconds, poisson=chosen.poisson, seed=number))
            if number:
                found[side].append(one)
                step(sum(map(len, found.values())))
    return found


Rounds = dict[str, list[Round]]


def summed_up(rounds: Rounds) -> dict[str, Any]:
    """Percentiles of each side in milliseconds, and what lies between them; medians of the rounds."""
    found: dict[str, Any] = {side: _side(own) for side, own in rounds.items()}
    pairs = list(zip(rounds[DIRECT], rounds[THROUGH], strict=True))
    added = {
        f"p{part}_ms": _ms(median(_at(through, part) - _at(direct, part) for direct, through in pairs))
        for part in PERCENTILES
    }
    return found | {"added": added}


def _side(rounds: Sequence[Round]) -> dict[str, Any]:
    return {f"p{part}_ms": _ms(median(_at(one, part) for one in rounds)) for part in PERCENTILES} | {
        "late_p99_ms": _ms(median(percentile(one.late_us, 99) for one in rounds)),
        "calls": sum(len(one.latencies_us) for one in rounds),
        "wrong": sum(one.wrong for one in rounds),
        "rounds": [{f"p{part}_ms": _ms(_at(one, part)) for part in PERCENTILES} for one in rounds],
    }


def _at(one: Round, part: int) -> int:
    return percentile(one.latencies_us, part)


def _ms(us: float) -> float:
    return round(us / 1_000, 3)


COLUMNS = (
    ("", "side"),
    ("p50 ms", "p50_ms"),
    ("p90 ms", "p90_ms"),
    ("p99 ms", "p99_ms"),
    ("client late, p99 ms", "late_p99_ms"),
    ("calls", "calls"),
)


def text(found: dict[str, Any]) -> str:
    """The run for people."""
    rows = [{"late_p99_ms": None, "calls": None, "side": side, **found[side]} for side in (DIRECT, THROUGH, "added")]
    lines = [
        f"capacity {found['capacity']:,.0f} requests/s over {CONNECTIONS} connections, driven at {found['rate']:,.0f}",
        "",
        *report.grid(COLUMNS, rows),
        "",
        *report.verdicts(found["goals"]),
    ]
    for side in (DIRECT, THROUGH):
        if found[side]["late_p99_ms"] > LATE_US / 1_000:
            lines.append(f"{side}: this machine did not keep the schedule, and the percentiles contain that")
        if found[side]["wrong"]:
            lines.append(f"WRONG: {side}: {found[side]['wrong']:,} calls were not answered 200")
    return "\n".join(lines)


def latency(chosen: argparse.Namespace) -> dict[str, Any]:
    """Start, measure, sum up. Raises ``NotStarted`` and ``OSError``."""
    with stage("latency") as made, progress("open loop", chosen.rounds * 2, still=True) as step:
        upstream = made.upstream().plain
        place = made.place("tiergate", upstream)
        made.start(launch(place), place)
        most = capacity(place.port, chosen.calls)
        rate = chosen.rate or most * chosen.share
        rounds = measure(chosen, {DIRECT: upstream, THROUGH: place.port}, rate, step)
    found = summed_up(rounds)
    goals = [
        report.goal(f"ms added at p{part}", found["added"][f"p{part}_ms"], at_most=most_ms)
        for part, most_ms in AT_MOST_MS.items()
    ]
    given = {
        "rounds": chosen.rounds,
        "seconds": chosen.seconds,
        "arrivals": "poisson" if chosen.poisson else "constant",
    }
    return {"machine": report.machine(), **given, "capacity": round(most), "rate": round(rate), **found, "goals": goals}


def share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and at most 1")
    return value


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command.options(__doc__)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=6.0, help="of one round of one side")
    parser.add_argument("--share", type=share, default=0.5, help="of the capacity")
    parser.add_argument("--rate", type=positive, help="calls a second, instead of a share of the capacity")
    parser.add_argument("--poisson", action="store_true", help="exponential gaps instead of equal ones")
    chosen = parser.parse_args(given)
    chosen.calls = CAPACITY_CALLS
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.rate, chosen.calls = 1, 0.3, 100, 100
    return chosen


def wrong(found: dict[str, Any]) -> bool:
    return any(found[side]["wrong"] or not found[side]["calls"] for side in (DIRECT, THROUGH))


def main() -> int:
    gc.disable()  # a pause of the client would be charged to whoever it asks
    return command.run(latency, parsed(), text=text, wrong=wrong)


if __name__ == "__main__":
    sys.exit(main())
