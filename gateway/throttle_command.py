"""``tiergate throttle``: what was typed -> a ``Question``, or a word about what cannot be used.

The answer is ``gateway.throttle_trial``'s to work out and ``gateway.throttle_report``'s to show.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from gateway.profiles import built_in
from gateway.throttle_trial import Question
from policies.format.findings import render_text
from policies.format.profiles import parse_profile
from policies.format.scalars import parse_instant
from policies.format.units import ValueProblem, closest, short
from policies.throttling import GENERIC, Profile

SECOND_US = 1_000_000
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_NOT_IN_A_VALUE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
"""RFC 9110 5.1 and 5.5: what no engine would let through."""
_NOT_IN_A_NAME = re.compile(r"[^\w.-]+")
"""A file may have a name that a policy would take for a variable's."""


class Unusable(Exception):
    """Something typed that cannot be used."""


def question(
    profile: Profile,
    *,
    status: int | None,
    headers: Sequence[str],
    body: Path | None,
    now: str | None,
    native: bool,
    keep_status: bool,
) -> Question:
    """A body without a ``content-type`` gets that of what it looks like. Raises ``Unusable`` and ``OSError``."""
    if status is None:
        raise Unusable("say what the upstream answered: --status 429 (or --list for the profiles)")
    fields, content = [_field(line) for line in headers], _content(body)
    if content and not any(name == b"content-type" for name, _ in fields):
        fields.append((b"content-type", _looks_like(content)))
    return Question(
        profile=profile,
        status=status,
        headers=fields,
        body=content,
        now_us=_instant_us(now),
        native=native,
        keep_status=keep_status,
    )


def chosen(provider: str | None, host: str | None, file: Path | None) -> Profile:
    """The profile that is meant; the generic one without a word. Raises ``Unusable`` and ``OSError``."""
    if sum(each is not None for each in (provider, host, file)) > 1:
        raise Unusable("--provider, --host and --profile each choose the profile; give one of them")
    if file is not None:
        return _in_file(file)
    if host is not None:
        return built_in().of_host(_hostname(host)) or GENERIC
    known = built_in().by_name
    if provider is not None and provider not in known:
        raise Unusable(f"no profile is called {short(provider)}; {closest(provider, known) or '--list shows all'}")
    return known[provider] if provider is not None else GENERIC


def _in_file(file: Path) -> Profile:
    data = file.read_bytes()
    made, findings = parse_profile(_NOT_IN_A_NAME.sub("-", file.stem), str(file), data)
    if made is None and not findings:
        raise Unusable(f"{file}: nothing is in it")
    if made is None or findings:
        said = render_text(findings, {str(file): data.decode("utf-8", "replace")}).rstrip()
        raise Unusable(f"this profile cannot be used\n{said}")
    return made


def _hostname(host: str) -> str:
    """The host of ``host``, which may be a whole URL or have a port, as that of an upstream's ``url`` is looked up."""
    try:
        return (urlsplit(host if "://" in host else f"//{host}").hostname or "").rstrip(".")
    except ValueError as bad:
        raise Unusable(f"--host: {short(host)} is not a host") from bad


def _field(line: str) -> tuple[bytes, bytes]:
    name, colon, value = line.partition(":")
    try:
        if colon and _TOKEN.fullmatch(name) and not _NOT_IN_A_VALUE.search(value):
            return name.lower().encode("ascii"), value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError:
        pass
    raise Unusable(f"{short(line)} is not a field; write --header 'name: value'")


def _looks_like(content: bytes) -> bytes:
    begins = content.lstrip()[:1]
    return b"application/json" if begins in (b"{", b"[") else b"text/xml" if begins == b"<" else b"text/plain"


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
