"""One answer of the gateway as its caller got it, and whether what its fields say is what DESIGN §5 promises.

The fields are read strictly and by hand, only in the shape that the gateway may emit (RFC 9651 lists of Strings with
Integer and String parameters): a load test that forgives finds nothing. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from loadtests.arrivals.limits import Limit, SlotLimit

PARAMETER = r';[a-z*][a-z0-9_.*-]*=(?:[0-9]{1,15}|"[^"\\]*")'
MEMBER = re.compile(rf'"([^"\\]*)"((?:{PARAMETER})*)')
ONE_PARAMETER = re.compile(r';([a-z*][a-z0-9_.*-]*)=(?:([0-9]+)|"([^"]*)")')
TRIPLE = ("ratelimit-limit", "ratelimit-remaining", "ratelimit-reset")
SINGLE = (*TRIPLE, "retry-after", "retry-after-ms", "ratelimit", "ratelimit-policy", "content-type", "x-request-id")
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"

State = dict[str, dict[str, int | str]]


class Malformed(Exception):
    """What a strict reader cannot read."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``fields`` by lower-case name, each with its lines in order."""

    status: int
    reason: str
    fields: Mapping[str, Sequence[str]]
    body: bytes

    def one(self, name: str) -> str:
        """The only line of a field. Raises ``Malformed``."""
        lines = self.fields.get(name, ())
        if len(lines) != 1:
            raise Malformed(f"{len(lines)} lines of {name} where there must be one")
        return lines[0]

    def number(self, name: str) -> int:
        text = self.one(name)
        if not re.fullmatch(r"[0-9]{1,15}", text):
            raise Malformed(f"{name} is no whole number: {text!r}")
        return int(text)

    def structured(self, name: str) -> State:
        return structured(self.one(name))


def parse(head: bytes, body: bytes) -> Answer:
    """An answer from its head, without the empty line, and its body. Raises ``Malformed``."""
    first, *lines = head.decode("latin-1").split("\r\n")
    match = re.fullmatch(r"HTTP/1\.1 ([1-5][0-9]{2}) (.*)", first)
    if match is None:
        raise Malformed(f"not a status line: {first!r}")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise Malformed(f"not a field line: {line!r}")
        fields.setdefault(name.lower(), []).append(value.strip(" \t"))
    return Answer(int(match[1]), match[2], fields, body)


def structured(text: str) -> State:
    """``"minute";r=5;t=38, "day";r=7`` as name -> parameters. Raises ``Malformed``."""
    found: State = {}
    for member in text.split(", "):
        match = MEMBER.fullmatch(member)
        if match is None or match[1] in found:
            raise Malformed(f"not a list of distinct strings with parameters: {text!r}")
        found[match[1]] = {
            name: int(digits) if digits else quoted for name, digits, quoted in ONE_PARAMETER.findall(match[2])
        }
    return found


def complaints(answer: Answer, limits: Sequence[Limit]) -> list[str]:
    """What is untrue or missing in an answer of status 200 or 429, without knowing of other calls."""
    try:
        found = list(_on_every(answer, limits))
        if answer.status == 429:
            found += _on_refusal(answer, limits)
        elif "retry-after" in answer.fields:
            found.append("retry-after on an answer that is no refusal")
    except (Malformed, ValueError, KeyError) as error:
        return [f"{type(error).__name__}: {error}" if isinstance(error, KeyError) else str(error)]
    return found


def _on_every(answer: Answer, limits: Sequence[Limit]) -> Iterator[str]:
    yield from (
        f"{len(answer.fields[name])} lines of {name}" for name in SINGLE if len(answer.fields.get(name, ())) > 1
    )
    announced = {limit.name: limit.announced for limit in limits}
    policy, state = answer.structured("ratelimit-policy"), answer.structured("ratelimit")
    if policy != announced:
        yield f"ratelimit-policy announces {policy}, the policy file says {announced}"
    if list(state) != list(policy):
        yield f"ratelimit speaks of {list(state)}, ratelimit-policy of {list(policy)}"
    for limit in limits:
        yield from _on_member(limit, state.get(limit.name, {}))


