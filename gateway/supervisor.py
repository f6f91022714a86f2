"""``tiergate serve``: the small process that owns signals, the listening socket, the admin listener and the workers.

It answers no traffic. Start-up checks come first, each with one clear message and an exit code; then workers
run until a signal; then they drain (RULINGS 19). The traffic socket is bound here, before any worker starts,
so a taken port is one error and connections wait in one queue while a worker is replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, TextIO

from gateway import access_log, control, http_servers, state_dir, worker
from gateway import settings as settings_of
from gateway.admin import Posting, create_admin
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.fleet import Fleet
from gateway.last_good import LastGood
from gateway.policy_source import Loader, PolicyRejected, PolicySource
from gateway.servable import objections, shown
from gateway.settings import Settings
from gateway.sla.posting import FOLDER, create_posting, taker
from policies.model import Address, PolicySet, Server
from policies.sla.imports import MOST_BYTES

log = logging.getLogger("tiergate.supervisor")


WorkerCommand = Callable[[Settings, int, int], Sequence[str]]


class StartError(Exception):
    """The gateway cannot start here; the text says who or what is in the way and what would help."""

    def __init__(self, text: str, code: int = EXIT_ENVIRONMENT) -> None:
        super().__init__(text)
        self.code = code


def worker_command(settings: Settings, descriptor: int, index: int) -> Sequence[str]:
    """How a worker is started."""
    given = ("--descriptor", str(descriptor), "--index", str(index), "--settings", worker.packed(settings))
    return (sys.executable, "-m", "gateway.worker", *given)


def run(
    settings: Settings,
    *,
    env: Mapping[str, str],
    load: Loader | None = None,
    command: WorkerCommand = worker_command,
    out: TextIO = sys.stderr,
) -> int:
    """Serve until told to stop; answers the exit code."""
    try:
        return asyncio.run(_run(settings, env, load, command, out))
    except StartError as error:
        print(f"tiergate: {error}", file=out)
        return error.code
    except PolicyRejected as error:
        _print_findings(error, settings, env, out)
        return EXIT_FINDING


async def _run(
    settings: Settings, env: Mapping[str, str], load: Loader | None, command: WorkerCommand, out: TextIO
) -> int:
    asked = _Asked(env)
    last_good = LastGood(settings.state_dir, settings.policies, settings.secrets_dir)
    source = loaded(settings, asked, load)
    policy = source.current.policy
    for warning in settings_of.unknown_variables(env, asked.names):
        log.warning("%s", warning)
    server = settings_of.effective(settings, policy.server)
    check_servable(policy, server)
    with contextlib.ExitStack() as held:
        lock = _prepared(settings)
        held.callback(lock.release)
        last_good.remove()  # of a run before
        last_good.keep(policy.version, source.files)
        held.callback(last_good.remove)
        traffic = bound(server.listen, "traffic (server.listen, TIERGATE_LISTEN or --listen)")
        held.callback(traffic.close)
        admin = bound(server.admin, "the admin listener (server.admin, TIERGATE_ADMIN or --admin)")
        held.callback(admin.close)
        _check_access_log(server.access_log)
        supervisor = Supervisor(settings, policy, server, traffic, admin, command)
        _banner(supervisor, policy, out)
        del policy, source  # the workers keep their own; a hundred thousand tenants need not be held here as well
        return await supervisor.serve()


class _Asked(Mapping[str, str]):
    """An environment that remembers which ``names`` the policy files looked up."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._env = env
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        return self._env[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._env)

    def __len__(self) -> int:
        return len(self._env)


def loaded(settings: Settings, env: Mapping[str, str], load: Loader | None) -> PolicySource:
    """The policy at cold start; the worker says its warnings.

    Raises ``StartError`` without a directory, ``PolicyRejected`` for a bad set.
    """
    if not settings.policies.is_dir():
        what = "is not a directory" if settings.policies.exists() else "does not exist"
        raise StartError(f"policy directory {settings.policies} {what}; name one with --policies or TIERGATE_POLICIES")
    return PolicySource(settings.policies, env=env, secrets_dir=settings.secrets_dir, load=load, quiet=True)


def check_servable(policy: PolicySet, server: Server) -> None:
    """Raises ``StartError`` with the first objection to serving ``policy`` like this."""
    for objection in objections(policy, server):
        raise StartError(objection)


def _prepared(settings: Settings) -> state_dir.Lock:
    try:
        control.check_path(settings.control_socket)
        return state_dir.prepare(settings.state_dir, settings.lock_file)
    except (control.ControlError, state_dir.StateDirError) as error:
        raise StartError(str(error)) from error


def _check_access_log(target: str) -> None:
    """Before anything is announced: the worker would find out only after it."""
    if target in (access_log.STDOUT, access_log.OFF):
        return
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_CLOEXEC, 0o640))
    except OSError as error:
        raise StartError(
            f"access log {target} (server.access_log or TIERGATE_ACCESS_LOG) cannot be written: {error.strerror}"
        ) from error


