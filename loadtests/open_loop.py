"""Open-loop load that checks the promise: several tenants and tiers at a constant rate, every admitted call counted.

    python -m loadtests.open_loop [--rate 200] [--seconds 20] [--tenants 6] [--poisson] [--plot FILE.svg] [--json FILE]
    python -m loadtests.open_loop --url http://127.0.0.1:8080 [--origin 9001]     a gateway that is already running

Starts a gateway on ``loadtests/policies/open_loop`` and the origin behind it, on loopback, and ends both. A call is
sent when its time has come, whatever became of the earlier ones, and its latency counts from that time. Afterwards
each tenant's calls are held against its limits (``loadtests.arrivals.bounds``), each answer's fields against the
contract (``loadtests.arrivals.answers``), and each tenant waits out one 429 of both spellings. A running gateway must
serve the same policy directory, and nobody else may have used its tenants for ten seconds.

Exits 0; 1 when a check failed, which is printed with its evidence; 3 when something could not be started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from loadtests import chart
from loadtests.arrivals import checks, origin, probe
from loadtests.arrivals.bounds import Span
from loadtests.arrivals.checks import Check
from loadtests.arrivals.client import Call, Client, schedule
from loadtests.arrivals.limits import Tenant, tenants
from loadtests.arrivals.origin import Visits, now_us
from loadtests.instance import NotStarted, await_answer, free_ports, running
from loadtests.measure import percentile
from loadtests.peers.peer import Launch
from loadtests.terminal import buckets, histogram, percentiles, progress

POLICIES = Path(__file__).resolve().parent / "policies" / "open_loop"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
HOLD_MS = 150
"""How long the origin keeps the calls of a tenant with few slots, so that they get in each other's way."""
FEW_SLOTS = 10
LEAD_US = 100_000
LATE_US = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the gateway listens, and on which port it expects its upstream."""

    host: str
    port: int
    origin: int


@dataclass(slots=True, kw_only=True)
class Run:
    """Everything seen."""

    tenants: list[Tenant]
    calls: list[Call]
    visits: Visits
    checks: list[Check]


@contextlib.contextmanager
def gateway(chosen: argparse.Namespace) -> Iterator[Target]:
    """The gateway under test: the one named, else one of our own. Raises ``NotStarted``."""
    if chosen.url:
        host, port = urlsplit(chosen.url).hostname, urlsplit(chosen.url).port
        yield Target(host=host or "127.0.0.1", port=port or 80, origin=chosen.origin)
        return
    port, admin, upstream = free_ports(3)
    with tempfile.TemporaryDirectory(prefix="open-loop-") as name:
        folder = Path(name)
        with running(launch(chosen.serve or chosen.policies, folder, port, admin, upstream), folder) as pid:
            await_answer(pid, port, "/", "", 401, folder)
            yield Target(host="127.0.0.1", port=port, origin=upstream)


def launch(policies: Path, folder: Path, port: int, admin: int, upstream: int) -> Launch:
    """``tiergate serve`` of a copy of the open-loop policy on these ports."""
    env = {
        "TIERGATE_LISTEN": f"127.0.0.1:{port}",
        "TIERGATE_ADMIN": f"127.0.0.1:{admin}",
        "TIERGATE_STATE_DIR": str(folder / "state"),
        "TIERGATE_ACCESS_LOG": str(folder / "access.log"),
        "OPEN_LOOP_ORIGIN_PORT": str(upstream),
    }
    return Launch(command=(sys.executable, "-m", "gateway.cli", "serve", "--policies", str(policies)), env=env)


async def drive(chosen: argparse.Namespace, target: Target, callers: list[Tenant]) -> Run:
    """The main run, then the probes."""
    visits = Visits()
    client = Client(target.host, target.port, lambda call: request(callers[call.tenant], call))
    server = await origin.serve(visits, target.origin)
    try:
        start = now_us() + LEAD_US
        times = schedule(chosen.rate, chosen.seconds, len(callers), poisson=chosen.poisson, seed=chosen.seed)
        calls = [Call(number, tenant, start + at) for number, (at, tenant) in enumerate(times)]
        with progress(f"{chosen.rate:g} calls a second", len(calls)) as step:
            await client.run(calls, step)
        found = checks.every(callers, calls, visits)
        with progress("waiting out one 429 a tenant", len(callers) * len(probe.FIELDS)) as step:
            found += await probe.every(client, callers, len(calls), step)
    finally:
        client.close()
        server.close()
    return Run(tenants=callers, calls=calls, visits=visits, checks=found)


def held(tenant: Tenant) -> bool:
    """Whether the origin keeps this tenant's calls for a while; their latency is not the gateway's."""
    return tenant.slots is not None and tenant.slots.amount < FEW_SLOTS


def request(tenant: Tenant, call: Call) -> bytes:
    hold = f"?hold={HOLD_MS}" if held(tenant) else ""
    return f"GET /open-loop/{call.number}{hold} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {tenant.key}\r\n\r\n".encode()


def summary(run: Run) -> list[dict[str, Any]]:
    """One row for each tenant."""
    rows = []
    for number, tenant in enumerate(run.tenants):
        own = [call for call in run.calls if call.tenant == number]
        spans = [Span(call.sent_us, call.answered_us) for call in own if call.answered_us]
        own_latencies = sorted(call.latency_us for call in own if call.status == 200)
        rows.append({
            "tenant": tenant.name,
            "tier": tenant.tier,
            "sent": len(own),
            "admitted": sum(call.status == 200 for call in own),
            "refused": sum(call.status == 429 for call in own),
            "rates_allow": checks.allows(tenant, spans),
            "p50_ms": percentile(own_latencies, 50) / 1000,
            "p99_ms": percentile(own_latencies, 99) / 1000,
        })  # fmt: skip
    return rows


def latencies(run: Run, status: int) -> list[int]:
    """Microseconds from the intended time; calls that were refused, or that the origin answered at once."""
    slow = {number for number, tenant in enumerate(run.tenants) if status == 200 and held(tenant)}
    return [call.latency_us for call in run.calls if call.status == status and call.tenant not in slow]


def report(run: Run) -> str:
    """The run for people: tenants, latency, what failed."""
    rows = summary(run)
    heads = list(rows[0])
    cells = [
        heads,
        *([f"{value:,}" if isinstance(value, int | float) else value for value in row.values()] for row in rows),
    ]
    widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
    for status, name in ((200, "admitted"), (429, "refused")):
        if found := latencies(run, status):
            lines += ["", f"latency of {name} calls, from the time they were meant to be sent", histogram(found)]
    late = sorted(call.sent_us - call.intended_us for call in run.calls if call.sent_us)
    lines += ["", f"the generator's own lateness: {percentiles(late)}"]
    if percentile(late, 99) > LATE_US:
        lines.append("  (this machine did not keep the schedule: the latencies above contain that)")
    untested = [row["tenant"] for row in rows if not row["refused"]]
    lines += ["", f"never refused in this run: {', '.join(untested) or 'nobody'}"]
    failed = [check for check in run.checks if not check.ok]
    lines += [str(check) for check in failed]
    lines.append(f"{len(run.checks) - len(failed)} of {len(run.checks)} checks hold")
    return "\n".join(lines)


def as_json(chosen: argparse.Namespace, run: Run) -> dict[str, Any]:
    return {
        "rate": chosen.rate,
        "seconds": chosen.seconds,
        "arrivals": "poisson" if chosen.poisson else "constant",
        "tenants": summary(run),
        "latency_us": {
            name: [{"up_to": edge, "calls": count} for edge, count in buckets(latencies(run, status))]
            for status, name in ((200, "admitted"), (429, "refused"))
        },
        "checks": [asdict(check) for check in run.checks],
    }


def plot(chosen: argparse.Namespace, run: Run) -> str:
    """Rates and latency over time, and the histogram."""
    start = run.calls[0].intended_us
    seconds: dict[int, list[Call]] = {}
    for call in run.calls:
        seconds.setdefault((call.intended_us - start) // 1_000_000, []).append(call)
    kinds = {"offered": (200, 429, 0), "admitted": (200,), "refused": (429,)}
    rates = [
        chart.Line(name=name, points=[(at, sum(call.status in kind for call in own)) for at, own in seconds.items()])
        for name, kind in kinds.items()
    ]
    slow = {number for number, tenant in enumerate(run.tenants) if held(tenant)}
    ordered = {
        at: sorted(call.latency_us for call in own if call.answered_us and call.tenant not in slow)
        for at, own in seconds.items()
    }
    latency = [
        chart.Line(name=f"p{part}", points=[(at, percentile(own, part) / 1000) for at, own in ordered.items()])
        for part in (50, 90, 99)
    ]
    bars = [
        chart.Line(
            name=name,
            points=[(edge / 1000, count) for edge, count in buckets(latencies(run, status))],
        )
        for status, name in ((200, "admitted"), (429, "refused"))
    ]
    title = f"Open loop: {chosen.rate:g} calls a second, {len(run.tenants)} tenants"
    return chart.svg(title, [
        chart.Panel(title="Calls", x="seconds", y="a second", lines=rates),
        chart.Panel(title="Latency from the intended time", x="seconds", y="ms", lines=latency),
        chart.Panel(title="Latency", x="ms, up to", y="calls", lines=bars, bars=True, log_x=True),
    ])  # fmt: skip


def svg_file(text: str) -> Path:
    if not text.endswith(".svg"):
        raise argparse.ArgumentTypeError("plots are written as SVG: name a file that ends in .svg")
    return Path(text)


def loopback(text: str) -> str:
    if urlsplit(text).scheme != "http" or urlsplit(text).hostname not in LOOPBACK:
        raise argparse.ArgumentTypeError("only http:// on loopback: this is a load test")
    return text


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rate", type=float, default=200.0, help="calls a second, of all tenants")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--tenants", type=int, default=6, help="how many of the policy's tenants call; one tier each")
    parser.add_argument("--poisson", action="store_true", help="exponential gaps instead of equal ones")
    parser.add_argument("--seed", type=int, default=1, help="of --poisson")
    parser.add_argument("--plot", type=svg_file, metavar="FILE.svg")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--url", type=loopback, help="a gateway that already runs, on loopback")
    parser.add_argument(
        "--origin", type=int, default=9001, help="with --url: the port that its upstream is expected on"
    )
    parser.add_argument("--policies", type=Path, default=POLICIES, help="what the gateway is held to")
    parser.add_argument("--serve", type=Path, help="start the gateway on another directory, to see the checks fail")
    return parser


def main() -> int:
    parser = arguments()
    chosen = parser.parse_args()
    callers = tenants(chosen.policies)
    if not 1 <= chosen.tenants <= len(callers):
        parser.error(f"--tenants: the policy has {len(callers)}")
    if chosen.rate * chosen.seconds < chosen.tenants:
        parser.error("--rate and --seconds: less than one call for each tenant")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        with gateway(chosen) as target:
            run = uvloop.run(drive(chosen, target, callers[: chosen.tenants]))
    except (NotStarted, OSError) as error:
        print(f"open_loop: {error}", file=sys.stderr)
        return 3
    print(report(run))
    write(chosen, run)
    return 0 if all(check.ok for check in run.checks) else 1


def write(chosen: argparse.Namespace, run: Run) -> None:
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(chosen, run), indent=1) + "\n")
    if chosen.plot:
        chosen.plot.write_text(plot(chosen, run))


if __name__ == "__main__":
    sys.exit(main())
