"""What the SLA's commands call things on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def whose(tenant: str | None) -> str:
    return "the platform" if tenant is None else tenant


def uptime(percent: str | None) -> str:
    return "no data" if percent is None else f"{percent} %"


def in_words(figure: Mapping[str, Any]) -> str:
    """A record's figure: ``99.8843 %, 3000 s of downtime, missed``."""
    return f"{uptime(figure['uptime_percent'])}, {figure['downtime_seconds']} s of downtime, {figure['verdict']}"