def bound(where: Address, what: str) -> socket.socket:
    """A listening socket, or a ``StartError`` that says what is in the way."""
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    listener = socket.socket(family)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((where.host, where.port))
        listener.listen(http_servers.BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {shown(where)} for {what}: {_why(error, where)}") from error
    listener.setblocking(False)
    return listener


def _why(error: OSError, where: Address) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"the port is taken; find who has it with `ss -ltnp 'sport = :{where.port}'`, or choose another port"
    if error.errno == errno.EACCES:
        return "not permitted; ports below 1024 need a privilege, choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine has no such address"
    return str(error.strerror or error)


def _posting(settings: Settings) -> Posting | None:
    """Where evidence may be sent; None without a token for it."""
    if not settings.import_token:
        return None
    digest = sha256(settings.import_token.encode()).digest()
    return Posting(app=create_posting(taker(settings, os.environ), MOST_BYTES), folder=FOLDER, token_digest=digest)


class Supervisor:
    """The running gateway as the admin listener, commands and signals see it."""

    def __init__(
        self,
        settings: Settings,
        policy: PolicySet,
        server: Server,
        traffic: socket.socket,
        admin: socket.socket,
        command: WorkerCommand,
    ) -> None:
        self.server = replace(server, listen=_address(traffic), admin=_address(admin))
        self._settings = settings
        self._first_version = policy.version
        self._at_start = settings_of.at_start(settings, policy)
        self.pending: tuple[str, ...] = ()
        self._traffic = traffic
        self._admin = admin
        bound_to = replace(settings, listen=self.server.listen, admin=self.server.admin, access_log=server.access_log)
        self._fleet = Fleet(server.workers, lambda index: command(bound_to, traffic.fileno(), index), traffic.fileno())
        self._fleet.on_described = self._described
        self._stop = asyncio.Event()
        self._hurry = asyncio.Event()
        self._draining = False
        self._chores: set[asyncio.Task[Any]] = set()

    async def serve(self) -> int:
        """Run workers until a signal or until they cannot be kept alive; the exit code."""
        commands = await control.listen(self._settings.control_socket, self._attend)
        admin, pages = self._start_admin()
        with self._signals():
            self._fleet.start()
            stopped = asyncio.create_task(self._stop.wait())
            await asyncio.wait((stopped, self._fleet.gave_up), return_when=asyncio.FIRST_COMPLETED)
            gave_up = self._fleet.gave_up.done()
            await self._drain()
        stopped.cancel()
        commands.close()
        self._settings.control_socket.unlink(missing_ok=True)
        admin.should_exit = True
        await asyncio.wait((pages,), timeout=2.0)
        return self._fleet.gave_up.result() if gave_up else 0

    def _start_admin(self) -> tuple[Any, asyncio.Task[None]]:
        import uvicorn

        class Listener(uvicorn.Server):
            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                yield

        config = uvicorn.Config(
            create_admin(self, self.server.admin, self.server.admin_token_digest, _posting(self._settings)),
            lifespan="off",
            access_log=False,
            server_header=False,
            log_config=None,
            log_level="warning",
            ws="none",
            timeout_keep_alive=5,
            timeout_graceful_shutdown=1,
            limit_concurrency=64,
            proxy_headers=False,
        )
        listener = Listener(config)
        return listener, asyncio.create_task(listener.serve(sockets=[self._admin]))

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        handled = (signal.SIGTERM, signal.SIGINT)
        for number in handled:
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGHUP, self._told_to_reload)
        try:
            yield
        finally:
            for number in (*handled, signal.SIGHUP):
                loop.remove_signal_handler(number)

    def _told_to_stop(self) -> None:
        if self._stop.is_set():
            log.warning("second signal: requests in flight are cut off")
            self._hurry.set()
        self._stop.set()

    def _told_to_reload(self) -> None:
        task = asyncio.create_task(self._reload())
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)

    async def _reload(self) -> None:
        """SIGHUP; what a worker swapped in or rejected it says itself."""
        for index, answer in await self._fleet.refresh(reopen=True):
            if answer is None:
                log.warning("worker %d did not answer the reload", index)
            elif answer.outcome == "unchanged":
                log.info("worker %d: reloaded, policy %s unchanged", index, answer.version)

    def _described(self, described: control.Described) -> None:
        """Settings that are read once: an edit is accepted, and said to need a restart."""
        said = described.at_start
        changed = sorted(name for name, value in self._at_start.items() if name in said and said[name] != value)
        pending = tuple(f"{name} changed; takes effect at restart" for name in changed)
        for line in pending:
            if line not in self.pending:
                log.warning("%s", line)
        self.pending = pending

    async def _drain(self) -> None:
        """RULINGS 19. The listening socket closes here too once workers stop accepting, so callers are refused."""
        self._draining = True
        policy = self._fleet.policy
        delay_us = policy.drain_delay_us if policy is not None else self.server.drain_delay_us
        timeout_us = policy.drain_timeout_us if policy is not None else self.server.drain_timeout_us
        workers = len(self._fleet.members)
        plural = "" if workers == 1 else "s"
        log.info("draining: %d worker%s, at most %.1f s", workers, plural, (delay_us + timeout_us) / 1_000_000)
        closing = asyncio.get_running_loop().call_later(delay_us / 1_000_000, self._traffic.close)
        draining = asyncio.create_task(self._fleet.drain(delay_us, timeout_us))
        hurried = asyncio.create_task(self._hurry.wait())
        await asyncio.wait((draining, hurried), return_when=asyncio.FIRST_COMPLETED)
        if not draining.done():
            self._traffic.close()
            await self._fleet.hurry()
        hurried.cancel()
        draining.cancel()
        closing.cancel()
        log.info("stopped")

    async def _attend(self, channel: control.Channel) -> None:
        """One connection of the control socket: a worker, or a command."""
        match await channel.receive():
            case control.Hello() as hello:
                await self._fleet.attend(channel, hello)
            case control.Ask() as ask:
                await channel.send(await self._answer(ask))
            case control.Record() as asked:
                await channel.send(await self._recorded(asked))
            case None:
                return
            case other:
                await channel.send(control.Answer(error=f"a conversation does not begin with {type(other).__name__}"))

    async def _answer(self, ask: control.Ask) -> control.Answer:
        match ask.what:
            case "status":
                return control.Answer(result=self.status())
            case "keys":
                return control.Answer(result={"last_used": dict(sorted(self._fleet.last_used.items()))})
            case "drain":
                self._stop.set()
                return control.Answer(result={"draining": True})
            case "reload":
                workers = [_outcome(*pair) for pair in await self._fleet.refresh()]
                return control.Answer(result={"workers": workers, "pending": list(self.pending)})

    async def _recorded(self, asked: control.Record) -> control.Answer:
        """In a thread of its own: the ledger may be far, and others may be writing."""
        from gateway.sla import recording  # SQLAlchemy, a third of a second that a start need not spend

        return await asyncio.to_thread(recording.answer, self._settings, asked)

    def status(self) -> dict[str, Any]:
        """What ``tiergate status`` prints."""
        return {
            "pid": os.getpid(),
            "listen": shown(self.server.listen),
            "admin": shown(self.server.admin),
            "policies": str(self._settings.policies),
            "not_ready_because": list(self.readiness()),
            "pending": list(self.pending),
            "workers": self._workers(),
        }

    def _workers(self) -> list[dict[str, Any]]:
        return [
            {
                "worker": member.index,
                "pid": member.pid,
                "ready": member.ready,
                "policy": member.report.policy if member.report else None,
                "in_flight": member.report.in_flight if member.report else 0,
                "restarts": member.restarts,
                "complaints": member.report.complaints if member.report else [],
            }
            for member in self._fleet.members
        ]

    def readiness(self) -> tuple[str, ...]:
        reasons = []
        if self._draining:
            reasons.append("draining")
        if self._fleet.policy is None:
            reasons.append("no worker has loaded a policy yet")
        if not self._fleet.ready:
            reasons.append("no worker is ready")
        return tuple(reasons)

    def metrics(self) -> dict[str, Any]:
        return self._fleet.metrics()

    def policy(self) -> dict[str, Any]:
        policy = self._fleet.policy
        return {
            "version": policy.version if policy is not None else self._first_version,
            "bound": {"listen": shown(self.server.listen), "admin": shown(self.server.admin)},
            "pending": list(self.pending),
            "workers": self._workers(),
            "policy": policy.description if policy is not None else None,
        }


