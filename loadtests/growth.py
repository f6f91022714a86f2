"""How the CPU of a request grows with tenants, limits and connections, through a real ``tiergate serve``.

    python -m loadtests.growth [--rounds 5] [--seconds 2] [--axes a,b] [--json FILE] [--plot FILE.svg]

One axis after the other. Each point of an axis is a gateway of its own on the policy of ``loadtests/policies/bench``
with one thing changed; the points take turns in every round, and the axis ends with its gateways:

    tenants      1 to 100,000, loaded from a JSON-lines file; each call carries the key of one drawn at random. Before
                 the rounds every tenant calls once, and the cost of those first calls is shown beside
    limits       1 to 8 limits a call, windows and buckets in turn
    connections  50 to 2,000 keep-alive clients, each with one request under way, made before the measurement begins

The figure is user and system time of the gateway's process tree by answers, the median of the rounds; ratios and the
slope of limits are medians of the rounds' own. The load generator runs in a process of its own and costs no figure
anything, but it must not be what saturates: above 90 % of a core that is said. Exits 0; 1 when an answer was wrong;
3 when something could not be started. A goal that is missed is printed and is no failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from loadtests import chart, command, report
from loadtests.closed_loop import tenant_key
from loadtests.command import positive
from loadtests.compare import SETTLE_S
from loadtests.driver import connected, raise_file_limit
from loadtests.instance import NotStarted
from loadtests.measure import Load, cpu_us, median, median_ratio
from loadtests.open_loop import svg_file
from loadtests.peers.peer import Place
from loadtests.peers.tiergate import bench, digest, moved, serving
from loadtests.stage import KEY, Stage, stage
from loadtests.terminal import progress

CONNECTIONS = 50
WARM_CALLS = 2_000
BUSY = 0.9
"""A generator that takes more of a core than this may be what is measured."""
PERIODS = ("min", "5min", "10min", "h")
"""Of the windows, so that no two limits are alike."""

Policy = tuple[dict[str, Any], Iterable[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What grows. ``policy`` makes the policy of a point and the lines of its tenants' file."""

    name: str
    points: Sequence[int]
    quick: Sequence[int]
    policy: Callable[[int, Place], Policy]

    def tenants(self, point: int) -> int:
        return point if self.name == "tenants" else 0

    def connections(self, point: int) -> int:
        return point if self.name == "connections" else CONNECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    load: Load
    cpu_us: int

    @property
    def cost(self) -> float:
        """CPU microseconds a request."""
        return self.cpu_us / max(self.load.requests, 1)

    @property
    def busy(self) -> float:
        """The part of a core that the generator took."""
        return self.load.generator_us / max(self.load.duration_us, 1)


@dataclass(slots=True, kw_only=True)
class Point:
    """One gateway; ``first`` is its warm-up."""

    number: int
    pid: int
    port: int
    first: Round | None = None
    rounds: list[Round] = field(default_factory=list)


def many_tenants(count: int, place: Place) -> Policy:
    policy = moved(bench(), place) | {"tenants": {}, "tenants_from": "tenants.jsonl"}
    return policy, (tenant_line(number + 1) for number in range(count))


def tenant_line(number: int) -> str:
    keys = [{"id": "k", "sha256": digest(tenant_key(number))}]
    return json.dumps({"id": f"tenant-{number}", "tier": "bench", "keys": keys})


def many_limits(count: int, place: Place) -> Policy:
    policy = moved(bench(), place)
    limits = {f"limit-{number + 1}": limit(number) for number in range(count)}
    return policy | {"tiers": policy["tiers"] | {"bench": {"limits": limits}}}, ()


def limit(number: int) -> str | dict[str, Any]:
    """A window, a bucket, a window: none of them is ever reached."""
    if number % 2:
        return {"rate": f"{1_000_000 - number}/s", "burst": 1_000_000}
    return f"{1_000_000_000 - number}/{PERIODS[number // 2 % len(PERIODS)]}"


def many_connections(count: int, place: Place) -> Policy:
    """The usual pool of 100 connections to the upstream, with time to wait for one."""
    policy = moved(bench(), place)
    patient = {name: upstream | {"pool": {"wait": "10s"}} for name, upstream in policy["upstreams"].items()}
    return policy | {"upstreams": patient}, ()


AXES = {
    axis.name: axis
    for axis in (
        Axis(name="tenants", points=(1, 100, 10_000, 100_000), quick=(1, 20), policy=many_tenants),
        Axis(name="limits", points=range(1, 9), quick=(1, 2), policy=many_limits),
        Axis(name="connections", points=(50, 200, 500, 1_000, 2_000), quick=(2, 4), policy=many_connections),
    )
}


