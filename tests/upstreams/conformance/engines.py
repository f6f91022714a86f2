"""The engines that answer to the port, by name: every case of this folder runs on each of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import pytest

from policies.model import Upstream
from upstreams.http1 import Http1Transport
from upstreams.httpx_engine import HttpxTransport
from upstreams.transport import Transport


class Engine(Protocol):
    """How a transport is made."""

    def __call__(self, upstream: Upstream, *, listeners: frozenset[tuple[str, int]] = ...) -> Transport: ...


ENGINES: Mapping[str, Engine] = {"httpx": HttpxTransport, "http1": Http1Transport}

on_every_engine = pytest.mark.parametrize("engine", list(ENGINES))
