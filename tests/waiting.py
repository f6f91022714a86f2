"""Waiting in a test for what another task, thread or process does: until it is so, and never longer than is said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOK_S = 0.01


async def eventually(look: Callable[[], object], within_s: float = 20.0) -> None:
    """Returns once ``look`` is true. Raises ``TimeoutError``."""
    async with asyncio.timeout(within_s):
        while not look():
            await asyncio.sleep(LOOK_S)
