"""Reading throttling signals: what an ordinary answer costs, and what a throttle does. Targets: 2 us and 25 us.

Run: ``python -m loadtests.bench_throttle``. Every throttle of ``tests/vectors/throttle.json`` is read by the profile of
its host, body included; the figures are CPU time, the best of several rounds each. Exits 1 when a target is missed.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.profiles import built_in
from policies.throttling import GENERIC
from upstreams.throttle import Reader, reader_of
from upstreams.transport import Headers

ORDINARY_US = 2.0
THROTTLE_US = 25.0
ROUNDS = 9
TIMES = 400
VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors" / "throttle.json"
ANSWER: Headers = [
    (b"date", b"Mon, 21 Sep 2026 14:13:20 GMT"), (b"content-type", b"application/json"), (b"content-length", b"512"),
    (b"server", b"upstream"), (b"vary", b"accept-encoding"), (b"cache-control", b"private"), (b"x-request-id", b"a1b2"),
]  # fmt: skip


def cost_us(work: Callable[[], object]) -> float:
    """CPU microseconds of one ``work``."""
    best = float("inf")
    for _ in range(ROUNDS):
        begun = time.process_time_ns()
        for _ in range(TIMES):
            work()
        best = min(best, (time.process_time_ns() - begun) / TIMES / 1000)
    return best


def ordinary_us() -> float:
    """An answer that says nothing: no throttle, no counters."""
    reader = reader_of(GENERIC)
    return cost_us(lambda: reader.read(200, ANSWER, None, 1_790_000_000_000_000))


def throttles() -> dict[str, float]:
    """The cost of each sample throttle, by its id."""
    catalogue, costs = built_in(), {}
    for case in json.loads(VECTORS.read_bytes()):
        if case["expect"]["throttled"]:
            profile = catalogue.of_host(case["request_host"]) or catalogue.by_name.get(case["provider"], GENERIC)
            costs[case["id"]] = throttle_us(reader_of(profile), case)
    return costs


def throttle_us(reader: Reader, case: Mapping[str, Any]) -> float:
    """Reading the answer of one case."""
    response, now_us = case["response"], case["now_unix"] * 1_000_000
    status, body = response["status"], response["body"]
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in response["headers"]]
    content = (body if isinstance(body, str) else json.dumps(body)).encode() if body is not None else None
    return cost_us(lambda: reader.read(status, headers, content, now_us))


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    ordinary = ordinary_us()
    costs = throttles()
    middle, worst = statistics.median(costs.values()), max(costs, key=lambda each: costs[each])
    print(f"an ordinary answer: {ordinary:.2f} us (target {ORDINARY_US:.0f})")
    print(f"a throttle, median of {len(costs)}: {middle:.1f} us (target {THROTTLE_US:.0f})")
    print(f"the dearest, {worst}: {costs[worst]:.1f} us")
    return 0 if ordinary <= ORDINARY_US and middle <= THROTTLE_US else 1


if __name__ == "__main__":
    sys.exit(main())
