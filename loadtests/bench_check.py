"""``tiergate check`` of 5,000 YAML tenants: wall time of the whole process, start included. Target: 1.5 s.

Run: ``python -m loadtests.bench_check``. Prints every run; the figure is the best, because on a shared machine the
others measure the neighbours. Exits 1 when the target is missed.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TENANTS = 5_000
TARGET_S = 1.5
RUNS = 7
ROOT = Path(__file__).resolve().parent.parent
PROGRAM = """
import os, sys
from pathlib import Path
from gateway.check import run_check
sys.exit(run_check(Path(sys.argv[1]), "text", sys.stdout, os.environ))
"""
SERVICE = """\
store: {url: "memory://"}
tiers:
  basic: {limits: {minute: 60/min, day: 5_000/day, parallel: {concurrent: 5}}}
upstreams:
  origin: {url: http://127.0.0.1:9000}
routes:
  items: {match: {path: "/items/{rest:path}"}, upstream: origin}
"""


def tenant(number: int) -> str:
    digest = hashlib.sha256(f"bench-{number}".encode()).hexdigest()
    key = f"{{id: k1, sha256: {digest}, expires: 2027-01-01}}"
    own = f"\n    limits: {{minute: {60 + number % 40}/min}}" if number % 4 == 0 else ""
    return f"  tenant-{number:05}:\n    tier: basic\n    keys: [{key}]{own}\n"


def write_set(directory: Path) -> None:
    (directory / "service.yaml").write_text(SERVICE)
    (directory / "tenants.yaml").write_text("tenants:\n" + "".join(tenant(number) for number in range(TENANTS)))


def run_once(directory: Path) -> tuple[float, float]:
    """Wall and CPU seconds of one process."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(directory)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    wall, after = time.perf_counter() - started, os.times()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 1 warning in 2 files" in done.stdout, done.stdout
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


def main() -> int:
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        return 0
    with tempfile.TemporaryDirectory() as name:
        write_set(Path(name))
        run_once(Path(name))
        runs = [run_once(Path(name)) for _ in range(RUNS)]
    for wall, cpu in runs:
        print(f"  {wall:.2f} s wall, {cpu:.2f} s CPU")
    best = min(wall for wall, _ in runs)
    print(f"tiergate check, {TENANTS} YAML tenants: {best:.2f} s (target {TARGET_S} s)")
    print(f"machine: {os.cpu_count()} CPUs, {platform.machine()}, CPython {platform.python_version()}")
    return 0 if best <= TARGET_S else 1


if __name__ == "__main__":
    sys.exit(main())
