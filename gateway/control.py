"""The unix control socket: its messages, their encoding, both ends of the line.

One JSON object a line. Workers say ``Hello``, then a ``Report`` a second; commands send one ``Ask`` or ``Record``
and read one ``Answer``. Whatever changes state goes over this socket and never over a listener that a browser can
reach (DESIGN §12). A message that is unknown, malformed or too long is answered with an error; it never
ends the process that read it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import orjson

log = logging.getLogger("tiergate.control")

MAX_LINE = 16 * 1024 * 1024
"""A report carries every metric and the last use of every key: 100,000 keys are about 6 MB."""
MAX_SOCKET_PATH = 107
"""``sun_path`` holds 108 bytes with its final NUL (unix(7))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """A worker's first words: which place of the fleet it fills and its process id."""

    worker: int
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A worker's state, once a second. ``policy`` is the version in force, ``complaints`` why a newer one is not.

    ``metrics`` is ``Metrics.snapshot()``; ``last_used`` maps ``tenant/key`` to Unix seconds, changes only.
    """

    ready: bool
    draining: bool
    in_flight: int
    policy: str
    complaints: list[str] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    last_used: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The policy a worker has put in force, without secrets, and how it wants to be drained.

    ``at_start`` is what it says of settings that are read once, when the gateway starts (``settings.at_start``).
    """

    version: str
    description: dict[str, Any]
    drain_delay_us: int
    drain_timeout_us: int
    at_start: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """To a worker: unready now, stop accepting after ``delay_us``, cut what is left ``timeout_us`` later."""

    delay_us: int
    timeout_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """To a worker: read the policy directory now and answer with ``id``; ``reopen`` also its access log."""

    id: int
    reopen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refreshed:
    """A worker's answer to ``Refresh``: the fields of ``policy_source.Reload``."""

    id: int
    outcome: str
    version: str
    findings: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A command's request."""

    what: Literal["status", "reload", "drain", "keys"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A command's request to record acts of the SLA's log, all or none: each an object with ``kind``, ``content``."""

    acts: list[Any]
    actor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command gets; ``error`` is None when it was done.

    ``declined``: it was understood and will not be done; otherwise an error is of the surroundings.
    """

    result: dict[str, Any] = field(default_factory=dict)
    error: str | None = None
    declined: bool = False


Message = Hello | Report | Described | Drain | Refresh | Refreshed | Ask | Record | Answer
KINDS: dict[str, type] = {kind.__name__.lower(): kind for kind in get_args(Message)}


class ControlError(Exception):
    """The line cannot be used: nobody listens, or what came is no message. The text is for the operator."""


class NobodyThere(ControlError):
    """No gateway listens there: nothing was asked of anybody."""


class Declined(ControlError):
    """The gateway understood and will not do it."""


class Unanswered(ControlError):
    """It was asked, and nobody knows whether it was done."""


def encode(message: Message) -> bytes:
    """One line."""
    members = {part.name: getattr(message, part.name) for part in fields(message)}
    return orjson.dumps({"kind": type(message).__name__.lower(), **members}, option=orjson.OPT_NON_STR_KEYS) + b"\n"


def decode(line: bytes) -> Message:
    """The message on ``line``. Raises ``ControlError`` for anything else."""
    try:
        members = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ControlError(f"not JSON: {error}") from error
    if not isinstance(members, dict):
        raise ControlError("not a JSON object")
    kind = KINDS.get(str(members.pop("kind", None)))
    if kind is None:
        raise ControlError(f"unknown kind of message; known: {', '.join(sorted(KINDS))}")
    for name, hint in get_type_hints(kind).items():
        if name in members and not _fits(members[name], hint):
            raise ControlError(f"{kind.__name__.lower()}.{name} has the wrong type")
    try:
        return kind(**members)  # type: ignore[no-any-return]
    except TypeError as error:
        raise ControlError(str(error).replace("__init__()", "message")) from error


def _fits(value: Any, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin is Literal:
        return value in get_args(hint)
    if origin in (list, dict):
        return isinstance(value, origin)
    if origin is not None:
        return any(_fits(value, part) for part in get_args(hint))
    return type(value) is hint


class Channel:
    """One connection, message by message."""

    __slots__ = ("_reader", "_writer")

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def receive(self) -> Message | None:
        """The next message, None at the end. Raises ``ControlError`` for what is none."""
        try:
            line = await self._reader.readline()
        except ValueError as error:
            raise ControlError("the message is longer than is accepted") from error
        except ConnectionError:
            return None
        return decode(line) if line.endswith(b"\n") else None

    async def send(self, message: Message) -> None:
        """Send; a line that has gone is noticed by ``receive``, not here. What is too long stays unsent."""
        line = encode(message)
        if len(line) >= MAX_LINE:
            kind = type(message).__name__
            log.error("a %s of %d bytes is longer than the control line carries", kind.lower(), len(line))
            if not isinstance(message, Answer):
                return
            line = encode(Answer(error="the answer is longer than the control line carries"))
        try:
            self._writer.write(line)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):
            return

    def close(self) -> None:
        self._writer.close()


Handler = Callable[[Channel], Awaitable[None]]


def check_path(path: Path) -> None:
    """Raises ``ControlError`` when no unix socket can be made at ``path``."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH:
        raise ControlError(
            f"{path}: {length} bytes are too long for a unix socket (at most {MAX_SOCKET_PATH}); "
            "set TIERGATE_STATE_DIR to a shorter path"
        )
    try:
        found = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(found):
        what = "a directory" if stat.S_ISDIR(found) else "not a socket"
        raise ControlError(f"{path} is {what}, and the control socket belongs there; move it away")


async def listen(path: Path, handle: Handler, *, limit: int = MAX_LINE) -> asyncio.Server:
    """Serve ``path``, mode 0600; the caller holds the directory's lock, so a socket found there is stale."""
    listener = _bound(path)

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel = Channel(reader, writer)
        try:
            await handle(channel)
        except ControlError as error:
            await channel.send(Answer(error=str(error)))
        finally:
            channel.close()

    return await asyncio.start_unix_server(converse, sock=listener, limit=limit)


def _bound(path: Path) -> socket.socket:
    check_path(path)
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    return listener


async def connect(path: Path) -> Channel:
    """A worker's end. Raises ``ControlError`` when nobody listens."""
    check_path(path)
    try:
        return Channel(*await asyncio.open_unix_connection(str(path), limit=MAX_LINE))
    except OSError as error:
        raise ControlError(_nobody(path, error)) from error


def request(path: Path, what: str, *, timeout_s: float = 60.0) -> dict[str, Any]:
    """A command's whole conversation. Raises ``ControlError`` when there is no gateway or it says no."""
    return converse(path, Ask(what=what), timeout_s=timeout_s)  # type: ignore[arg-type]


def converse(path: Path, message: Ask | Record, *, timeout_s: float = 60.0) -> dict[str, Any]:
    """The same with a message of its own. Raises what is above: who knows nothing of it says ``Unanswered``."""
    check_path(path)
    line_out = encode(message)
    if len(line_out) >= MAX_LINE:
        raise ControlError(f"{len(line_out):,} bytes are more than the control line carries ({MAX_LINE:,})")
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(timeout_s)
        _reach(line, path)
        try:
            line.sendall(line_out)
            with line.makefile("rb") as answers:
                text = answers.readline(MAX_LINE)
        except TimeoutError as error:
            raise Unanswered(f"the gateway at {path} did not answer within {timeout_s:.0f} s") from error
        except OSError as error:
            raise Unanswered(_nobody(path, error)) from error
    answer = _answer(text, path)
    if answer.error is not None:
        raise (Declined if answer.declined else ControlError)(answer.error)
    return answer.result


def _reach(line: socket.socket, path: Path) -> None:
    try:
        line.connect(str(path))
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise NobodyThere(_nobody(path, error)) from error
    except OSError as error:
        raise ControlError(_nobody(path, error)) from error


def _answer(text: bytes, path: Path) -> Answer:
    if not text.endswith(b"\n"):
        raise Unanswered(f"the gateway at {path} hung up before it had answered")
    answer = decode(text)
    if not isinstance(answer, Answer):
        raise ControlError(f"the gateway answered with a {type(answer).__name__.lower()}")
    return answer


def _nobody(path: Path, error: OSError) -> str:
    if isinstance(error, FileNotFoundError | ConnectionRefusedError | ConnectionResetError):
        return f"no gateway runs on {path.parent}; is TIERGATE_STATE_DIR the one it was started with?"
    return f"{path}: {error.strerror or error}"
