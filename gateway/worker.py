"""One worker process: the application on an inherited socket, reporting to the supervisor, obeying its orders.

What it is made of is put together in ``gateway.compose``. A worker ends by itself when it is told to drain, when its
server fails, or when the supervisor has gone (RULINGS 19).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from gateway import control, describe, http_servers, logs
from gateway import settings as settings_of
from gateway.compose import Compose, Composed, compose
from gateway.exit_codes import EXIT_BUG, EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.gate import Gate
from gateway.key_uses import KeyUses
from gateway.policy_source import PolicyRejected, Reload
from gateway.settings import Settings
from gateway.stores.quota_file import StateError
from policies.model import Address
from policies.snapshot import Snapshot

log = logging.getLogger("tiergate.worker")

REPORT_S = 1.0
CUT_S = 1.0
"""How long cancelled requests get to release what they hold and to write their line."""
SOCKETS_S = 3.0
"""How long the close frames of WebSockets may hold up the end of the listener; most take milliseconds."""

CHORE = "tiergate-chore"


class Worker:
    """A composed application at work: its server, its reports, its orders."""

    def __init__(
        self, composed: Composed, settings: Settings, listener: socket.socket, channel: control.Channel
    ) -> None:
        self._parts = composed
        self._settings = settings
        self._channel = channel
        self._gate = Gate(composed.app)
        self._server = http_servers.make(settings.server, self._gate, listener)
        self._stop = asyncio.Event()
        self._drain = control.Drain(delay_us=0, timeout_us=0)
        self._describing: asyncio.Task[None] | None = None
        self._uses = KeyUses(composed.last_used)
        self._permanent: set[asyncio.Task[Any]] = set()  # tasks of the server, the lifespan and this worker
        self._last_refresh: asyncio.Task[None] | None = None  # the loop itself holds tasks weakly

    async def run(self) -> None:
        """Serve until drained. Raises when the server ends unasked."""
        self._parts.source.on_change.append(self._changed)
        self._parts.source.on_reload.append(self._reloaded)
        self._parts.metrics.last_success_s = self._parts.source.last_success_s
        serving = asyncio.create_task(self._server.run())
        started = asyncio.create_task(self._gate.started.wait())
        await asyncio.wait((serving, started), return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            started.cancel()
            await serving
            raise RuntimeError("the server ended before it served")
        await self._send_description(self._parts.source.current)
        gc.collect()
        gc.freeze()  # what start-up made lives for ever: no later collection has to walk it
        self._permanent = asyncio.all_tasks()
        chores = [_chore(work) for work in (self._report(), self._obey(), self._parts.source.watch())]
        for chore in chores:
            chore.add_done_callback(self._chore_ended)
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait((serving, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not self._stop.is_set():
            await serving
            raise RuntimeError("the server ended unasked")
        await self._drained(serving)
        await _cancel(chores)
        self._parts.flush()
        self._parts.access_log.close()
        await self._channel.send(self._state())

    async def _drained(self, serving: asyncio.Task[None]) -> None:
        """RULINGS 19: unready, ``delay``, stop accepting, requests in flight end, at most ``timeout``.

        A WebSocket is told at once, because it would never end; an event stream has until the timeout.
        """
        await self._channel.send(self._state())
        await _sleep_unless(self._drain.delay_us, self._hurried)
        forced, ended = asyncio.create_task(self._overdue()), asyncio.create_task(self._ended(serving))
        await self._sockets_closed(forced)
        self._server.stop()
        await asyncio.wait((ended, forced), return_when=asyncio.FIRST_COMPLETED)
        forced.cancel()
        ended.cancel()
        self._permanent |= {forced, ended}
        if not serving.done() or self._gate.in_flight:
            await self._cut(serving)
        with contextlib.suppress(Exception):
            await asyncio.wait_for(self._parts.aclose(), CUT_S * 5)

    async def _sockets_closed(self, forced: asyncio.Task[None]) -> None:
        """Close every WebSocket, before a server that stops does so in its own way: granian drops them."""
        self._gate.closing.begin()
        closed = asyncio.create_task(self._gate.socketless.wait())
        await asyncio.wait((closed, forced), timeout=SOCKETS_S, return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()

    async def _ended(self, serving: asyncio.Task[None]) -> None:
        """The server has, and every call: granian does not wait for WebSockets."""
        await asyncio.wait((serving,))
        await self._gate.socketless.wait()

    def _hurried(self) -> bool:
        return self._drain.timeout_us == 0

    async def _overdue(self) -> None:
        left_us = self._drain.timeout_us
        while left_us > 0 and not self._hurried():
            await asyncio.sleep(min(left_us, 100_000) / 1_000_000)
            left_us -= 100_000

    async def _cut(self, serving: asyncio.Task[None]) -> None:
        """Cancel what requests run in, and nothing of the server, which then ends as after a good drain."""
        if self._gate.in_flight:
            cut = self._gate.in_flight
            log.warning("drain timeout: %d %s cut off", cut, "request is" if cut == 1 else "requests are")
        self._gate.cutting = True
        cut_off = {task for task in asyncio.all_tasks() - self._permanent if not _is_chore(task)}
        for task in cut_off:
            task.cancel()
        await asyncio.wait((serving, *cut_off), timeout=CUT_S)

    async def _report(self) -> None:
        while True:
            await self._channel.send(self._state())
            await asyncio.sleep(REPORT_S)

    def _state(self) -> control.Report:
        self._parts.flush()
        metrics = self._parts.metrics
        metrics.active_requests = self._gate.in_flight
        snapshot = metrics.snapshot()
        snapshot["counters"] += [[name, [], count] for name, count in self._parts.counted().items()]
        snapshot["gauges"] += [[name, [], value] for name, value in self._parts.measured().items()]
        return control.Report(
            ready=self._gate.started.is_set() and not self._gate.draining,
            draining=self._gate.draining,
            in_flight=self._gate.in_flight,
            policy=self._parts.source.current.version,
            complaints=[*self._parts.source.complaints, *self._parts.objections()],
            metrics=snapshot,
            last_used=self._uses.news(),
        )

    async def _obey(self) -> None:
        while True:
            try:
                order = await self._channel.receive()
            except control.ControlError as error:
                log.error("order not understood: %s", error)
                continue
            match order:
                case None:
                    log.warning("the supervisor has gone; draining")
                    self._begin(self._own_drain())
                    return
                case control.Drain():
                    self._begin(order)
                case control.Refresh():
                    self._last_refresh = _chore(self._refresh(order))

    def _begin(self, drain: control.Drain) -> None:
        self._drain = drain
        self._gate.draining = True
        self._stop.set()

    def _chore_ended(self, chore: asyncio.Task[None]) -> None:
        """A worker that no longer follows its policies or its orders ends in order, and is replaced."""
        if not chore.cancelled() and (error := chore.exception()) is not None:
            log.error("a part of this worker failed; draining", exc_info=error)
            self._begin(self._own_drain())

    def _own_drain(self) -> control.Drain:
        server = self._parts.source.current.policy.server
        return control.Drain(delay_us=server.drain_delay_us, timeout_us=server.drain_timeout_us)

    def terminate(self) -> None:
        """A SIGTERM of this worker alone: the same drain; the supervisor starts another."""
        self._begin(self._own_drain())

    async def _refresh(self, order: control.Refresh) -> None:
        if order.reopen:
            self._parts.access_log.reopen()
        reload = await self._parts.source.reload()
        if self._describing is not None:  # first what is in force, then that it is
            await asyncio.wait((self._describing,))
        await self._channel.send(
            control.Refreshed(
                id=order.id, outcome=reload.outcome, version=reload.version, findings=list(reload.findings)
            )
        )

    def _changed(self, snapshot: Snapshot) -> None:
        task = self._describing = _chore(self._send_description(snapshot))
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    def _reloaded(self, reload: Reload) -> None:
        self._parts.metrics.count("gateway_policy_reloads", reload.outcome)
        self._parts.metrics.last_success_s = self._parts.source.last_success_s

    async def _send_description(self, snapshot: Snapshot) -> None:
        server = snapshot.policy.server
        await self._channel.send(
            control.Described(
                version=snapshot.version,
                description=await asyncio.to_thread(describe.describe, snapshot.policy, self._parts.source.substituted),
                drain_delay_us=server.drain_delay_us,
                drain_timeout_us=server.drain_timeout_us,
                at_start=settings_of.at_start(Settings(), snapshot.policy),
            )
        )


def _chore(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task that belongs to the worker and not to a request, so that a cut-off spares it."""
    return asyncio.create_task(work, name=CHORE)


