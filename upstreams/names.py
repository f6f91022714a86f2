"""Field names that were looked at before and found harmless, so that the next look is one membership test.

Callers and upstreams choose the names, hence both bounds: names that somebody makes up in great number push the
usual ones out, and those come back with the next request. What harmless means is the owner's to say.
"""

from __future__ import annotations

NAMES_KEPT = 4_096
LONGEST_NAME = 64


class KnownNames(set[bytes]):
    """A bounded set of names."""

    __slots__ = ()

    def learn(self, name: bytes) -> None:
        """Remember ``name``, unless it is too long to be remembered."""
        if len(name) > LONGEST_NAME:
            return
        if len(self) >= NAMES_KEPT:
            self.clear()
        self.add(name)
