"""What the SLA's commands call things on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def whose(tenant: str | None) -> str:
    return "the platform" if tenant is None else tenant


def uptime(percent: str | None) -> str:
    return "no data" if percent is None else f"{percent} %"


def in_words(figure: Mapping[str, Any]) -> str:
    """``99.8843 %, 3000 s of downtime, missed``; no data is no figure (spec P3), no promise no verdict (V6)."""
    if figure["uptime_percent"] is None:
        return uptime(None)
    verdict = "nothing promised" if figure["verdict"] == "no_promise" else figure["verdict"]
    return f"{uptime(figure['uptime_percent'])}, {figure['downtime_seconds']} s of downtime, {verdict}"
