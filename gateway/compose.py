"""A worker's parts, put together in one place: the policy, the stores, the pools, the sinks and the application.

Decides nothing and serves nothing; ``gateway.worker`` runs what is composed here.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gateway import settings as settings_of
from gateway.access_log import AccessLog
from gateway.app import create_app
from gateway.batched import Batched
from gateway.clock import SystemClock
from gateway.credentials import Credentials
from gateway.gate import App
from gateway.last_good import LastGood
from gateway.metrics import Metrics
from gateway.policy_source import PolicySource
from gateway.servable import objections
from gateway.settings import Settings
from gateway.stores.memory import MemoryStore
from gateway.telemetry import NoSpans, OtelSpans, spans_from_environment
from policies.model import Address, PolicySet, Server
from policies.ports import Clock
from upstreams.http1 import Http1Transport
from upstreams.httpx_engine import HttpxTransport
from upstreams.pool import Transports
from upstreams.transport import Transport

if TYPE_CHECKING:
    from gateway.ledger.minutes import Minutes
    from gateway.ledger.worker import WorkerLedger

log = logging.getLogger("tiergate.worker")

ENGINES: Mapping[str, Callable[..., Transport]] = {"http1": Http1Transport, "httpx": HttpxTransport}
"""The transports that an upstream's ``engine`` may name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """One worker's parts.

    ``flush`` has everything recorded that has ended; ``last_used`` maps ``tenant/key`` to Unix seconds, from a second
    on; ``counted`` and ``measured`` are counters and gauges beside those of ``metrics``, by name; ``objections`` say
    where the policy that is loaded is not what rules; ``aclose`` ends stores and pools; ``settle`` has everything
    recorded durable, and is called last, however the worker ends.
    """

    app: App
    source: PolicySource
    metrics: Metrics
    access_log: AccessLog
    flush: Callable[[], None]
    last_used: Callable[[int], Mapping[str, int]]
    counted: Callable[[], Mapping[str, int]]
    measured: Callable[[], Mapping[str, float]]
    objections: Callable[[], Sequence[str]]
    aclose: Callable[[], Awaitable[None]]
    settle: Callable[[], Awaitable[None]]


Compose = Callable[[Settings, int], Awaitable[Composed]]
"""From the settings and the worker's number."""


async def compose(settings: Settings, worker: int) -> Composed:
    """The whole worker, put together in one place. Raises ``PolicyRejected``, ``StateError`` and ``OSError``.

    ``settings.listen`` and ``settings.admin`` are the addresses really bound, never to be connected to.
    """
    clock = SystemClock()
    source = PolicySource(
        settings.policies,
        env=os.environ,
        secrets_dir=settings.secrets_dir,
        last_good=LastGood(settings.state_dir, settings.policies, settings.secrets_dir),
        objection=lambda policy: objections(policy, running(settings, policy)),
    )
    store = MemoryStore(clock, settings.state_dir)
    await store.start()
    ledger = await _ledger(settings, worker, clock)
    transports = _transports(settings, source)
    credentials = Credentials(clock=clock)
    server = settings_of.effective(settings, source.current.policy.server)
    spans = spans_from_environment(clock, settings_of.traces_environment(os.environ, server.traces))
    metrics, access_log = Metrics(), AccessLog(server.access_log, ledger.minutes.judged)
    records = Batched((ledger.minutes, metrics, access_log))
    app = create_app(
        source=source,
        store=store,
        clock=clock,
        transports=transports,
        authenticator=credentials,
        sinks=(records,),
        spans=spans,
        instance=instance_name(settings),
    )
    return Composed(
        app=app,
        source=source,
        metrics=metrics,
        access_log=access_log,
        flush=records.flush,
        last_used=credentials.last_used,
        counted=lambda: {
            "gateway_outcomes_recorded": ledger.minutes.recorded,
            "gateway_outcomes_lost": ledger.lost,
            "gateway_access_log_dropped": access_log.dropped,
        },
        measured=lambda: {"gateway_ledger_behind_seconds": ledger.behind_s},
        objections=Differences(source, ledger.minutes, clock).said,
        aclose=lambda: _closed(store, transports, credentials, spans),
        settle=lambda: _settled(records, ledger),
    )


class Differences:
    """Where the owners of upstreams are others in the policy than in the version of the SLA that rules (O9, V2)."""

    def __init__(self, source: PolicySource, minutes: Minutes, clock: Clock) -> None:
        self._source, self._minutes, self._clock = source, minutes, clock
        self._seen: tuple[object, ...] = ()
        self._said: tuple[str, ...] = ()

    def said(self) -> tuple[str, ...]:
        """Worked out when something has changed, and once a minute; logged when it is news."""
        snapshot, judging, now_s = self._source.current, self._minutes.judging, self._clock.wall_us() // 1_000_000
        if self._seen != (snapshot, judging, now_s // 60):
            self._seen = (snapshot, judging, now_s // 60)
            owners = {name: upstream.owner.value for name, upstream in snapshot.policy.upstreams.items()}
            found = judging.differences(owners, now_s)
            for text in found:
                if text not in self._said:
                    log.warning("%s", text)
            self._said = found
        return self._said


async def _ledger(settings: Settings, worker: int, clock: Clock) -> WorkerLedger:
    from gateway.ledger.worker import WorkerLedger  # SQLAlchemy, a third of a second that only a worker need spend

    replica = f"{instance_name(settings)}/{worker}"
    ledger = WorkerLedger(clock, settings.state_dir, replica=replica, index=worker, url=settings.ledger_url)
    await ledger.start()
    return ledger


async def _settled(records: Batched, ledger: WorkerLedger) -> None:
    records.flush()
    await ledger.aclose()


def _transports(settings: Settings, source: PolicySource) -> Transports:
    """The pools of the upstreams; those that a policy no longer names are ended."""
    listeners = frozenset((own.host, own.port) for own in (settings.listen, settings.admin) if own is not None)
    transports = Transports(lambda upstream: ENGINES[upstream.engine](upstream, listeners=listeners))
    source.on_change.append(lambda snapshot: transports.retain(snapshot.policy.upstreams.values()))
    return transports


async def _closed(
    store: MemoryStore, transports: Transports, credentials: Credentials, spans: NoSpans | OtelSpans
) -> None:
    await store.aclose()
    await transports.aclose()
    await credentials.aclose()
    await asyncio.to_thread(spans.close)


def running(settings: Settings, policy: PolicySet) -> Server:
    """The server section as it really is; the admin listener and the workers are the supervisor's, checked there."""
    own = replace(policy.server, workers=1)
    if settings.listen is not None:
        own = replace(own, listen=settings.listen)
    return replace(own, admin=Address(host="127.0.0.1", port=0))


def instance_name(settings: Settings) -> str:
    """``TIERGATE_INSTANCE`` or the host's name, as a pseudonym in ``Via`` may be spelt (RFC 9110 7.6.3)."""
    return re.sub(r"[^A-Za-z0-9.-]+", "-", settings.instance or socket.gethostname()) or "tiergate"
