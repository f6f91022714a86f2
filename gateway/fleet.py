"""The worker processes: started on one inherited socket, watched, replaced when they die, told to drain.

Restarting backs off; a fleet of which no worker lives long enough to serve gives up with that worker's exit code.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from gateway import control
from gateway import metrics as figures
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING

log = logging.getLogger("tiergate.fleet")

SHORT_LIFE_S = 5.0
QUICK_DEATHS = 5
BACK_OFF_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
FINAL_CODES = frozenset({EXIT_FINDING, EXIT_ENVIRONMENT})
"""A bad policy and an unusable environment do not get better by starting again."""
KILL_MARGIN_S = 10.0
FORCED_S = 4.0
REFRESH_S = 60.0
STALE_S = 5.0
"""A worker that has not reported for this long is stuck or stopped, and not ready whatever it last said."""


class Member:
    """One place of the fleet and whoever fills it now."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: asyncio.subprocess.Process | None = None
        self.channel: control.Channel | None = None
        self.report: control.Report | None = None
        self.reported_at = 0.0
        self.served = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self.process.pid if self.process is not None else None

    @property
    def ready(self) -> bool:
        fresh = time.monotonic() - self.reported_at < STALE_S
        return fresh and self.report is not None and self.report.ready


class Fleet:
    """``gave_up`` is resolved with an exit code when no worker can be kept alive."""

    def __init__(self, count: int, command: Callable[[int], Sequence[str]], descriptor: int) -> None:
        self.members = [Member(index) for index in range(1, count + 1)]
        self.policy: control.Described | None = None
        self.on_described: Callable[[control.Described], None] = lambda described: None
        self.gave_up: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.last_used: dict[str, int] = {}
        self._command = command
        self._descriptor = descriptor
        self._served = False
        self._gone: dict[str, Any] = {}
        self._ending = asyncio.Event()
        self._keepers: list[asyncio.Task[None]] = []
        self._waiting: dict[int, asyncio.Future[control.Refreshed]] = {}
        self._ids = itertools.count(1)

    def start(self) -> None:
        self._keepers = [asyncio.create_task(self._keep(member)) for member in self.members]

    @property
    def ready(self) -> int:
        return sum(member.ready for member in self.members)

    def metrics(self) -> dict[str, Any]:
        """One merged snapshot of the living and the dead."""
        living = [member.report.metrics for member in self.members if member.report is not None]
        own = {
            "counters": [["gateway_worker_restarts", [], sum(member.restarts for member in self.members)]],
            "gauges": [["gateway_workers", [], self.ready]],
        }
        return figures.merge([self._gone, *living, own])

    async def attend(self, channel: control.Channel, hello: control.Hello) -> None:
        """Listen to one worker until its line ends."""
        member = next((member for member in self.members if member.pid == hello.pid), None)
        if member is None:
            raise control.ControlError(f"process {hello.pid} is no worker of this gateway")
        member.channel = channel
        while True:
            try:
                message = await channel.receive()
            except control.ControlError as error:  # one bad line must not be taken for a worker's end
                log.error("worker %d sent what is no message: %s", member.index, error)
                continue
            match message:
                case None:
                    return
                case control.Report():
                    self._reported(member, message)
                case control.Described():
                    self.policy = message
                    self.on_described(message)
                case control.Refreshed():
                    waiting = self._waiting.pop(message.id, None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(message)
                case _:
                    await channel.send(control.Answer(error="a worker sends reports only"))

    def _reported(self, member: Member, report: control.Report) -> None:
        if report.ready and not member.served:
            member.served = self._served = True
            log.info("worker %d is ready (process %s)", member.index, member.pid)
        member.report, member.reported_at = report, time.monotonic()
        for key, used in report.last_used.items():
            self.last_used[key] = max(used, self.last_used.get(key, 0))

    async def _keep(self, member: Member) -> None:
        deaths = 0
        while not self._ending.is_set():
            born = time.monotonic()
            code = await self._live(member)
            if self._ending.is_set():
                return
            lived_s = time.monotonic() - born
            deaths = deaths + 1 if lived_s < SHORT_LIFE_S else 1
            if self._hopeless(member, code, deaths):
                return
            wait_s = BACK_OFF_S[min(deaths, len(BACK_OFF_S)) - 1]
            log.error(
                "worker %d %s after %.1f s; another starts in %.1f s", member.index, _ended(code), lived_s, wait_s
            )
            member.restarts += 1
            await asyncio.sleep(wait_s)

    async def _live(self, member: Member) -> int:
        """One worker process from start to end."""
        member.served = False
        try:
            member.process = await asyncio.create_subprocess_exec(
                *self._command(member.index),
                pass_fds=(self._descriptor,),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,  # the terminal's Ctrl-C is for the supervisor, which then drains
            )
        except OSError as error:  # out of processes, memory or descriptors: a death like any other
            log.error("worker %d cannot be started: %s", member.index, error)
            return EXIT_ENVIRONMENT
        code = await member.process.wait()
        if member.report is not None:
            self._gone = figures.merge([self._gone, figures.settled(member.report.metrics)])
        member.report = member.channel = None
        return code

    def _hopeless(self, member: Member, code: int, deaths: int) -> bool:
        if self.ready or self.gave_up.done():
            return self.gave_up.done()
        final = code in FINAL_CODES
        if final and self._served:
            return False  # what was good once may be again: a policy is repaired, a disk is emptied
        if final or deaths >= QUICK_DEATHS:
            log.error("worker %d %s; giving up", member.index, _ended(code))
            self.gave_up.set_result(code if final else 70)
            return True
        return False

    async def refresh(self, *, reopen: bool = False) -> list[tuple[int, control.Refreshed | None]]:
        """Tell every worker to read its policy directory; the answers by worker, None for one that gave none."""
        return list(await asyncio.gather(*(self._refresh(member, reopen) for member in self.members)))

    async def _refresh(self, member: Member, reopen: bool) -> tuple[int, control.Refreshed | None]:
        if member.channel is None:
            return member.index, None
        order = control.Refresh(id=next(self._ids), reopen=reopen)
        waiting = self._waiting[order.id] = asyncio.get_running_loop().create_future()
        await member.channel.send(order)
        try:
            return member.index, await asyncio.wait_for(waiting, REFRESH_S)
        except TimeoutError:
            self._waiting.pop(order.id, None)
            return member.index, None

    async def drain(self, delay_us: int, timeout_us: int) -> None:
        """Every worker drains; one that has not ended well after its time is killed."""
        self._ending.set()
        await self._order(control.Drain(delay_us=delay_us, timeout_us=timeout_us))
        await self._ended_within((delay_us + timeout_us) / 1_000_000 + KILL_MARGIN_S)

    async def hurry(self) -> None:
        """A second signal: cut everything off now."""
        self._ending.set()
        await self._order(control.Drain(delay_us=0, timeout_us=0))
        await self._ended_within(FORCED_S)

    async def _order(self, drain: control.Drain) -> None:
        for member in self.members:
            if member.channel is not None:
                await member.channel.send(drain)
            elif _running(member):
                member.process.terminate()  # type: ignore[union-attr]

    async def _ended_within(self, wait_s: float) -> None:
        lives = [
            asyncio.create_task(member.process.wait()) for member in self.members if _running(member) and member.process
        ]
        if lives:
            await asyncio.wait(lives, timeout=wait_s)
        for member in self.members:
            if _running(member) and member.process is not None:
                log.error("worker %d does not end and is killed", member.index)
                with contextlib.suppress(ProcessLookupError):
                    member.process.kill()
        for keeper in self._keepers:
            if not keeper.done() and not lives:
                keeper.cancel()
        await asyncio.wait(self._keepers, timeout=2.0)
        for keeper in self._keepers:
            keeper.cancel()


def _running(member: Member) -> bool:
    return member.process is not None and member.process.returncode is None


def _ended(code: int) -> str:
    return f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
