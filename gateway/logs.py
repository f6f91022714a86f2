"""Application logs: stdlib logging to standard error, one line an event, the process named in each.

A thread of its own writes them: a reader of standard error that has stopped costs lines, never the event loop.
"""

from __future__ import annotations

import atexit
import logging
import sys
import time
from logging.handlers import QueueHandler, QueueListener
from queue import Full, Queue

FORMAT = "%(asctime)s %(levelname)-7s {who} %(name)s: %(message)s"
KEPT_LINES = 10_000
FLUSH_S = 2.0


class _Line(logging.Formatter):
    """UTC times; a message with line breaks stays one line, so that no input can forge an entry."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


class _Deferred(QueueHandler):
    """Hands records to the writing thread; those that find its queue full are dropped."""

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except Full:
            return

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """As it is: the arguments are this program's own values, and a traceback is formatted once, by the thread."""
        return record


class _Written(QueueListener):
    def finish(self) -> None:
        """Write what is queued, for at most ``FLUSH_S``: a full pipe cannot hold up the exit."""
        thread, self._thread = self._thread, None
        if thread is not None:
            try:
                self.queue.put(self._sentinel, timeout=FLUSH_S)  # type: ignore[attr-defined]
            except Full:
                return
            thread.join(FLUSH_S)


_written: list[_Written] = []


def configure(level: str, who: str) -> None:
    """Set up this process's logging; ``who`` is ``supervisor`` or ``worker-N``."""
    flush()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(FORMAT.format(who=who)))
    lines: Queue[logging.LogRecord] = Queue(KEPT_LINES)
    listener = _Written(lines, handler)
    listener.start()
    _written.append(listener)
    logging.basicConfig(level=level.upper(), handlers=[_Deferred(lines)], force=True)
    for name in ("watchfiles", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


def flush() -> None:
    """Write what is still to be written, before the process ends."""
    while _written:
        _written.pop().finish()


atexit.register(flush)
