"""Whether memory and descriptors stay flat under a steady mixed load.

    python -m loadtests.soak [--minutes 10] [--rate 100] [--every 5] [--json FILE] [--plot FILE.svg]

Starts the mock upstream and a gateway on ``loadtests/policies/open_loop``, on loopback, and ends both. Calls of every
kind of ``KINDS`` take turns: admitted, refused, unauthenticated, uploads, downloads, streams, and clients that leave
in every phase. Every few seconds the resident memory (RSS, PSS) and the open descriptors of the gateway's process tree
are read and printed.

The rule: over the run without its first third, which is the warm-up, the median of the last third may lie at most 5 %
above the median of the second (RSS; PSS moves with what other processes share), and at most 5 % or 8 above it
(descriptors). Exits 0; 1 when something grew or a call was answered otherwise than expected; 3 when something could
not be started or the gateway ended.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtests import chart
from loadtests.arrivals.limits import key_of
from loadtests.instance import NotStarted, await_answer, free_ports, running
from loadtests.measure import PROC, median, memory, tree
from loadtests.open_loop import POLICIES, launch, svg_file
from loadtests.peers.peer import Launch
from loadtests.terminal import progress

GROWTH = 0.05
DESCRIPTORS = 8
"""So many more open descriptors are no growth: a pool breathes."""
LEAST_SAMPLES = 9
CALL_S = 20.0
AT_ONCE = 500
HOST = "127.0.0.1"
BODY = b"x" * 65_536
MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One sort of call. ``leave_s``: the client goes away after so long, whatever it has received.

    ``source`` is the loopback address it comes from: failed credentials close an address for good keys as well.
    ``promised`` is the body's announced length, of which only ``len(body)`` octets are sent; None for what is sent.
    """

    name: str
    tenant: str
    path: str
    statuses: tuple[int, ...]
    body: bytes = b""
    promised: int | None = None
    leave_s: float | None = None
    source: str = HOST


