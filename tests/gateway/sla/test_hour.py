"""One hour through a real gateway: what its callers, its access log, its ledger and its report say is the same.

The clock is virtual, everything else is real: processes, sockets, a kill, files. In the hour an upstream of ours is
away, the gateway is killed, a vendor's upstream is away, there is announced maintenance, and a tenant exceeds a limit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.ledger.cells import CLASSES
from gateway.ledger.database import Database
from gateway.ledger.shipping import shipper
from gateway.ledger.store import Store
from gateway.mock_upstream import MockUpstream
from tests.gateway.assembly import parsed
from tests.gateway.ledger.recording import SECOND
from tests.gateway.processes import ROOT
from tests.middleware.harness import VirtualClock
from tests.wire.harness import raw_exchange

START_S = 1_791_198_000  # 2026-10-05T11:00:00Z, a whole hour
STEP_S = 20
TENANTS = ("acme", "globex", "initech")
POLICY = """
version: 1
auth: {{keys: {{headers: [x-api-key]}}}}
tiers:
  wide: {{limits: {{minute: 600/min}}}}
  narrow: {{limits: {{minute: 12/min}}}}
upstreams:
  crm: {{url: "http://127.0.0.1:{crm}"}}
  vendor: {{url: "http://127.0.0.1:{vendor}", owner: third_party}}
routes:
  crm: {{match: {{path: "/crm/{{rest:path}}"}}, upstream: crm}}
  vendor: {{match: {{path: "/vendor/{{rest:path}}"}}, upstream: vendor}}
tenants:
  acme: {{tier: wide, keys: [{{id: k, sha256: {acme}}}]}}
  globex: {{tier: narrow, keys: [{{id: k, sha256: {globex}}}]}}
  initech: {{tier: wide, keys: [{{id: k, sha256: {initech}}}]}}
