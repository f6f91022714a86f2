"""A bar on a terminal for whatever takes longer than a second; nothing anywhere else."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Show = Callable[[int], None]
"""Is told how much is done."""

BAR: int = 30
PATIENCE_S = 1.0
EVERY_S = 0.2


@contextlib.contextmanager
def progress(text: str, total: int) -> Iterator[Show]:
    """Draws on standard error, which is left as it was."""
    begun, drawn = time.monotonic(), 0.0

    def show(done: int) -> None:
        nonlocal drawn
        now = time.monotonic()
        if now - begun >= PATIENCE_S and now - drawn >= EVERY_S:
            drawn = now
            sys.stderr.write(f"\r{_line(text, done, total, now - begun)}\x1b[K")
            sys.stderr.flush()

    yield show if sys.stderr.isatty() and total else _nothing
    if drawn:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()


def counting(text: str) -> Callable[[Iterator[str]], Iterator[str]]:
    """The same for lines of which nobody knows how many there are."""

    def count(lines: Iterator[str]) -> Iterator[str]:
        begun, drawn = time.monotonic(), False
        for number, line in enumerate(lines, 1):
            if number % 5_000 == 0 and sys.stderr.isatty() and time.monotonic() - begun > PATIENCE_S:
                drawn = True
                sys.stderr.write(f"\r{text}: {number:,} lines")
                sys.stderr.flush()
            yield line
        if drawn:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    return count


def _nothing(done: int) -> None:
    pass


def _line(text: str, done: int, total: int, spent_s: float) -> str:
    filled = BAR * done // total
    left_s = spent_s * (total - done) / done if done else 0
    return f"{text} [{'#' * filled}{'.' * (BAR - filled)}] {done:,} of {total:,}, {left_s:.0f} s left"
