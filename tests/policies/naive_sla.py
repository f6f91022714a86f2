"""A second evaluator of a period, as naive as can be: one byte a second, gaps closed by regular expressions.

It exists to disagree with ``policies.sla``, of which it imports nothing. Takes and gives plain values, named as in the
vectors, with times as Unix seconds. Source: spec sla.md sections 2, 4, 5 and 15.
"""

from __future__ import annotations

import decimal
import re
from fractions import Fraction
from typing import Any

DAY = 86_400
GOOD, IDLE, BAD, STRONG, FILLED = b"g", b"i", b"b", b"s", b"f"


def figure(world: dict[str, Any]) -> dict[str, Any]:
    """``world``: start, end, contract, background, slots, platform_background, platform_slots, dark, exclusions,
    policy, tenant. A slot's content is {good, failed}."""
    policy, begin, stop = world["policy"], world["start"] - DAY, world["end"] + DAY
    line, errors = _painted(world, begin, stop)
    line = _filled(line, policy)
    down = _downtime(line, errors, begin, policy)
    force = _mask(begin, stop, world["contract"]) & _mask(begin, stop, [(world["start"], world["end"])])
    bad = int.from_bytes(line.translate(_ONLY_BAD), "big")
    gross, valid = down & force, _valid(world, begin, stop, force)
    judged = _size(force) - (_size(valid) if policy["denominator"] == "calendar_minus_excluded" else 0)
    counted = _size(gross) - _size(gross & valid)
    return {
        "gross_downtime_seconds": _size(gross),
        "excluded_seconds": _size(gross & valid),
        "downtime_seconds": counted,
        "degraded_seconds": _size(bad & force) - _size(gross),
        "exclusion_window_seconds": _size(valid),
        "period_seconds": _size(force),
        "windows": _windows(gross, begin, stop),
        **_worth(counted, judged, policy),
    }


_ONLY_BAD = bytes(1 if bytes([code]) in (BAD, STRONG, FILLED) else 0 for code in range(256))