def _outcome(index: int, answer: control.Refreshed | None) -> dict[str, Any]:
    if answer is None:
        return {"worker": index, "outcome": "no answer"}
    return {"worker": index, "outcome": answer.outcome, "version": answer.version, "findings": answer.findings}


def _address(listener: socket.socket) -> Address:
    host, port = listener.getsockname()[:2]
    return Address(host=host, port=port)


def _banner(supervisor: Supervisor, policy: PolicySet, out: TextIO) -> None:
    server = supervisor.server
    if out.isatty():
        print(
            f"tiergate  http://{shown(server.listen)}\n"
            f"admin     http://{shown(server.admin)}\n"
            f"policy    {policy.version}, {len(policy.tenants):,} tenants, {len(policy.routes)} routes",
            file=out,
            flush=True,
        )
        return
    log.info(
        "serving on %s, admin on %s, policy %s, %d tenant%s",
        *(shown(server.listen), shown(server.admin), policy.version, len(policy.tenants)),
        "" if len(policy.tenants) == 1 else "s",
    )


def _print_findings(error: PolicyRejected, settings: Settings, env: Mapping[str, str], out: TextIO) -> None:
    """The complaints as ``tiergate check`` prints them."""
    try:
        from gateway.check import run_check
    except ImportError:
        for finding in error.findings:
            print(finding, file=out)
        return
    run_check(Path(settings.policies), "text", out, env)
