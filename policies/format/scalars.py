"""The scalar types of the file format: how each is read, and how an editor's JSON Schema sees it.

A type turns text into an exact value or raises ``ValueProblem``; what a key means is in ``policies.schema``.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, available_timezones

from pydantic import PlainValidator, WithJsonSchema

from policies.format.commitments import parse_commitment, parse_objective
from policies.format.substitution import Substituted
from policies.format.units import (
    Rate,
    ValueProblem,
    closest,
    parse_business_time,
    parse_count,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_size,
    short,
)
from policies.model import Address, Attain, BusinessTime
from policies.sla.histogram import Commitment

_COUNT_PATTERN = r"^[0-9]+(_[0-9]+)*$"
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_INSTANT = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)(Z|z|[+-]\d{2}:\d{2})?")
_HOURS = re.compile(r"(\d{2}):(\d{2})-(\d{2}):(\d{2})")
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})")


def _yes(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, Substituted) and value.lower() in ("true", "false"):
        return value.lower() == "true"
    word = str(value).lower()
    meant = {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}.get(word)
    raise ValueProblem(
        "TG104",
        f"{short(value)} is neither true nor false",
        f"did you mean '{meant or closest(word, ['true', 'false'])[14:-2] or 'true'}'?",
    )


def _count(least: int) -> Callable[[object], int]:
    return lambda value: parse_count(value, least=least)


def parse_instant(value: object) -> int:
    """A date (its UTC midnight) or an RFC 3339 instant, as Unix microseconds. Raises ``ValueProblem`` (TG116)."""
    return _instant_of(str(value).strip())


@lru_cache(maxsize=4096)
def _instant_of(text: str) -> int:
    try:
        if _DATE.fullmatch(text):
            moment = datetime.fromisoformat(text).replace(tzinfo=UTC)
        else:
            moment = _moment_of(text)
        delta = moment - datetime(1970, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError) as error:
        if isinstance(error, ValueProblem):
            raise
        raise ValueProblem("TG116", f"{short(text)} does not exist", "check day, month and hour") from None
    return (delta.days * 86_400 + delta.seconds) * 1_000_000 + delta.microseconds


def _moment_of(text: str) -> datetime:
    found = _INSTANT.fullmatch(text)
    if found is None:
        raise ValueProblem("TG116", f"{short(text)} is not a date", "write 2026-12-25 or 2026-12-25T09:00:00Z")
    if found[3] is None:
        hint = f"did you mean '{found[1]}T{found[2]}Z'?"
        raise ValueProblem("TG116", f"{short(text)} has no offset from UTC", hint)
    return datetime.fromisoformat(text.upper().replace(" ", "T"))


def parse_day(value: object) -> str:
    """``2026-12-25``, a date that exists. Raises ``ValueProblem`` (TG116)."""
    text = str(value).strip()
    if not _DATE.fullmatch(text):
        raise ValueProblem("TG116", f"{short(text)} is not a date", "write 2026-12-25")
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueProblem("TG116", f"{short(text)} does not exist", "check day and month") from None


def parse_zone(value: object) -> str:
    """An IANA zone name that ``tzdata`` knows. Raises ``ValueProblem`` (TG117)."""
    text = str(value)
    try:
        ZoneInfo(text)
    except (ValueError, OSError, LookupError):
        hint = closest(text, sorted(available_timezones())) or "zones are named like 'Europe/Berlin' or 'UTC'"
        raise ValueProblem("TG117", f"{short(text)} is not an IANA time zone", hint) from None
    return text


def parse_hours(value: object) -> tuple[int, int]:
    """``09:00-17:00`` as minutes of the day, half-open. Raises ``ValueProblem`` (TG129)."""
    found = _HOURS.fullmatch(str(value))
    if found is None:
        raise ValueProblem("TG129", f"{short(value)} are not opening hours", 'write "09:00-17:00"')
    first, last = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if int(found[2]) > 59 or int(found[4]) > 59 or last > 1440:
        raise ValueProblem("TG129", f"{short(value)} are not hours of a day", "a day runs from 00:00 to 24:00")
    if first >= last:
        raise ValueProblem("TG129", f"{short(value)} close before they open", "cut hours over midnight into two days")
    return first, last


def parse_digest(value: object) -> bytes:
    """64 hexadecimal digits. Raises ``ValueProblem`` (TG123), which never quotes the value."""
    text = str(value)
    try:
        digest = bytes.fromhex(text) if len(text) == 64 else b""
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise _no_digest(text)
    if text.count(text[0]) > 24:
        hint = "mint a key: tiergate keys mint TENANT"
        raise ValueProblem("TG123", "this is a placeholder, not a SHA-256 digest", hint)
    if digest == _OF_NOTHING:
        hint = 'was "$KEY" unset? mint a key: tiergate keys mint TENANT'
        raise ValueProblem("TG123", "this is the SHA-256 digest of the empty string", hint)
    return digest


_OF_NOTHING = sha256(b"").digest()


def _no_digest(text: str) -> ValueProblem:
    if re.fullmatch(r"[0-9a-fA-F]{32,}", text):
        return ValueProblem(
            "TG123", f"{len(text)} hexadecimal digits are not a SHA-256 digest", "SHA-256 has 64 digits"
        )
    strange = [at for at, letter in enumerate(text) if letter not in "0123456789abcdefABCDEF"]
    if len(text) == 64 and 0 < len(strange) <= 4:
        said = f"character {strange[0] + 1}, {text[strange[0]]!r}, is no hexadecimal digit"
        return ValueProblem("TG123", said, "digits are 0-9 and a-f; copy the digest again")
    hint = 'store the digest: printf %s "$KEY" | sha256sum; and change the key, it was in a file'
    return ValueProblem("TG123", "this is no SHA-256 digest; it looks like the key itself", hint)


def parse_address(value: object) -> Address:
    """``host:port`` with IPv6 in brackets. Raises ``ValueProblem`` (TG119)."""
    text = str(value)
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueProblem("TG119", f"{short(text)} is not an address", _address_hint(text))
    if int(found[3]) > 65_535:
        raise ValueProblem("TG119", f"port {found[3]} does not exist", "ports run from 1 to 65535")
    host = found[1] or found[2]
    if found[1] or re.fullmatch(r"[0-9.]+", host):
        try:
            ip_network(host)
        except ValueError:
            raise ValueProblem(
                "TG119", f"{short(host)} is not an IP address", "write 127.0.0.1:8080 or [::1]:8080"
            ) from None
    return Address(host=host, port=int(found[3]))


def _address_hint(text: str) -> str:
    if re.fullmatch(r":?[0-9]{1,5}", text):
        return f"did you mean '127.0.0.1:{text.lstrip(':')}'?"
    if "://" in text:
        return f"did you mean '{urlsplit(text).netloc}'?"
    if re.fullmatch(r"[0-9A-Za-z.-]+", text):
        return f"did you mean '{text}:8080'?"
    return "write 127.0.0.1:8080 or [::1]:8080"


def parse_network(value: object) -> IPv4Network | IPv6Network:
    """A network, or one address. Raises ``ValueProblem`` (TG119)."""
    text = str(value)
    try:
        return ip_network(text)
    except ValueError:
        pass
    try:
        meant = f"did you mean '{ip_network(text, strict=False)}'?"
    except ValueError:
        meant = "write 10.0.0.0/8 or 2001:db8::/32"
    raise ValueProblem("TG119", f"{short(text)} is not a network", meant)


def parse_origin(value: object) -> str:
    """``*`` or a web origin as browsers send it (RFC 6454 section 6.2). Raises ``ValueProblem`` (TG128)."""
    text = str(value)
    sound = re.fullmatch(r"(https?)://[a-z0-9.-]+(?::([0-9]{1,5}))?", text)
    if sound and sound[2] and sound[2].lstrip("0") == _DEFAULT_PORTS[sound[1]]:
        hint = f"did you mean '{text.rpartition(':')[0]}'?"
        raise ValueProblem("TG128", f"browsers leave out port {sound[2]}, so {short(text)} never matches", hint)
    if text == "*" or (sound and 0 < int(sound[2] or 1) <= 65_535):
        return text
    found = re.match(r"(https?)://([^/?#]+)", text, re.IGNORECASE)
    hint = f"did you mean '{found[1].lower()}://{found[2].lower()}'?" if found else "write https://app.example.com"
    raise ValueProblem("TG128", f"{short(text)} is not a web origin", hint)


def parse_method(value: object) -> str:
    """An upper-case method token (RFC 9110 section 9.1). Raises ``ValueProblem`` (TG125)."""
    text = str(value)
    if text in ("CONNECT", "TRACE"):
        raise ValueProblem("TG125", f"{text} is never forwarded", "a tunnel or an echo is not a call: remove it")
    near = closest(text, _METHODS, cutoff=0.8) or _transposed(text)
    if text in _METHODS or (re.fullmatch(r"[A-Z][A-Z-]{2,19}", text) and not near):
        return text
    hint = near or f"did you mean '{text.upper()}'?" if text.upper() in _METHODS else closest(text.upper(), _METHODS)
    raise ValueProblem("TG125", f"{short(text)} is not a method", hint or "methods are upper-case words: GET, POST")


def _transposed(text: str) -> str:
    meant = next((method for method in _METHODS if method != text and sorted(method) == sorted(text)), None)
    return f"did you mean '{meant}'?" if meant else ""


_DEFAULT_PORTS = {"http": "80", "https": "443"}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def _target(value: object) -> Decimal | None:
    return None if value == "none" else parse_percent(value)


def _schema(pattern: str, about: str, example: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "pattern": pattern, "description": about, "examples": [example], **more})


_DURATION_PATTERN = r"^[0-9]+(_[0-9]+)*\s*(ms|s|m|h|d)$"
_UNITS = "s|sec|seconds?|min|minutes?|h|hours?|days?|months?"
_RATE_PATTERN = rf"^\s*[0-9]+(_[0-9]+)*\s*(/|\sper\s)\s*([0-9]+\s*)?({_UNITS})\s*$"

Text = str
Bool = Annotated[bool, PlainValidator(_yes), WithJsonSchema({"type": "boolean"})]
Duration = Annotated[
    int, PlainValidator(parse_duration), _schema(_DURATION_PATTERN, "A duration: 250ms, 30s, 5m, 2h, 7d", "30s")
]
Size = Annotated[int, PlainValidator(parse_size), _schema(r"^[0-9]+(_[0-9]+)*\s*(B|KiB|MiB|GiB)$", "A size", "1MiB")]
_PERCENT_PATTERN = r"^[0-9]{1,3}(\.[0-9]{1,12})?\s*%$"
Percent = Annotated[Decimal, PlainValidator(parse_percent), _schema(_PERCENT_PATTERN, "A percentage", "99.9%")]
Target = Annotated[
    Decimal | None,
    PlainValidator(_target),
    _schema(rf"^none$|{_PERCENT_PATTERN}", "Promised availability of a month, or none", "99.9%"),
]
RateValue = Annotated[Rate, PlainValidator(parse_rate), _schema(_RATE_PATTERN, "A rate: 60/min, 10/30s", "600/min")]
ResponseTime = Annotated[
    BusinessTime,
    PlainValidator(parse_business_time),
    _schema(r"^[0-9]+\s*(ms|s|m|h|d|bh|bd)$", "Elapsed (30m) or business time (4bh, 1bd)", "4bh"),
]
CommitmentValue = Annotated[
    Commitment,
    PlainValidator(parse_commitment),
    _schema(r"^\s*[0-9.]+\s?%\s+(under|below|<)\s+[0-9_]+\s*(ms|s)\s*$", "A commitment", "99% under 500ms"),
]
AttainValue = Annotated[
    Attain,
    PlainValidator(parse_objective),
    _schema(r"^\s*[0-9.]+\s?%\s+(within|in)\s+[0-9]+\s*(ms|s|m|h|d|bh|bd)\s*$", "A share and a time", "90% within 6h"),
]
Instant = Annotated[
    int, PlainValidator(parse_instant), _schema(r"^\d{4}-\d{2}-\d{2}", "A date or an instant", "2027-01-01")
]
Day = Annotated[str, PlainValidator(parse_day), _schema(r"^\d{4}-\d{2}-\d{2}$", "A date", "2026-12-25")]
Zone = Annotated[
    str, PlainValidator(parse_zone), WithJsonSchema({"type": "string", "description": "An IANA time zone"})
]
Hours = Annotated[
    tuple[int, int], PlainValidator(parse_hours), _schema(r"^\d{2}:\d{2}-\d{2}:\d{2}$", "Opening hours", "09:00-17:00")
]
Digest = Annotated[
    bytes, PlainValidator(parse_digest), _schema(r"^[0-9a-fA-F]{64}$", "SHA-256 of the key, in hexadecimal", "")
]
AddressValue = Annotated[
    Address, PlainValidator(parse_address), _schema(r":[0-9]{1,5}$", "host:port", "127.0.0.1:8080")
]
Network = Annotated[
    IPv4Network | IPv6Network,
    PlainValidator(parse_network),
    _schema(r"^[0-9A-Fa-f.:]+(/[0-9]+)?$", "A network", "10.0.0.0/8"),
]
Origin = Annotated[
    str, PlainValidator(parse_origin), _schema(r"^(\*|https?://.+)$", "A web origin", "https://app.example.com")
]
Method = Annotated[str, PlainValidator(parse_method), _schema(r"^[A-Z-]+$", "An HTTP method", "GET")]


def _count_schema(least: int) -> WithJsonSchema:
    number = {"type": "integer", "minimum": least, "maximum": 10**12}
    return WithJsonSchema({"anyOf": [number, {"type": "string", "pattern": _COUNT_PATTERN}]})


Count = Annotated[int, PlainValidator(_count(0)), _count_schema(0)]
Positive = Annotated[int, PlainValidator(_count(1)), _count_schema(1)]