def _on_member(limit: Limit, state: Mapping[str, int | str]) -> Iterator[str]:
    remaining, until = state.get("r"), state.get("t")
    if not isinstance(remaining, int) or remaining > int(limit.announced["q"]):
        yield f"{limit.name}: r={remaining} of q={limit.announced['q']}"
    longest = limit.announced.get("w")
    if longest is None and until is not None:
        yield f"{limit.name}: a limit without a window has t={until}"
    if isinstance(longest, int) and not (isinstance(until, int) and 1 <= until <= longest):
        yield f"{limit.name}: t={until} outside of 1 to w={longest}"


def _on_refusal(answer: Answer, limits: Sequence[Limit]) -> Iterator[str]:
    """DESIGN §5, line by line. Raises ``Malformed``, ``ValueError`` and ``KeyError``."""
    wait, wait_ms = answer.number("retry-after"), answer.number("retry-after-ms")
    if wait < 1 or -(-wait_ms // 1000) != wait:
        yield f"retry-after {wait} with retry-after-ms {wait_ms}"
    if answer.reason != "Too Many Requests":
        yield f"the reason phrase is {answer.reason!r}"
    for name, expected in (
        ("proxy-status", "tiergate; error=http_request_error"),
        ("cache-control", "no-store"),
        ("content-type", "application/json"),
    ):
        if answer.one(name) != expected:
            yield f"{name}: {answer.one(name)}"
    body = json.loads(answer.body)
    yield from _on_body(answer, body, wait, limits)
    yield from _on_violated(answer, body, wait, limits)


def _on_body(answer: Answer, body: Mapping[str, Any], wait: int, limits: Sequence[Limit]) -> Iterator[str]:
    concurrency = only_slots(body, limits)
    expected = {
        "error": "rate_limited",
        "source": "concurrency" if concurrency else "tenant",
        "provider": None,
        "retry_after_seconds": wait,
        "estimated": concurrency,
        "type": QUOTA_EXCEEDED,
        "status": 429,
        "request_id": answer.one("x-request-id"),
    }
    for name, value in expected.items():
        if name not in body or body[name] != value or type(body[name]) is not type(value):
            yield f"the body's {name} is {body.get(name, 'missing')!r}, not {value!r}"
    if not isinstance(body.get("title"), str) or not body["title"]:
        yield "the body has no title"


def _on_violated(answer: Answer, body: Mapping[str, Any], wait: int, limits: Sequence[Limit]) -> Iterator[str]:
    violated = body["violated-policies"]
    state = answer.structured("ratelimit")
    if not violated or not set(violated) <= {limit.name for limit in limits}:
        yield f"violated-policies: {violated}"
        return
    for name in violated:
        if state[name]["r"] != 0:
            yield f"{name} is violated and has r={state[name]['r']}"
    latest = max((int(state[name].get("t", 0)) for name in violated), default=0)
    if wait < latest:
        yield f"retry-after {wait} is before t={latest} of a violated policy"
    triple = [name for name in TRIPLE if name in answer.fields]
    if only_slots(body, limits):
        if triple:
            yield f"a refusal by concurrency alone has {triple}"
    elif answer.number("ratelimit-remaining") != 0 or answer.number("ratelimit-reset") > wait:
        yield f"the triple says {[answer.one(name) for name in TRIPLE]} with retry-after {wait}"


def only_slots(body: Mapping[str, Any], limits: Sequence[Limit]) -> bool:
    """Whether running calls alone were in the way."""
    slots = {limit.name for limit in limits if isinstance(limit, SlotLimit)}
    return set(body["violated-policies"]) <= slots


def violated(answer: Answer) -> list[str]:
    """The limits that a refusal names; none when its body cannot be read."""
    try:
        found = json.loads(answer.body)["violated-policies"]
    except (ValueError, KeyError, TypeError):
        return []
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
