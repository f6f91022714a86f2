"""Which uses of keys the supervisor has not been told of yet. Costs what is new, not what is known.

Keeps what was told of one second only: later ones are known by their time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

MOST = 20_000
"""Keys a report tells of; the others wait for the next one."""


class KeyUses:
    """``since`` gives the last use of each key used in that second or later, oldest first."""

    def __init__(self, since: Callable[[int], Mapping[str, int]]) -> None:
        self._since = since
        self._told_s = 0
        self._told: dict[str, int] = {}

    def news(self) -> dict[str, int]:
        """The uses that were not told before; they count as told."""
        used = self._since(self._told_s)
        changed = ((key, second) for key, second in used.items() if self._told.get(key) != second)
        fresh = dict(islice(changed, MOST))
        latest = max(fresh.values(), default=self._told_s)
        if latest > self._told_s:
            self._told_s, self._told = latest, {}
        self._told.update((key, second) for key, second in fresh.items() if second == latest)
        return fresh
