"""The answers of ``mock_dialects.yaml``: how providers refuse for now, and how they answer afterwards.

A sample's ``wait`` is how long it asks for, in seconds. ``{wait}``, ``{wait_ms}``, ``{epoch}``, ``{epoch_ms}``,
``{http_date}`` and ``{iso}`` in its values stand for that wait, or for the moment when it is over.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml

DEFAULT_WAIT_S = 60
_PLACE = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, fields and body, filled in."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes


@lru_cache(maxsize=1)
def dialects() -> Mapping[str, Mapping[str, Any]]:
    """The samples by name, as they are written."""
    text = files("gateway").joinpath("mock_dialects.yaml").read_text("utf-8")
    loaded: Mapping[str, Mapping[str, Any]] = yaml.safe_load(text)
    return loaded


def throttled(name: str, *, now_s: float, wait_s: float | None = None) -> Answer:
    """The refusal of a dialect, asking for ``wait_s`` instead of what the sample says."""
    sample = dialects().get(name) or _no_such()
    wait = sample.get("wait", DEFAULT_WAIT_S) if wait_s is None else wait_s
    return _filled(sample, values(wait, now_s))


def afterwards(name: str, *, now_s: float) -> Answer | None:
    """What the provider answers to a call that it accepts; None where the sample does not say."""
    sample = dialects().get(name, {}).get("then")
    return None if sample is None else _filled({"status": 200, **sample}, values(0, now_s))


def _no_such() -> Mapping[str, Any]:
    body = {"error": "no such dialect", "dialects": sorted(dialects())}
    return {"status": 404, "headers": [["content-type", "application/json"]], "body": body}


def values(wait_s: float, now_s: float) -> Mapping[str, int | str]:
    """What the placeholders stand for. Nothing is rounded down: who waits as long as told has waited long enough."""
    end_s = now_s + wait_s
    end = datetime.fromtimestamp(math.ceil(end_s), UTC)
    return {
        "wait": math.ceil(wait_s),
        "wait_ms": math.ceil(wait_s * 1000),
        "epoch": math.ceil(end_s),
        "epoch_ms": math.ceil(end_s * 1000),
        "http_date": format_datetime(end, usegmt=True),
        "iso": end.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _filled(sample: Mapping[str, Any], values: Mapping[str, int | str]) -> Answer:
    body = _fill(sample.get("body", ""), values)
    text = body if isinstance(body, str) else json.dumps(body)
    headers = [(name, str(_fill(value, values))) for name, value in sample.get("headers", [])]
    return Answer(status=int(sample["status"]), headers=headers, body=text.encode())


def _fill(value: Any, values: Mapping[str, int | str]) -> Any:
    """``value`` with its placeholders replaced; a text that is one placeholder becomes what that stands for."""
    if isinstance(value, Mapping):
        return {key: _fill(each, values) for key, each in value.items()}
    if isinstance(value, list):
        return [_fill(each, values) for each in value]
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    return values[whole[1]] if whole else _PLACE.sub(lambda place: str(values[place[1]]), value)


@dataclass(slots=True)
class Refusals:
    """How often each script has been refused, for scripts that are refused so many ``times`` and then served."""

    counts: Counter[str] = field(default_factory=Counter)

    def due(self, target: str, times: str | None) -> bool:
        """Whether this call is one of the first ``times`` of its script: of the path up to ``times=``."""
        if times is None:
            return True
        path = target.partition("?")[0]
        before, found, _ = path.partition("/times=")
        key = before if found else path
        self.counts[key] += 1
        return self.counts[key] <= int(times)
