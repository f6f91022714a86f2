"""Loading 100,000 tenants from a JSON-lines file. Targets: 5 s, and 1 KiB kept for each.

Run: ``python -m loadtests.bench_tenants``. Time and memory are measured in processes of their own, because
``tracemalloc`` slows what it measures. Exits 1 when a target is missed.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

TENANTS = 100_000
TARGET_S = 5.0
TARGET_BYTES = 1024
RUNS = 3
ROOT = Path(__file__).resolve().parent.parent
SERVICE = """\
store: {url: "memory://"}
tiers:
  basic: {limits: {minute: 60/min, day: 5_000/day, parallel: {concurrent: 5}}}
  standard: {extends: basic, limits: {minute: 600/min}}
upstreams:
  origin: {url: http://127.0.0.1:9000}
routes:
  items: {match: {path: "/items/{rest:path}"}, upstream: origin}
tenants_from: tenants.jsonl
"""


def tenant(number: int) -> str:
    """One in ten has a second key, one in ten a limit of its own."""
    digest = hashlib.sha256(f"bench-{number}".encode()).hexdigest()
    keys = [{"id": "k1", "sha256": digest, "expires": "2027-01-01"}]
    if number % 10 == 1:
        keys.append({"id": "k2", "sha256": hashlib.sha256(f"second-{number}".encode()).hexdigest()})
    line: dict[str, object] = {"id": f"tenant-{number:06}", "tier": ("basic", "standard")[number % 2], "keys": keys}
    if number % 10 == 2:
        line["limits"] = {"minute": f"{60 + number % 70}/min"}
    return json.dumps(line)


def write_set(directory: Path) -> None:
    (directory / "service.yaml").write_text(SERVICE)
    with (directory / "tenants.jsonl").open("w") as file:
        file.writelines(tenant(number) + "\n" for number in range(TENANTS))


def measure(directory: Path, *, memory: bool) -> float:
    """Seconds of one load, or bytes kept per tenant."""
    from gateway.policy_files import load

    small = load(ROOT / "policies" / "examples" / "demo", env={}, secrets_dir=None)  # everything is imported and warm
    assert small.policy is not None
    gc.collect()
    if memory:
        tracemalloc.start()
    started = time.perf_counter()
    loaded = load(directory, env={}, secrets_dir=None)
    seconds = time.perf_counter() - started
    assert loaded.policy is not None, loaded.findings[:3]
    assert len(loaded.policy.tenants) == TENANTS
    if not memory:
        return seconds
    gc.collect()
    return tracemalloc.get_traced_memory()[0] / TENANTS


def in_process(directory: Path, kind: str) -> float:
    command = [sys.executable, "-m", "loadtests.bench_tenants", kind, str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    if len(sys.argv) == 3:
        print(measure(Path(sys.argv[2]), memory=sys.argv[1] == "memory"))
        return 0
    with tempfile.TemporaryDirectory() as name:
        write_set(Path(name))
        seconds = [in_process(Path(name), "time") for _ in range(RUNS)]
        size = in_process(Path(name), "memory")
    print("  " + ", ".join(f"{value:.2f} s" for value in seconds))
    print(f"{TENANTS} JSON-lines tenants: {min(seconds):.2f} s (target {TARGET_S} s)")
    print(f"kept for each: {size:.0f} bytes (target {TARGET_BYTES})")
    print(f"machine: {os.cpu_count()} CPUs, {platform.machine()}, CPython {platform.python_version()}")
    return 0 if min(seconds) <= TARGET_S and size <= TARGET_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
