"""From a limit as written to the charge that is taken: the one place that knows all kinds.

A state's identity is its key: route, name, kind, and window or zone; never the amount, so that an edit of the
amount keeps the counters, and a change of kind or window starts afresh (spec policy.md, State).
"""

from __future__ import annotations

from policies.admission.bucket import BucketCharge
from policies.admission.decision import Charge, State
from policies.admission.quota import RECORD, QuotaCharge, used_in
from policies.admission.window import WindowCharge
from policies.admission.window import is_idle as window_is_idle
from policies.model import Bucket, Concurrent, Limit, Quota, Window
from policies.periods import period

SEPARATOR = "\x1f"
"""Stands between the parts of a key; no name may hold it (checked at load)."""


def state_key(limit: Limit, route: str | None) -> str:
    """The identity of a limit's state inside an account; ``route`` None for a tenant-wide limit."""
    match limit:
        case Window():
            shape: tuple[str, ...] = ("window", str(limit.period_us))
        case Bucket():
            shape = ("bucket",)
        case Quota():
            shape = ("quota", limit.unit, limit.zone)
        case _:
            shape = ("concurrent",)
    return SEPARATOR.join((route or "", limit.name, *shape))


def charge(limit: Window | Bucket | Quota, key: str, cost: int) -> Charge:
    """``cost`` units of ``limit``, its state kept under ``key``."""
    match limit:
        case Window():
            return WindowCharge(limit, key, cost)
        case Bucket():
            return BucketCharge(limit, key, cost)
        case Quota():
            return QuotaCharge(limit, key, cost)


def capacity(limit: Limit) -> int:
    """The most units that one call can ever take from ``limit``."""
    match limit:
        case Bucket():
            return limit.burst
        case Concurrent():
            return limit.slots
        case Window() | Quota():
            return limit.amount


def is_quota(key: str) -> bool:
    """Whether ``key`` names the state of a quota."""
    return key.split(SEPARATOR)[2] == "quota"


def is_record(key: str, state: bytes) -> bool:
    """Whether a stored key and state are a quota's; what comes from a file may be anything."""
    parts = key.split(SEPARATOR)
    return len(parts) == 5 and parts[2] == "quota" and parts[3] in ("day", "month") and len(state) == RECORD.size


def is_idle(key: str, state: State, now_us: int, wall_us: int) -> bool:
    """Whether ``state`` equals no state at all, now and for ever, so that it may be forgotten."""
    _, _, kind, *shape = key.split(SEPARATOR)
    if kind == "bucket":
        return state <= now_us * 1000  # type: ignore[operator]
    if kind == "window":
        return window_is_idle(state, int(shape[0]), now_us)  # type: ignore[arg-type]
    unit, zone = shape
    start_us, _ = used_in(state)  # type: ignore[arg-type]
    return period(unit, zone, start_us)[1] <= wall_us  # type: ignore[arg-type]
