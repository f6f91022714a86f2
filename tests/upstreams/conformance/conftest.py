"""The loop of the conformance suite: uvloop, because both engines run on it in production.

One loop for each run and not two in one, which would double the minute that the suite takes. asyncio is what a
worker falls back to where uvloop cannot be imported: ``CONFORMANCE_LOOP=asyncio`` plays every case on it, and
``test_http1`` plays the engine's races on both in every run.
"""

from __future__ import annotations

import os

import pytest

LOOP = os.environ.get("CONFORMANCE_LOOP", "uvloop")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": LOOP == "uvloop"}