class Growth:
    """A run over the chosen axes."""

    def __init__(self, chosen: argparse.Namespace, step: Callable[[float], None]) -> None:
        self.chosen = chosen
        self._step = step
        self._done = 0

    def axis(self, axis: Axis) -> list[Point]:
        """Every point of ``axis`` measured. Raises ``NotStarted``."""
        with stage(f"growth-{axis.name}") as made:
            points = self._started(axis, made)
            for point in points:
                calls = max(point.number if axis.name == "tenants" else 0, self.chosen.warm)
                point.first = self._round(axis, point, ("--calls", str(calls), "--seconds", "120"))
            for _ in range(self.chosen.rounds):
                for point in points:
                    point.rounds.append(self._round(axis, point, ("--seconds", str(self.chosen.seconds))))
        return points

    def _started(self, axis: Axis, made: Stage) -> list[Point]:
        upstream = made.upstream().plain
        points = []
        for number in axis.quick if self.chosen.quick else axis.points:
            place = made.place(f"{axis.name}-{number}", upstream)
            key = tenant_key(1) if axis.tenants(number) else KEY
            pid, _ = made.start(serving(place, *axis.policy(number, place)), place, key=key)
            points.append(Point(number=number, pid=pid, port=place.port))
            self._advance()
        return points

    def _round(self, axis: Axis, point: Point, until: Sequence[str]) -> Round:
        count = axis.tenants(point.number)
        who = ("--tenants", str(count)) if count else ("--key", KEY)
        with connected(point.port, axis.connections(point.number), who, until) as run:
            before = cpu_us(point.pid)
            load = run()
            time.sleep(self.chosen.settle)
            found = Round(load=load, cpu_us=cpu_us(point.pid) - before)
        if not load.requests:
            raise NotStarted(f"the gateway with {point.number} {axis.name} answers no more")
        self._advance()
        return found

    def _advance(self) -> None:
        self._done += 1
        self._step(self._done)


def steps(chosen: argparse.Namespace) -> int:
    """How many times a run advances its bar."""
    points = [len(axis.quick if chosen.quick else axis.points) for axis in chosen.axes]
    return sum(points) * int(chosen.rounds + 2)


def summed_up(points: Sequence[Point]) -> list[dict[str, Any]]:
    """A row for each point; ratios to the first one."""
    costs = [[one.cost for one in point.rounds] for point in points]
    return [
        {
            "point": point.number,
            "cpu_us_per_request": round(median(own), 2),
            "lowest": round(min(own), 2),
            "highest": round(max(own), 2),
            "ratio": round(median_ratio(own, costs[0]), 3),
            "first_calls_us": round(point.first.cost, 2) if point.first else None,
            "requests_per_s": round(median(one.load.requests / one.load.duration_us * 1e6 for one in point.rounds)),
            "requests": sum(one.load.requests for one in point.rounds),
            "wrong_answers": sum(one.load.failed + one.load.not_2xx for one in (*point.rounds, point.first) if one),
            "generator_busy": round(max(one.busy for one in point.rounds), 2),
        }
        for point, own in zip(points, costs, strict=True)
    ]


def slope(points: Sequence[Point]) -> float:
    """Microseconds that one more costs: the least-squares line through each round, and the median of the rounds."""
    rounds = zip(*([one.cost for one in point.rounds] for point in points), strict=True)
    return median(line(points, costs) for costs in rounds)


def slope_of_lowest(points: Sequence[Point]) -> float:
    """The same of each point's lowest round: what a busy machine adds is never negative."""
    return line(points, [min(one.cost for one in point.rounds) for point in points])


def line(points: Sequence[Point], costs: Sequence[float]) -> float:
    """The slope of the least-squares line."""
    middle = sum(point.number for point in points) / len(points)
    offsets = [point.number - middle for point in points]
    spread = sum(offset**2 for offset in offsets)
    return sum(offset * cost for offset, cost in zip(offsets, costs, strict=True)) / max(spread, 1e-9)


def goals(axis: str, rows: Sequence[dict[str, Any]], points: Sequence[Point]) -> list[dict[str, Any]]:
    """What DESIGN §13 and the issue promise."""
    if axis == "limits":
        return [report.goal("us of one more limit", round(slope(points), 2), at_most=1.5)]
    worst = max(row["ratio"] for row in rows)
    if axis == "tenants":
        return [report.goal("CPU of a request, any number of tenants to one", worst, at_most=1.1)]
    return [report.goal(f"CPU of a request, any number of connections to {rows[0]['point']}", worst, at_most=1.3)]