WIDE, SMALL = "wide-1", "window-1"
KINDS = (
    Kind(name="admitted", tenant=WIDE, path="/soak", statuses=(200,)),
    Kind(name="admitted again", tenant="wide-2", path="/soak", statuses=(200,)),
    Kind(name="mostly refused", tenant=SMALL, path="/soak", statuses=(200, 429)),
    Kind(name="refused before", tenant=SMALL, path="/soak", statuses=(200, 429), body=BODY),
    Kind(name="unknown key", tenant="nobody", path="/soak", statuses=(401, 429), source="127.0.0.2"),
    Kind(name="upload", tenant=WIDE, path="/soak", statuses=(200,), body=BODY * 4),
    Kind(name="download", tenant=WIDE, path="/large=500KB", statuses=(200,)),
    Kind(name="stream", tenant=WIDE, path="/stream=5x50ms", statuses=(200,)),
    Kind(name="events", tenant=WIDE, path="/stream=5x50ms/sse", statuses=(200,)),
    Kind(name="upstream fails", tenant=WIDE, path="/garbage", statuses=(502,)),
    Kind(name="left while waiting", tenant=WIDE, path="/slow=300ms", statuses=(), leave_s=0.05),
    Kind(name="left in a stream", tenant=WIDE, path="/stream=20x50ms/sse", statuses=(), leave_s=0.12),
    Kind(name="left in a download", tenant=WIDE, path="/large=5MB", statuses=(), leave_s=0.005),
    Kind(name="left in an upload", tenant=WIDE, path="/soak", statuses=(), body=BODY, promised=10 * MIB, leave_s=0.02),
    Kind(name="held slots", tenant="parallel-1", path="/slow=100ms", statuses=(200, 429)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One reading of the gateway's process tree; bytes, open descriptors, calls begun so far."""

    at_s: float
    rss: int
    pss: int
    descriptors: int
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Medians of the second and the last third; ``at_most`` is what the last may be."""

    what: str
    second: float
    last: float
    at_most: float

    @property
    def flat(self) -> bool:
        return self.last <= self.at_most


class TooShort(Exception):
    """There are too few samples to say anything."""


def judged(samples: Sequence[Sample]) -> list[Verdict]:
    """The rule of this module's docstring. Raises ``TooShort``."""
    if len(samples) < LEAST_SAMPLES:
        raise TooShort(f"{len(samples)} samples are too few to judge, {LEAST_SAMPLES} are needed")
    third = len(samples) // 3
    second, last = samples[-2 * third : -third], samples[-third:]
    return [
        _verdict("RSS, MiB", [one.rss / MIB for one in second], [one.rss / MIB for one in last], 0),
        _verdict("descriptors", [one.descriptors for one in second], [one.descriptors for one in last], DESCRIPTORS),
    ]


def _verdict(what: str, second: Sequence[float], last: Sequence[float], slack: float) -> Verdict:
    before = median(second)
    return Verdict(what=what, second=before, last=median(last), at_most=max(before * (1 + GROWTH), before + slack))


def descriptors(pid: int) -> int:
    """Open descriptors of the process tree now."""
    found = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):  # it ended since it was listed
            found += len(os.listdir(PROC / str(one) / "fd"))
    return found


class Load:
    """The mixed load: a call begins every ``1 / rate`` s, each on a connection of its own or a kept one."""

    def __init__(self, port: int, rate: float) -> None:
        self._port = port
        self._pause_s = 1 / rate
        self._under_way: set[asyncio.Task[None]] = set()
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.begun = 0
        self.wrong: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()

    async def run(self, until: float) -> None:
        """Until that moment of the monotonic clock; then everything under way ends."""
        due = time.monotonic()
        while (now := time.monotonic()) < until:
            if len(self._under_way) < AT_ONCE:
                self._begin(KINDS[self.begun % len(KINDS)])
            else:
                self.wrong[f"{AT_ONCE} calls at once"] += 1
            due = max(due + self._pause_s, now - 1)
            await asyncio.sleep(max(0, due - time.monotonic()))
        if self._under_way:
            await asyncio.wait(set(self._under_way), timeout=CALL_S)
        for _, writer in self._kept:
            writer.close()

    def _begin(self, kind: Kind) -> None:
        self.begun += 1
        task = asyncio.get_running_loop().create_task(self._call(kind))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _call(self, kind: Kind) -> None:
        try:
            async with asyncio.timeout(kind.leave_s or CALL_S):
                status = await self._exchange(kind)
        except TimeoutError:
            if kind.leave_s is None:
                self.wrong[f"{kind.name}: no answer within {CALL_S:.0f} s"] += 1
            else:
                self.answers[f"{kind.name}"] += 1
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.wrong[f"{kind.name}: {type(error).__name__}: {error}"[:160]] += 1
        else:
            self.answers[f"{kind.name}: {status}"] += 1
            if status not in kind.statuses and kind.leave_s is None:
                self.wrong[f"{kind.name}: {status}"] += 1

    async def _exchange(self, kind: Kind) -> int:
        """One call to its end; the connection is kept when it may be, and ended by force when the call is left."""
        plain = not kind.body and kind.leave_s is None and kind.source == HOST
        kept = self._usable() if plain else None
        reader, writer = kept or await asyncio.open_connection(HOST, self._port, local_addr=(kind.source, 0))
        whole = False
        try:
            writer.write(request(kind))
            head = await reader.readuntil(b"\r\n\r\n")
            async for _ in content(reader, head):
                pass
            whole = plain and b"\r\nconnection: close" not in head.lower()
            return int(head[9:12])
        finally:
            if whole:
                self._kept.append((reader, writer))
            else:
                writer.transport.abort()

    def _usable(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """A kept connection that the server has not ended: those at the bottom may rest longer than it waits."""
        while self._kept:
            reader, writer = self._kept.pop()
            if not reader.at_eof():
                return reader, writer
            writer.transport.abort()
        return None


def request(kind: Kind) -> bytes:
    length = len(kind.body) if kind.promised is None else kind.promised
    method, framing = ("POST", f"content-length: {length}\r\n") if kind.body else ("GET", "")
    lines = f"{method} {kind.path} HTTP/1.1\r\nhost: 127.0.0.1\r\nx-api-key: {key_of(kind.tenant)}\r\n{framing}\r\n"
    return lines.encode() + kind.body


async def content(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
    """The body in parts, by length or in chunks. Raises ``ValueError`` and ``IncompleteReadError``."""
    fields = head.lower()
    if b"\r\ntransfer-encoding: chunked" in fields:
        while size := int(await reader.readuntil(b"\r\n"), 16):
            yield (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return
    left = int(fields.partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0])
    while left:
        part = await reader.read(min(left, 65_536))
        if not part:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(part)
        yield part


@contextlib.contextmanager
def started() -> Iterator[tuple[int, int]]:
    """The mock upstream and the gateway; the gateway's process id and port. Raises ``NotStarted``."""
    port, admin, upstream = free_ports(3)
    mock = Launch(command=(sys.executable, "-m", "gateway.cli", "mock", "upstream", "--port", str(upstream)))
    with tempfile.TemporaryDirectory(prefix="soak-") as name, contextlib.ExitStack() as held:
        folders = [Path(name) / "upstream", Path(name) / "gateway"]
        for folder in folders:
            folder.mkdir()
        pid = held.enter_context(running(mock, folders[0]))
        await_answer(pid, upstream, "/", "", 200, folders[0])
        pid = held.enter_context(running(launch(POLICIES, folders[1], port, admin, upstream), folders[1]))
        await_answer(pid, port, "/", "", 401, folders[1])
        yield pid, port


async def soak(
    pid: int, port: int, chosen: argparse.Namespace, step: Callable[[float], None]
) -> tuple[list[Sample], Load]:
    """Load and samples for the chosen time. Raises ``NotStarted`` when the gateway ends meanwhile."""
    load, samples, start = Load(port, chosen.rate), [], time.monotonic()
    seconds = chosen.minutes * 60
    running_load = asyncio.create_task(load.run(start + seconds))
    try:
        for number in range(1, int(seconds / chosen.every) + 1):
            await asyncio.sleep(max(0.0, start + number * chosen.every - time.monotonic()))
            sample = read(pid, time.monotonic() - start, load.begun)
            if not sample.rss:
                raise NotStarted("the gateway ended during the run")
            samples.append(sample)
            print(line(sample), flush=True)
            step(sample.at_s)
        await running_load
    finally:
        running_load.cancel()
    return samples, load


def read(pid: int, at_s: float, calls: int) -> Sample:
    held = memory(pid)
    return Sample(at_s=round(at_s, 1), rss=held.rss, pss=held.pss, descriptors=descriptors(pid), calls=calls)


def line(sample: Sample) -> str:
    return (
        f"{sample.at_s:>7.1f} s  RSS {sample.rss / MIB:>7.1f} MiB  PSS {sample.pss / MIB:>7.1f} MiB  "
        f"{sample.descriptors:>5} descriptors  {sample.calls:>8,} calls"
    )


def plot(samples: Sequence[Sample]) -> str:
    def curve(name: str, of: Callable[[Sample], float]) -> chart.Line:
        return chart.Line(name=name, points=[(one.at_s / 60, of(one)) for one in samples])

    sizes = [curve("RSS", lambda one: one.rss / MIB), curve("PSS", lambda one: one.pss / MIB)]
    return chart.svg("Soak: the gateway's process tree under a steady mixed load", [
        chart.Panel(title="Memory", x="minutes", y="MiB", lines=sizes),
        chart.Panel(title="Open descriptors", x="minutes", y="count", lines=[curve("open", _descriptors)]),
    ])  # fmt: skip


def _descriptors(sample: Sample) -> float:
    return sample.descriptors


def as_json(
    chosen: argparse.Namespace, samples: Sequence[Sample], load: Load, found: Sequence[Verdict]
) -> dict[str, Any]:
    return {
        "minutes": chosen.minutes,
        "rate": chosen.rate,
        "samples": [asdict(one) for one in samples],
        "answers": dict(sorted(load.answers.items())),
        "wrong": dict(load.wrong),
        "verdicts": [{**asdict(one), "flat": one.flat} for one in found],
    }


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second, of all kinds")
    parser.add_argument("--every", type=float, default=5.0, help="seconds between two samples")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--plot", type=svg_file, metavar="FILE.svg")
    return parser


def main() -> int:
    parser = arguments()
    chosen = parser.parse_args()
    if min(chosen.minutes, chosen.rate, chosen.every) <= 0 or chosen.minutes * 60 / chosen.every < LEAST_SAMPLES:
        parser.error(f"--minutes, --every: at least {LEAST_SAMPLES} samples are needed; --rate is above 0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    try:
        with started() as (pid, port), progress("soaking", chosen.minutes * 60) as step:
            samples, load = asyncio.run(soak(pid, port, chosen, step))
    except (NotStarted, OSError) as error:
        print(f"soak: {error}", file=sys.stderr)
        return 3
    found = judged(samples)
    if chosen.json:
        chosen.json.write_text(json.dumps(as_json(chosen, samples, load, found), indent=1) + "\n")
    if chosen.plot:
        chosen.plot.write_text(plot(samples))
    for answer, count in sorted(load.answers.items()):
        print(f"  {count:>8,}  {answer}")
    for what, count in load.wrong.items():
        print(f"WRONG {count:,} times: {what}")
    for one in found:
        word = "flat " if one.flat else "GREW "
        print(f"{word} {one.what}: {one.second:.1f}, then {one.last:.1f} (at most {one.at_most:.1f})")
    return 0 if all(one.flat for one in found) and not load.wrong else 1


if __name__ == "__main__":
    sys.exit(main())
