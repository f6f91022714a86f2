"""Application logs: stdlib logging to standard error, one line an event, the process named in each."""

from __future__ import annotations

import logging
import sys
import time

FORMAT = "%(asctime)s %(levelname)-7s {who} %(name)s: %(message)s"


class _Line(logging.Formatter):
    """UTC times; a message with line breaks stays one line, so that no input can forge an entry."""

    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = record.message.replace("\r", "\\r").replace("\n", "\\n")
        return super().formatMessage(record)


def configure(level: str, who: str) -> None:
    """Set up this process's logging; ``who`` is ``supervisor`` or ``worker-N``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line(FORMAT.format(who=who)))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in ("watchfiles", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)
