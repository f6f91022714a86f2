"""CPU microseconds of the gateway for each request, admitted and refused, through real sockets.

    python -m loadtests.bench_request [--calls 3000] [--connections 50] [--rounds 3]

Starts the real gateway and the mock upstream on loopback, drives them closed-loop over keep-alive connections,
and divides the gateway's user and system time (the whole process tree, from /proc) by the answers. Steer by the
ratio of interleaved rounds; wall times on a shared machine are noise.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

POLICY = """
version: 1
server: {{listen: "127.0.0.1:{port}", admin: "127.0.0.1:{admin}"}}
tiers:
  wide:
    limits:
      minute: 100_000_000/min
      surge: {{rate: 1_000_000/s, burst: 1_000_000}}
      parallel: {{concurrent: 10_000}}
  shut: {{limits: {{hour: 1/h}}}}
upstreams:
  origin: {{url: "http://127.0.0.1:{origin}"}}
routes:
  any: {{match: {{path: "/{{rest:path}}"}}, upstream: origin}}
tenants:
  wide: {{tier: wide, keys: [{{id: k, sha256: {wide}, demo: true}}]}}
  shut: {{tier: shut, keys: [{{id: k, sha256: {shut}, demo: true}}]}}
"""
TICKS = os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tree(pid: int) -> list[int]:
    """``pid`` and every process below it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(found for child in children for found in tree(int(child)))]


def cpu_us(pid: int) -> float:
    """User and system time of the process tree so far."""
    fields = [Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split() for one in tree(pid)]
    return sum(int(stat[11]) + int(stat[12]) for stat in fields) / TICKS * 1e6


async def drive(port: int, key: str, calls: int, connections: int) -> dict[int, int]:
    """``calls`` requests over ``connections`` keep-alive connections; how many answers of each status."""
    request = f"GET /bench HTTP/1.1\r\nhost: bench\r\nx-api-key: {key}\r\n\r\n".encode()
    statuses: dict[int, int] = {}

    async def one(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(share):
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            await reader.readexactly(length)
            status = int(head[9:12])
            statuses[status] = statuses.get(status, 0) + 1
        writer.close()

    await asyncio.gather(*(one(calls // connections) for _ in range(connections)))
    return statuses


async def await_port(port: int, process: subprocess.Popen[bytes]) -> None:
    async with asyncio.timeout(30):
        while process.poll() is None:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            return
    raise RuntimeError(f"nothing listens on {port}")


async def measure(chosen: argparse.Namespace, gateway: subprocess.Popen[bytes], port: int) -> None:
    await drive(port, "shut", chosen.connections, chosen.connections)
    for round_number in range(chosen.rounds):
        for label, key in (("admitted", "wide"), ("refused", "shut")):
            before, started = cpu_us(gateway.pid), time.perf_counter()
            statuses = await drive(port, key, chosen.calls, chosen.connections)
            spent, wall = cpu_us(gateway.pid) - before, time.perf_counter() - started
            answers = sum(statuses.values())
            print(
                f"round {round_number + 1}, {label}: {spent / answers:,.0f} us of CPU a request, "
                f"{answers / wall:,.0f} requests/s, statuses {statuses}",
                flush=True,
            )


def main() -> int:
    from hashlib import sha256

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--calls", type=int, default=3_000)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    port, admin, origin = free_port(), free_port(), free_port()
    keys = {name: sha256(name.encode()).hexdigest() for name in ("wide", "shut")}
    with tempfile.TemporaryDirectory() as folder:
        policies = Path(folder) / "policies"
        policies.mkdir()
        (policies / "bench.yaml").write_text(POLICY.format(port=port, admin=admin, origin=origin, **keys))
        env = {**os.environ, "TIERGATE_STATE_DIR": f"{folder}/state", "TIERGATE_ACCESS_LOG": f"{folder}/access.log"}
        command = [sys.executable, "-m", "gateway.cli"]
        mock = subprocess.Popen([*command, "mock", "upstream", "--port", str(origin)], env=env)
        gateway = subprocess.Popen([*command, "serve", "--policies", str(policies)], env=env)
        try:
            asyncio.run(await_port(origin, mock))
            asyncio.run(await_port(port, gateway))
            asyncio.run(measure(chosen, gateway, port))
        finally:
            for process in (gateway, mock):
                process.terminate()
            for process in (gateway, mock):
                process.wait(timeout=30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