COLUMNS = (
    ("CPU us/request", "cpu_us_per_request"),
    ("lowest", "lowest"),
    ("highest", "highest"),
    ("to the first", "ratio"),
    ("first calls, us", "first_calls_us"),
    ("requests/s", "requests_per_s"),
    ("generator", "generator_busy"),
)


def text(found: dict[str, Any]) -> str:
    """The run for people."""
    lines: list[str] = []
    for name, axis in found["axes"].items():
        lines += [*report.grid(((name, "point"), *COLUMNS), axis["points"]), ""]
    for axis in found["axes"].values():
        lines += report.verdicts(axis["goals"])
        if "slope_of_lowest_us" in axis:
            lines.append(f"us of one more limit by the lowest rounds: {axis['slope_of_lowest_us']}")
    for name, axis in found["axes"].items():
        for row in axis["points"]:
            if row["wrong_answers"]:
                lines.append(f"WRONG: {name} {row['point']:,}: {row['wrong_answers']:,} wrong or missing answers")
            if row["generator_busy"] > BUSY:
                lines.append(f"the generator was busy: {name} {row['point']:,}: {row['generator_busy']:.0%} of a core")
    return "\n".join(lines)


AT_MOST: dict[str, Callable[[float, float], float]] = {
    "tenants": lambda first, more: first * 1.1,
    "limits": lambda first, more: first + 1.5 * more,
    "connections": lambda first, more: first * 1.3,
}
"""The goal as a curve: from the first point's cost, and how many more than that one."""


def plot(found: dict[str, Any]) -> str:
    """A panel for each axis: the median of the rounds, the lowest and highest, and the goal."""
    return chart.svg(
        "How the CPU of a request grows", [_panel(name, axis["points"]) for name, axis in found["axes"].items()]
    )


def _panel(axis: str, rows: Sequence[dict[str, Any]]) -> chart.Panel:
    first = rows[0]
    bounds = [AT_MOST[axis](first["cpu_us_per_request"], row["point"] - first["point"]) for row in rows]
    curves = {
        "median": [row["cpu_us_per_request"] for row in rows],
        "lowest": [row["lowest"] for row in rows],
        "highest": [row["highest"] for row in rows],
        "at most": bounds,
    }
    lines = [
        chart.Line(name=name, points=[(row["point"], cost) for row, cost in zip(rows, costs, strict=True)])
        for name, costs in curves.items()
    ]
    marks = [row["point"] for row in rows]
    return chart.Panel(
        title=f"By {axis}", x=axis, y="CPU us a request", lines=lines, log_x=axis != "limits", marks=marks
    )


def grow(chosen: argparse.Namespace) -> dict[str, Any]:
    """Measure the chosen axes. Raises ``NotStarted`` and ``OSError``."""
    axes: dict[str, Any] = {}
    with progress("growing", steps(chosen)) as step:
        run = Growth(chosen, step)
        for axis in chosen.axes:
            points = run.axis(axis)
            rows = summed_up(points)
            axes[axis.name] = {"points": rows, "goals": goals(axis.name, rows, points)}
            if axis.name == "limits":
                axes[axis.name]["slope_of_lowest_us"] = round(slope_of_lowest(points), 2)
    return {"machine": report.machine(), "rounds": chosen.rounds, "seconds": chosen.seconds, "axes": axes}


def axes_of(names: str) -> list[Axis]:
    chosen = [name.strip() for name in names.split(",") if name.strip()]
    strange = [name for name in chosen if name not in AXES]
    if strange or not chosen:
        raise argparse.ArgumentTypeError(f"{', '.join(strange) or 'nothing'} is none of {', '.join(AXES)}")
    return [axis for name, axis in AXES.items() if name in chosen]


def arguments() -> argparse.ArgumentParser:
    parser = command.options(__doc__)
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one round of one point")
    parser.add_argument("--axes", type=axes_of, default=list(AXES.values()), help=f"some of {','.join(AXES)}")
    parser.add_argument("--plot", type=svg_file, metavar="FILE.svg")
    return parser


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    chosen = arguments().parse_args(given)
    chosen.warm, chosen.settle = WARM_CALLS, SETTLE_S
    if chosen.quick:
        chosen.rounds, chosen.seconds, chosen.warm, chosen.settle = 1, 0.2, 20, 0.1
    return chosen


def wrong(found: dict[str, Any]) -> bool:
    return any(row["wrong_answers"] for axis in found["axes"].values() for row in axis["points"])


def main() -> int:
    chosen = parsed()
    raise_file_limit(max(AXES["connections"].points))
    return command.run(grow, chosen, text=text, wrong=wrong, plot=plot)


if __name__ == "__main__":
    sys.exit(main())
