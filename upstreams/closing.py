"""How a drain reaches the open WebSockets: one ``Closing`` for a process, left in the scope of each.

Knows no WebSocket and no server; who drains is the gateway's affair. Source: RULINGS 19.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

CLOSING_KEY: Final = "tiergate.closing"
"""The ``Closing`` of this process, in the scope of a WebSocket; absent where nobody drains."""


class Closing:
    """When every open WebSocket of a process is to end: whoever holds one leaves a callback here."""

    __slots__ = ("_callbacks", "begun")

    def __init__(self) -> None:
        self.begun = False
        self._callbacks: dict[Callable[[], None], None] = {}

    def join(self, callback: Callable[[], None]) -> None:
        """``callback`` is called once, at ``begin``; at once when that has been."""
        if self.begun:
            callback()
        else:
            self._callbacks[callback] = None

    def leave(self, callback: Callable[[], None]) -> None:
        self._callbacks.pop(callback, None)

    def begin(self) -> None:
        self.begun = True
        callbacks, self._callbacks = self._callbacks, {}
        for callback in callbacks:
            callback()
