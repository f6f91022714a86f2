"""A month's figure in one line, for people at a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def said(figure: Mapping[str, Any]) -> str:
    """``99.8611 %, 3600 s of downtime, missed``; no data is no figure (spec P3), no promise no verdict (V6)."""
    if figure["uptime_percent"] is None:
        return "no data"
    verdict = "nothing promised" if figure["verdict"] == "no_promise" else figure["verdict"]
    return f"{figure['uptime_percent']} %, {figure['downtime_seconds']} s of downtime, {verdict}"
