"""The rate-limit fields that everybody uses, without a profile: the net under all of them.

The structured pair of drafts -08 to -11, the dictionary of -07, the triple of -06 and before, and the same three names
under ``X-RateLimit-``, ``X-Rate-Limit-`` and ``Rate-Limit-``. Sources: spec throttling.md N1-N12, spec http.md §1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from policies.throttling import ONLY, UpstreamLimit
from upstreams.answer import Answer
from upstreams.counters import combined, counted, joined, structured, timed
from upstreams.ratelimit_fields import dictionary, limits, windows

POLICY: Final = b"ratelimit-policy"
CURRENT: Final = b"ratelimit"
PREFIXES: Final = (b"ratelimit", b"x-ratelimit", b"x-rate-limit", b"rate-limit")
_SUFFIXES: Final = (b"-limit", b"-remaining", b"-used", b"-reset", b"-reset-after")
_NAMES: Final = tuple(tuple(prefix + suffix for suffix in _SUFFIXES) for prefix in PREFIXES)
NAMES: Final = frozenset((POLICY, CURRENT, *(name for names in _NAMES for name in names)))


def structured_members(answer: Answer) -> list[UpstreamLimit]:
    """The well-formed pair, which is read whatever the profile says: it must not be made more generous (RL-I1)."""
    fields = answer.fields
    if CURRENT not in fields and POLICY not in fields:
        return []
    return structured(answer, POLICY, CURRENT)


def generic_members(answer: Answer, *, paired: bool) -> list[UpstreamLimit]:
    """Every family of the names that everybody uses; ``paired``: those of the structured pair are read already."""
    fields = answer.fields
    spans = windows(joined(fields.get(POLICY))) or [] if POLICY in fields and not paired else []
    found = _dictionary(answer, spans) if CURRENT in fields and not paired else []
    for names in _NAMES:
        for name in names:
            if name in fields:
                found += _family(answer, names, spans if names is _NAMES[0] else [])
                break
    return found


def _dictionary(answer: Answer, spans: list[tuple[int, int]]) -> list[UpstreamLimit]:
    """``limit=100, remaining=50, reset=5`` of draft -07."""
    said = dictionary(joined(answer.fields.get(CURRENT)))
    if said is None:
        return []
    quotas, left, resets = ([said[key]] if key in said else [] for key in ("limit", "remaining", "reset"))
    return combined(ONLY, quotas, left, [], resets, _window(said.get("limit"), spans), genuine=True)


def _family(answer: Answer, names: tuple[bytes, ...], spans: list[tuple[int, int]]) -> list[UpstreamLimit]:
    """One family of names. The list that drafts -01 to -03 put into Limit names the windows, too."""
    limit, remaining, used, reset, reset_after = (_texts(answer, name) for name in names)
    quotas, spans = _quotas(limit, spans)
    if quotas and min(quotas) < 0:  # N11
        return []
    # A delay needs no clock, so it goes before the instant (spec vector xr-reset-after-wins).
    resets = timed(reset_after, "auto", answer.received) if reset_after else ()
    resets = resets or (timed(reset, "auto", answer.received) if reset else ())
    left = counted(remaining) if remaining else ()
    spent = counted(used) if used else ()
    if not (quotas or left or spent or resets):
        return []
    genuine = names is _NAMES[0] and all(text.isascii() and text.isdigit() and len(text) < 10 for text in reset)
    return combined(ONLY, quotas, left, spent, resets, _window(quotas[0] if quotas else None, spans), genuine=genuine)


def _texts(answer: Answer, name: bytes) -> Sequence[str]:
    lines = answer.fields.get(name)
    return [line.decode("latin-1").strip(" \t") for line in lines] if lines is not None else ()


def _quotas(texts: Sequence[str], spans: list[tuple[int, int]]) -> tuple[Sequence[int], list[tuple[int, int]]]:
    """The limits, and the windows of quotas: those of the list in the field itself, else ``spans``."""
    if not texts:
        return (), spans
    if not any(";" in text for text in texts):
        return counted(texts), spans
    listed = limits(", ".join(texts))
    if listed is None:
        return (), spans
    bare, own = listed
    return bare or [quota for quota, _ in own], own or spans


def _window(quota: int | None, spans: list[tuple[int, int]]) -> int | None:
    """The window of the policy with that quota; of the only policy where no quota is known."""
    if quota is None:
        return spans[0][1] if len(spans) == 1 else None
    return next((w for q, w in spans if q == quota), None)


def agreed(members: list[UpstreamLimit], *, structured: int, distinct: bool) -> list[UpstreamLimit]:
    """``members`` without those that say again what another has said, in other units or with less (N12).

    The first ``structured`` of them have names of the upstream's own: equal counts make no two of them one (RL-I1).
    ``distinct``: a profile told them apart, so that only one that adds a window to the other says the same.
    """
    kept: list[UpstreamLimit] = []
    for number, member in enumerate(members):
        for index, other in enumerate(kept):
            apart = number < structured and member.name != other.name
            if not apart and _agree(other, member, distinct=distinct):
                kept[index] = _both(other, member)
                break
        else:
            kept.append(member)
    return kept


def _agree(one: UpstreamLimit, other: UpstreamLimit, *, distinct: bool) -> bool:
    """Whether both may describe one limit: the same counts, and nothing that differs by more than rounding."""
    if distinct and one.genuine_ietf == other.genuine_ietf and (one.q is None or (one.w is None) == (other.w is None)):
        return False
    return (
        one.q == other.q
        and one.r == other.r
        and (one.q is not None or one.r is not None)
        and (one.t is None or other.t is None or abs(one.t - other.t) <= 1)
        and (one.w is None or other.w is None or one.w == other.w)
    )


def _both(one: UpstreamLimit, other: UpstreamLimit) -> UpstreamLimit:
    genuine = one if one.genuine_ietf or not other.genuine_ietf else other
    rest = other if genuine is one else one
    return UpstreamLimit(
        name=genuine.name,
        q=one.q,
        w=one.w if one.w is not None else other.w,
        r=one.r,
        t=genuine.t if genuine.t is not None else rest.t,
        qu=genuine.qu,
        genuine_ietf=genuine.genuine_ietf,
    )
