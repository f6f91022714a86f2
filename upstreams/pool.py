"""Which transport serves an upstream, and when an outdated one is closed.

One transport for each definition of an upstream. A reload that changes a definition makes a new transport; the
old one is closed when its last call ends. How a transport works is its engine's affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol

from policies.model import Upstream
from upstreams.transport import Transport


class Borrowed(Protocol):
    """A transport in use; leaving the block says that the call has ended."""

    def __enter__(self) -> Transport: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None: ...


class TransportLookup(Protocol):
    """Where the forwarder finds the transport of an upstream."""

    def borrow(self, upstream: Upstream) -> Borrowed: ...


class _Entry:
    """One definition's transport and the calls that use it. Itself the context manager of a call."""

    __slots__ = ("_close", "calls", "retired", "transport", "upstream")

    def __init__(self, upstream: Upstream, transport: Transport, close: Callable[[_Entry], None]) -> None:
        self.upstream = upstream
        self.transport = transport
        self.calls = 0
        self.retired = False
        self._close = close

    def __enter__(self) -> Transport:
        self.calls += 1
        return self.transport

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.calls -= 1
        if self.retired and not self.calls:
            self._close(self)


class Transports:
    """``TransportLookup`` that makes transports with ``make`` at first use."""

    def __init__(self, make: Callable[[Upstream], Transport]) -> None:
        self._make = make
        self._current: dict[str, _Entry] = {}
        self._retired: list[_Entry] = []
        self._closing: set[asyncio.Task[None]] = set()

    def borrow(self, upstream: Upstream) -> Borrowed:
        """The transport of exactly this definition, for the time of one call."""
        entry = self._current.get(upstream.name)
        if entry is not None and (entry.upstream is upstream or entry.upstream == upstream):
            return entry
        return self._other(upstream, entry)

    def retain(self, upstreams: Iterable[Upstream]) -> None:
        """After a reload: close whatever is not among ``upstreams``, each when its last call has ended."""
        kept = {upstream.name: upstream for upstream in upstreams}
        for entry in [*self._current.values()]:
            if kept.get(entry.upstream.name) != entry.upstream:
                self._retire(entry)

    async def aclose(self) -> None:
        """Close every transport now, whatever still uses it."""
        entries = [*self._current.values(), *self._retired]
        self._current.clear()
        self._retired.clear()
        await asyncio.gather(*(entry.transport.aclose() for entry in entries), *self._closing)

    def _other(self, upstream: Upstream, current: _Entry | None) -> Borrowed:
        # A call that began before a reload still asks for the old definition.
        for entry in self._retired:
            if entry.upstream == upstream:
                return entry
        if current is not None:
            self._retire(current)
        entry = self._current[upstream.name] = _Entry(upstream, self._make(upstream), self._close)
        return entry

    def _retire(self, entry: _Entry) -> None:
        del self._current[entry.upstream.name]
        entry.retired = True
        self._retired.append(entry)
        if not entry.calls:
            self._close(entry)

    def _close(self, entry: _Entry) -> None:
        if entry in self._retired:
            self._retired.remove(entry)
        task = asyncio.get_running_loop().create_task(entry.transport.aclose())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