def _painted(world: dict[str, Any], begin: int, stop: int) -> tuple[bytearray, dict[int, int]]:
    """A byte for each second, and the errors of those bad slots that were alive for a second at least."""
    policy = world["policy"]
    size = policy["slot_seconds"]
    own, above = ("", "platform_") if policy["scope"] == "tenant" else ("platform_", "platform_")
    unnamed = _slot_bytes(world[own + "background"], world[above + "background"], policy)[0]
    line, errors = bytearray(unnamed * (stop - begin)), {}
    dark = bytearray(stop - begin)
    for start, end in world["dark"]:
        _put(dark, start - begin, end - begin, b"\x01")
    told = {*world[own + "slots"], *world[above + "slots"]}
    for slot in range(begin // size * size, stop, size):
        if slot not in told and unnamed != BAD:
            continue  # painted, and no error of it counts
        content = world[own + "slots"].get(slot, world[own + "background"])
        verdict, failed = _slot_bytes(content, world[above + "slots"].get(slot, world[above + "background"]), policy)
        if verdict == BAD and (slot < begin or slot + size > stop or 0 in dark[slot - begin : slot + size - begin]):
            errors[slot] = failed
        _put(line, slot - begin, slot + size - begin, verdict)
    for start, end in world["dark"]:
        _put(line, start - begin, end - begin, STRONG)
    return line, errors


def _slot_bytes(own: dict[str, Any], above: dict[str, Any], policy: dict[str, Any]) -> tuple[bytes, int]:
    verdict, errors = _verdict(own, policy)
    inherits = verdict == IDLE and policy["scope"] == "tenant" and policy["idle_inherits_platform"]
    return (STRONG if inherits and _verdict(above, policy)[0] == BAD else verdict), errors


def _put(line: bytearray, start: int, end: int, byte: bytes) -> None:
    start, end = max(start, 0), min(end, len(line))
    line[start:end] = byte * max(end - start, 0)


def _verdict(slot: dict[str, Any], policy: dict[str, Any]) -> tuple[bytes, int]:
    errors = sum(
        count
        for cause, count in slot["failed"].items()
        if cause in policy["counted_causes"] and cause not in policy["excluded_causes"]
    )
    eligible = slot["good"] + errors
    if eligible == 0 or eligible < policy["min_requests_per_slot"]:
        return IDLE, errors
    return (BAD if Fraction(errors, eligible) >= Fraction(policy["threshold_percent"]) / 100 else GOOD), errors


def _filled(line: bytearray, policy: dict[str, Any]) -> bytes:
    """Between the first bad second and the last: nothing else can lie between two."""
    marked = line.translate(_ONLY_BAD)
    first, last = max(marked.find(b"\x01"), 0), marked.rfind(b"\x01") + 1
    made = bytes(line[first:last])
    if policy["max_bridge_seconds"]:
        made = re.sub(rb"(?<=[bs])i{1,%d}(?=[bs])" % policy["max_bridge_seconds"], _fill, made)
    if policy["merge_gap_seconds"]:
        made = re.sub(rb"(?<=[bsf])[gi]{1,%d}(?=[bsf])" % policy["merge_gap_seconds"], _fill, made)
    return bytes(line[:first]) + made + bytes(line[last:])


def _fill(gap: re.Match[bytes]) -> bytes:
    return FILLED * len(gap[0])


def _downtime(line: bytes, errors: dict[int, int], begin: int, policy: dict[str, Any]) -> int:
    down = bytearray(len(line))
    for start, end in _stretches(line.translate(_ONLY_BAD)):
        first, last = start + begin, end + begin
        seen = sum(n for slot, n in errors.items() if slot + policy["slot_seconds"] > first and slot < last)
        if end - start >= policy["min_run_seconds"] and (STRONG in line[start:end] or seen >= policy["min_run_errors"]):
            _put(down, start, end, b"\x01")
    return int.from_bytes(down, "big")


def _mask(begin: int, stop: int, pairs: Any) -> int:
    """A byte of 1 for each second in ``pairs``, as one number, so that sets are met by ``&`` and ``|``."""
    marked = bytearray(stop - begin)
    for start, end in pairs:
        _put(marked, start - begin, end - begin, b"\x01")
    return int.from_bytes(marked, "big")


def _size(mask: int) -> int:
    return mask.bit_count()


def _windows(mask: int, begin: int, stop: int) -> list[list[int]]:
    return [[start + begin, end + begin] for start, end in _stretches(mask.to_bytes(stop - begin, "big"))]


def _stretches(marked: bytes) -> list[tuple[int, int]]:
    """Where bytes of 1 stand together."""
    made, end = [], 0
    while (start := marked.find(b"\x01", end)) >= 0:
        end = marked.find(b"\x00", start)
        end = len(marked) if end < 0 else end
        made.append((start, end))
    return made


def _valid(world: dict[str, Any], begin: int, stop: int, force: int) -> int:
    maintenance = others = 0
    for asked in world["exclusions"]:
        if asked.get("tenant") not in (None, world["tenant"]):
            continue
        if asked["type"] == "scheduled_maintenance":
            maintenance |= _announced(asked, world["policy"], begin, stop)
        elif _on_record(asked, world):
            others |= _mask(begin, stop, [(asked["from"], asked["to"])])
    maintenance &= force
    if world["policy"]["maintenance_cap_seconds"] is not None:
        maintenance = _first_seconds(maintenance, world["policy"]["maintenance_cap_seconds"], stop - begin)
    return maintenance | others & force


def _on_record(asked: dict[str, Any], world: dict[str, Any]) -> bool:
    if not asked.get("approved") or asked.get("recorded_at") is None:
        return False
    return bool(asked["recorded_at"] - world["end"] <= world["policy"]["exclusion_record_seconds"])


def _first_seconds(mask: int, cap: int, size: int) -> int:
    marked = [found.start() for found in re.finditer(rb"\x01", mask.to_bytes(size, "big"))]
    return _mask(0, size, [(at, at + 1) for at in marked[:cap]])


def _announced(asked: dict[str, Any], policy: dict[str, Any], begin: int, stop: int) -> int:
    latest = timely = 0
    for told in sorted(asked["announcements"], key=lambda each: each["at"]):
        window = _mask(begin, stop, [(told["from"], told["to"])])
        if told.get("cancelled"):
            latest = timely = 0
            continue
        latest = window
        if told["at"] + policy["maintenance_notice_seconds"] <= told["from"]:
            timely |= window
    actual = asked.get("actual")
    worked = latest if actual is None else latest & _mask(begin, stop, [(actual["from"], actual["to"])])
    return worked & timely


def _worth(counted: int, judged: int, policy: dict[str, Any]) -> dict[str, Any]:
    if judged <= 0:
        return {"uptime_percent": None, "credit_percent": "0", "termination_right": False}
    with decimal.localcontext(decimal.Context(prec=80, rounding=decimal.ROUND_FLOOR)):
        exact = decimal.Decimal(100 * (judged - counted)) / judged
        shown = exact.quantize(decimal.Decimal(1).scaleb(-policy["display_decimals"]))
    band = next(band for band in policy["bands"] if (judged - counted) * 100 >= Fraction(band["min"]) * judged)
    return {
        "uptime_percent": str(shown),
        "credit_percent": band["credit"],
        "termination_right": band.get("termination", False),
    }