"""

pytestmark = pytest.mark.anyio


@dataclass
class Hour:
    """The hour as it goes by. ``heard`` counts what callers heard, by minute, tenant, group and status."""

    home: Path
    clock: VirtualClock
    crm: MockUpstream
    vendor: MockUpstream
    heard: Counter[tuple[int, str, str, int]] = field(default_factory=Counter)
    _process: asyncio.subprocess.Process | None = None
    _port: int = 0
    _recorded: int = 0
    _lines_before: int = 0

    @property
    def minute(self) -> int:
        return (self.clock.wall // SECOND - START_S) // 60

    async def start(self, boot: str) -> None:
        self._lines_before = len(self.lines())
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.gateway.sla.hour", str(self.home), str(self.clock.wall), boot,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=ROOT,
        )  # fmt: skip
        self._port = int(await self._answer())

    async def _answer(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        async with asyncio.timeout(20):
            line = await self._process.stdout.readline()
        assert line, "the gateway ended"
        return line

    async def advance(self, seconds: int) -> None:
        """The clock goes on, here and, where there is one, in the gateway."""
        self.clock.advance(seconds * SECOND)
        if self._process is not None:
            assert self._process.stdin is not None
            self._process.stdin.write(b"%d\n" % (seconds * SECOND))
            self._recorded = int(await self._answer())

    async def kill(self) -> None:
        """With calls in flight, of which nobody will ever know, and the log as far as the ledger."""
        assert self._process is not None
        async with asyncio.timeout(10):
            while len(self.lines()) - self._lines_before < self._recorded:
                await asyncio.sleep(0.01)
        lost = [asyncio.create_task(self._exchanged("acme", "/crm/slow=60s")) for _ in range(3)]
        while sum("/slow" in request.target for request in self.crm.requests) < len(lost):
            await asyncio.sleep(0.01)
        self._process.send_signal(signal.SIGKILL)
        await self._process.wait()
        self._process = None
        assert await asyncio.gather(*lost) == [b""] * len(lost)

    async def end(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(20):
            assert await self._process.wait() == 0
        self._process = None

    async def call(self, tenant: str, group: str, times: int = 1) -> None:
        for _ in range(times):
            answer = parsed(await self._exchanged(tenant, f"/{group}/ok"))
            self.heard[self.minute, tenant, group, answer.status] += 1

    async def _exchanged(self, tenant: str, target: str) -> bytes:
        key = f"x-api-key: {tenant}-key\r\n" if tenant else ""
        head = f"GET {target} HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n{key}\r\n"
        return await raw_exchange(self._port, head.encode())

    async def traffic(self) -> None:
        await self.call("acme", "crm", 3)
        await self.call("globex", "crm")
        await self.call("initech", "vendor", 2)
        if self.minute % 5 == 0:
            await self.call("", "crm")

    def lines(self) -> list[bytes]:
        with contextlib.suppress(FileNotFoundError):
            return (self.home / "access.log").read_bytes().splitlines()
        return []

    async def run(self, until: int) -> None:
        """Traffic until minute ``until`` begins."""
        while self.minute < until:
            await self.traffic()
            await self.advance(STEP_S)


@contextlib.asynccontextmanager
async def hour(home: Path) -> AsyncIterator[Hour]:
    async with MockUpstream() as crm, MockUpstream() as vendor:
        keys = {tenant: sha256(f"{tenant}-key".encode()).hexdigest() for tenant in TENANTS}
        (home / "policy").mkdir()
        (home / "policy" / "hour.yaml").write_text(POLICY.format(crm=crm.port, vendor=vendor.port, **keys))
        found = Hour(home, VirtualClock(wall_us=START_S * SECOND), crm, vendor)
        try:
            yield found
        finally:
            if found._process is not None:
                found._process.kill()
                await found._process.wait()


async def lived(hour: Hour) -> None:
    """What happens in it; minutes of the hour."""
    await hour.start("first")
    await hour.run(12)
    await hour.traffic()
    await hour.advance(STEP_S)
    await hour.crm.__aexit__(None, None, None)  # away from 12:20
    await hour.run(18)
    await hour.traffic()
    await hour.advance(STEP_S)
    await hour.crm.__aenter__()  # back from 18:20, on the same port
    await hour.run(25)
    await hour.kill()
    await hour.advance(7 * 60)
    await hour.start("second")
    await hour.run(34)
    await hour.vendor.__aexit__(None, None, None)
    await hour.run(37)
    await hour.vendor.__aenter__()
    await hour.run(41)
    await hour.crm.__aexit__(None, None, None)  # within the maintenance of 40 to 50
    await hour.run(48)
    await hour.crm.__aenter__()
    await hour.run(52)
    await hour.call("globex", "crm", 20)
    await hour.run(60)
    await hour.end()


def logged(lines: list[bytes]) -> Counter[tuple[int, str, str, int]]:
    """The access log in the same form."""
    counted: Counter[tuple[int, str, str, int]] = Counter()
    for line in map(json.loads, lines):
        at_s = datetime.fromisoformat(line["ts"]).timestamp() + line["duration_ms"] / 1_000
        group = line["path"].split("/")[1]
        counted[int(at_s - START_S) // 60, line["tenant"] or "", group, line["status"]] += 1
    return counted


CAUSE = {
    (200, "crm"): "ok", (200, "vendor"): "ok", (401, "crm"): "client_error", (429, "crm"): "own_limit",
    (502, "crm"): "managed_upstream", (502, "vendor"): "third_party",
}  # fmt: skip
"""What an answer means for the SLA where nothing else happens than here."""


def kept(store: Store, tenant: str) -> Counter[tuple[int, str, str]]:
    """The ledger's counts, by minute, group and cause."""
    counted: Counter[tuple[int, str, str]] = Counter()
    for slot_s, group, counters in store.cells(tenant, START_S, START_S + 3600):
        for (_, cause), count in zip(CLASSES, counters, strict=False):
            counted[(slot_s - START_S) // 60, group, cause] += count
    return +counted


async def test_callers_log_ledger_and_report_agree_on_every_count(tmp_path: Path) -> None:
    async with hour(tmp_path) as now:
        await lived(now)
    assert logged(now.lines()) == now.heard
    assert now.heard.total() > 900

    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    carrier = shipper(tmp_path / "spool-0.sqlite", url, now.clock)
    assert carrier.ship()
    carrier.close(5)
    store = Store(Database(url))
    for tenant in ("", *TENANTS):
        heard: Counter[tuple[int, str, str]] = Counter()
        for (minute, whose, group, status), count in now.heard.items():
            if whose == tenant:
                heard[minute, group if tenant else "", CAUSE[status, group]] += count
        assert kept(store, tenant) == heard, tenant
    store.close()
