"""``tiergate throttle``: what was typed -> a ``Question``, and which profile is meant.

What is then worked out and shown is ``gateway.throttle_report``'s.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.profiles import built_in
from gateway.throttle_report import BadProfile, Question, as_json, as_text, profile_from, profiles_json, profiles_text
from gateway.throttle_report import report as report_on
from policies.format.scalars import parse_instant
from policies.format.units import ValueProblem, closest, short
from policies.throttling import GENERIC, Profile
from upstreams.transport import Headers

SECOND_US = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""RFC 9110 5.1 and 5.5: what no engine would let through."""
_NOT_IN_A_NAME = re.compile(r"[^\w.-]+")
"""A file may have a name that a policy would take for a variable's."""


class Unusable(Exception):
    """Something typed that cannot be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The upstream's answer as typed; ``now_us`` is the gateway's clock."""

    status: int
    headers: Headers
    body: bytes
    now_us: int


def listing(as_json: bool) -> str:
    """Every profile that is built in."""
    profiles = sorted(built_in().by_name.values(), key=lambda profile: profile.name)
    return profiles_json(profiles) if as_json else profiles_text(profiles)


def answer(status: int | None, headers: Sequence[str], body: Path | None, now: str | None) -> Answer:
    """Raises ``Unusable`` and ``OSError``."""
    if status is None:
        raise Unusable("say what the upstream answered: --status 429 (or --list for the profiles)")
    return Answer(
        status=status, headers=[_field(line) for line in headers], body=_content(body), now_us=_instant_us(now)
    )


def chosen(provider: str | None, host: str | None, file: Path | None) -> Profile:
    """The profile that is meant; the generic one without a word. Raises ``Unusable`` and ``OSError``."""
    if sum(each is not None for each in (provider, host, file)) > 1:
        raise Unusable("--provider, --host and --profile each choose the profile; give one of them")
    if file is not None:
        try:
            return profile_from(_NOT_IN_A_NAME.sub("-", file.stem), str(file), file.read_bytes())
        except BadProfile as bad:
            raise Unusable(f"this profile cannot be used\n{bad}") from bad
    if host is not None:
        return built_in().of_host(host.lower()) or GENERIC
    known = built_in().by_name
    if provider is not None and provider not in known:
        raise Unusable(f"no profile is called {short(provider)}; {closest(provider, known) or '--list shows all'}")
    return known[provider] if provider is not None else GENERIC


def run(profile: Profile, given: Answer, native: bool, keep_status: bool, json: bool) -> str:
    """The report on ``given`` as ``profile`` takes it."""
    question = Question(
        profile=profile,
        status=given.status,
        headers=given.headers,
        body=given.body,
        now_us=given.now_us,
        throttled_body="native" if native else "normalised",
        map_status=not keep_status,
    )
    found = report_on(question)
    return as_json(found) if json else as_text(found)


def _field(line: str) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    try:
        if colon and _NAME.fullmatch(name) and not _NOT_IN_A_VALUE.search(value):
            return name.lower().encode("ascii"), value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError:
        pass
    raise Unusable(f"{short(line)} is not a field; write --header 'name: value'")


def _content(file: Path | None) -> bytes:
    if file is None:
        return b""
    return sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()


def _instant_us(text: str | None) -> int:
    if text is None:
        return time.time_ns() // 1_000
    if text.isascii() and text.isdigit() and len(text) < 12:
        return int(text) * SECOND_US
    try:
        return parse_instant(text)
    except ValueProblem as problem:
        raise Unusable(f"--now: {problem.message}; write Unix seconds or 2026-09-21T14:13:20Z") from problem
