"""What the gateway makes of an upstream's answer under one profile: ``Question`` -> ``Verdict``.

Decides nothing itself: the reading is ``upstreams.throttle``'s, the answer that of the whole gateway
(``gateway.rehearsal``). Nothing is shown here.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import yaml

from gateway.rehearsal import CallerGets, FixedClock, GivenAnswer, rehearse
from policies.document import SourceFile, compose
from policies.format.findings import render_text
from policies.model import PolicySet
from policies.throttling import Catalogue, Profile, Throttle
from upstreams.held import decoded
from upstreams.throttle import normalise, reader_of
from upstreams.transport import BODILESS, Headers

HOST = "upstream.example.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An answer of an upstream, and how it is to be taken. ``now_us`` is the gateway's clock, Unix microseconds.

    ``native`` and ``keep_status`` are the upstream's ``throttled_body: native`` and ``map_status: false``.
    """

    profile: Profile
    status: int
    headers: Headers
    body: bytes
    now_us: int
    native: bool = False
    keep_status: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``throttle`` is what was read, ``unread`` why the body was not, ``gets`` what the caller would get."""

    question: Question
    throttle: Throttle
    unread: str
    gets: CallerGets


def judge(question: Question) -> Verdict:
    """The whole of it, worked out by the gateway's own code."""
    body, unread = _looked_at(question)
    throttle = normalise(question.status, question.headers, body, question.profile, question.now_us)
    answer = GivenAnswer(question.status, [*question.headers], question.body)
    gets = asyncio.run(rehearse(_policy(question), answer, clock=FixedClock(question.now_us)))
    return Verdict(question=question, throttle=throttle, unread=unread, gets=gets)


def _looked_at(question: Question) -> tuple[bytes | None, str]:
    """The body as the gateway sees it (RULINGS 12), or None with the reason; without a reason where none is needed."""
    asked = question.profile.inspect
    if not question.body or not asked.statuses or question.status in BODILESS:
        return None, ""
    if question.status not in asked.statuses:
        statuses = ", ".join(str(status) for status in sorted(asked.statuses))
        return None, f"this profile looks at bodies of status {statuses} alone"
    if not reader_of(question.profile).inspects(question.status, question.headers):
        return None, f"its content-type is not one of {', '.join(asked.content_types)}"
    if len(question.body) > asked.max_bytes:
        return None, f"it has more than {asked.max_bytes} octets"
    body = decoded(question.body, question.headers, asked.max_bytes)
    return body, "" if body is not None else f"it cannot be decoded, or to more than {asked.max_bytes} octets"


def _policy(question: Question) -> PolicySet:
    """A policy of one route without limits, so that every field is the upstream's doing."""
    name = question.profile.name
    upstream = {
        "url": f"https://{HOST}",
        "throttling": name,
        "throttled_body": "native" if question.native else "normalised",
        "map_status": not question.keep_status,
    }
    sections = {
        "auth": {"anonymous": {"tier": "anyone"}},
        "tiers": {"anyone": {"limits": {}}},
        "upstreams": {name: upstream},
        "routes": {"all": {"match": {"path": "/{rest:path}"}, "upstream": name}},
    }
    file = SourceFile(name="rehearsal.yaml", data=yaml.safe_dump(sections).encode())
    composed = compose([file], profiles=Catalogue([question.profile]))
    if composed.policy is None:
        raise ValueError(render_text(composed.findings, composed.sources))
    return composed.policy
