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
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from gateway.ledger.cells import CLASSES
from gateway.ledger.database import Database
from gateway.ledger.shipping import shipper
from gateway.ledger.store import Store
from gateway.mock_upstream import MockUpstream
from gateway.policy_files import load
from gateway.sla.ledger import Ledger
from gateway.sla.recording import append
from policies.model import PolicySet
from policies.sla.acts import ANNOUNCE
from policies.sla.agreement import plan_of
from policies.sla.contract import BIND
from policies.sla.export import read, write
from policies.sla.instants import written
from policies.sla.record import monthly
from policies.sla.verification import verification
from tests.gateway.assembly import parsed
from tests.gateway.ledger.recording import SECOND
from tests.gateway.processes import ROOT
from tests.middleware.harness import VirtualClock
from tests.policies import naive_sla
from tests.policies.sla_worlds import POLICY as TERMS
from tests.waiting import eventually
from tests.wire.harness import raw_exchange

START_S = 1_728_298_800
"""2024-10-07T11:00:00Z: of a month that is final on any clock."""
MONTH = "2024-10"
MONTH_S = (1_727_740_800, 1_730_419_200)
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

Calls: TypeAlias = Counter[tuple[int, str, str, int]]
"""Answers, by minute of the hour, tenant, route group and status."""


@dataclass
class Hour:
    """The hour as it goes by. ``heard`` counts what callers heard."""

    home: Path
    clock: VirtualClock
    crm: MockUpstream
    vendor: MockUpstream
    heard: Calls = field(default_factory=Counter)
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
        await eventually(lambda: len(self.lines()) - self._lines_before >= self._recorded, within_s=10)
        lost = [asyncio.create_task(self._exchanged("acme", "/crm/slow=60s")) for _ in range(3)]
        await eventually(lambda: sum("/slow" in request.target for request in self.crm.requests) == len(lost))
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


def logged(lines: list[bytes]) -> Calls:
    """The access log in the same form."""
    counted: Calls = Counter()
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
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    asked(url)
    async with hour(tmp_path) as now:
        await lived(now)
    said = logged(now.lines())
    assert said == now.heard
    assert said.total() > 900

    carrier = shipper(tmp_path / "spool-0.sqlite", url, now.clock)
    assert carrier.ship()
    carrier.close(5)
    ledger = Ledger(Store(Database(url)), plan_of(loaded(tmp_path)))
    with contextlib.closing(ledger):
        for tenant in ("", *TENANTS):
            assert kept(ledger.store, tenant) == causes(said, tenant), tenant
        dark = darkness(ledger.store)
        assert [(start - START_S, end - START_S) for start, end in dark] == [(25 * 60 + 5, 32 * 60)]
        for tenant in TENANTS:
            check_report(ledger, said, dark, tenant)


def asked(url: str) -> None:
    """Maintenance from minute 40 to 50, announced two days and an hour before; contracts of that one hour."""
    database = Database(url)
    database.migrate()
    window = {"id": "m1", "from": written(START_S + 2400), "to": written(START_S + 3000)}
    force = {"from": written(START_S), "to": written(START_S + 3600)}
    append(database, [(ANNOUNCE, window)], "release-manager", lambda: START_S - 49 * 3600)
    append(
        database,
        [(BIND, {"tenant": name, "tier": "wide", **force}) for name in TENANTS],
        "sales",
        lambda: START_S - 48 * 3600,
    )
    database.close()


def loaded(home: Path) -> PolicySet:
    found = load(home / "policy", env={}, secrets_dir=None).policy
    assert found is not None
    return found


def causes(said: Calls, tenant: str) -> Counter[tuple[int, str, str]]:
    """What callers heard, by minute, group and cause; a call without a credential gets no further than the door."""
    counted: Counter[tuple[int, str, str]] = Counter()
    for (minute, whose, group, status), count in said.items():
        if whose == tenant:
            counted[minute, group if tenant else "", CAUSE[status, group]] += count
    return counted


def darkness(store: Store) -> list[tuple[int, int]]:
    """Where nothing lived, second by second."""
    alive = bytearray(3600)
    for intervals in store.alive(START_S, START_S + 3600).values():
        for start, end in intervals:
            alive[start - START_S : end - START_S] = b"\x01" * (end - start)
    edges = [at for at in range(1, 3600) if alive[at] != alive[at - 1]]
    assert alive[0] == alive[-1] == 1
    return [(START_S + start, START_S + end) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def check_report(ledger: Ledger, said: Calls, dark: list[tuple[int, int]], tenant: str) -> None:
    """The record of the ledger's export, against the access log judged second by second."""
    basis = ledger.current(tenant, MONTH, START_S + 60 * 86_400)
    export = read(write(basis))
    verified = verification(export, monthly(basis))
    assert verified.findings == ()
    record = verified.record
    assert record is not None
    counted = Counter[str]()
    for (_, _, cause), count in causes(said, tenant).items():
        counted[cause] += count
    requests = record["requests"]
    assert Counter(ok=requests["good"], **requests["bad"], **requests["ignored"]) == counted
    expected = naive_sla.figure(world(said, dark, tenant))
    shown = record["figure"]
    assert {name: shown[name] for name in SECONDS} == {name: expected[name] for name in SECONDS}
    assert shown["uptime_percent"] == expected["uptime_percent"]
    assert shown["downtime_seconds"] == DOWN_S[tenant]
    assert (shown["excluded_seconds"], shown["judged_seconds"]) == (0 if tenant == "initech" else 420, 3600)


SECONDS = ("gross_downtime_seconds", "excluded_seconds", "downtime_seconds", "degraded_seconds")
DOWN_S = {"acme": 420 + 415, "globex": 420 + 415, "initech": 415}
"""Minutes 12 to 18 and the dark ones. The seven in the maintenance are excluded, a vendor's failure is not ours."""


def world(said: Calls, dark: list[tuple[int, int]], tenant: str) -> dict[str, Any]:
    """The access log as the naive evaluator takes it."""
    maintenance = {
        "type": "scheduled_maintenance",
        "announcements": [{"at": START_S - 49 * 3600, "from": START_S + 2400, "to": START_S + 3000}],
    }
    before, after = (MONTH_S[0] - 86_400, START_S), (START_S + 3600, MONTH_S[1] + 86_400)
    idle = {"good": 0, "failed": {}}
    return {
        "start": MONTH_S[0], "end": MONTH_S[1], "contract": [(START_S, START_S + 3600)], "tenant": tenant,
        "background": idle, "slots": slots(said, (tenant,)),
        "platform_background": idle, "platform_slots": slots(said, ("", *TENANTS)),
        "dark": [before, *dark, after], "exclusions": [maintenance], "policy": TERMS,
    }  # fmt: skip


def slots(said: Calls, tenants: Sequence[str]) -> dict[int, dict[str, Any]]:
    made: dict[int, dict[str, Any]] = {}
    for tenant in tenants:
        for (minute, _, cause), count in causes(said, tenant).items():
            slot = made.setdefault(START_S + minute * 60, {"good": 0, "failed": Counter()})
            if cause == "ok":
                slot["good"] += count
            else:
                slot["failed"][cause] += count
    return made