def _is_chore(task: asyncio.Task[Any]) -> bool:
    return task.get_name() == CHORE


async def _sleep_unless(wait_us: int, hurried: Callable[[], bool]) -> None:
    while wait_us > 0 and not hurried():
        await asyncio.sleep(min(wait_us, 100_000) / 1_000_000)
        wait_us -= 100_000


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks, timeout=CUT_S * 2)


async def serve(settings: Settings, descriptor: int, index: int, compose: Compose = compose) -> None:
    """Be worker ``index``. Raises what keeps it from starting."""
    channel = await control.connect(settings.control_socket)
    await channel.send(control.Hello(worker=index, pid=os.getpid()))
    composed = await compose(settings, index)
    try:
        worker = Worker(composed, settings, http_servers.adopt(descriptor), channel)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.terminate)
        await worker.run()
    finally:
        await composed.settle()
    channel.close()


def main(argv: list[str] | None = None, compose: Compose = compose) -> None:
    """``python -m gateway.worker``: started by the supervisor only. Never returns."""
    parser = argparse.ArgumentParser(prog="gateway.worker", description="started by `tiergate serve`, not by hand")
    parser.add_argument("--descriptor", type=int, required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--settings", required=True)
    given = parser.parse_args(argv)
    settings = unpacked(given.settings, os.environ)
    logs.configure(settings.log_level, f"worker-{given.index}")
    http_servers.raise_file_limit()
    for number in (signal.SIGINT, signal.SIGHUP):  # the supervisor's to interpret
        signal.signal(number, signal.SIG_IGN)
    code = _run(serve(settings, given.descriptor, given.index, compose), settings)
    logs.flush()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a request that was cut off, or a thread stuck on a full pipe, must not hold up the exit


def _run(work: Any, settings: Settings) -> int:
    try:
        _loop_runner()(work)
    except PolicyRejected as error:
        for finding in error.findings:
            log.error("%s", finding)
        return EXIT_FINDING
    except (OSError, ValueError, control.ControlError, StateError) as error:
        log.error("cannot start: %s", error)
        return EXIT_ENVIRONMENT
    except Exception as error:  # the process boundary
        log.error(
            "ended: %s: %s", type(error).__name__, error, exc_info=settings.debug or log.isEnabledFor(logging.DEBUG)
        )
        return EXIT_BUG
    return 0


def _loop_runner() -> Callable[[Any], Any]:
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run


def packed(settings: Settings) -> str:
    """Settings as one argument of the worker's command line, where everybody on the machine can read it."""
    return orjson.dumps(replace(settings, ledger_url="", import_token=""), default=str).decode()


def unpacked(text: str, env: Mapping[str, str]) -> Settings:
    """What was packed; the ledger's address, which may hold a password, from the environment."""
    members = orjson.loads(text)
    members["ledger_url"] = env.get("TIERGATE_LEDGER_URL", "")
    for name in ("policies", "state_dir", "secrets_dir"):
        members[name] = Path(members[name]) if members[name] is not None else None
    for name in ("listen", "admin"):
        members[name] = Address(**members[name]) if members[name] is not None else None
    return Settings(**members)


if __name__ == "__main__":
    main()
