"""Upstreams of a policy set: their URLs and the headers that the gateway sets on the way out.

Credentials arrive here from secret files; no complaint quotes a header's value. Source: RFC 9110 sections 5 and 7.6.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, urlsplit

from policies.model import HeaderPair, Owner, Pool, Timeouts, Tls, Upstream
from policies.places import Loc, Place, Report
from policies.schema import ProfileRef, TimeoutsForm, UpstreamForm
from policies.units import closest, short

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")
OWNED: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        ("connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade", "proxy-authenticate"),
        "it belongs to one connection (RFC 9110 section 7.6.1)",
    ),
    "proxy-authorization": "it belongs to one connection (RFC 9110 section 7.6.1)",
    **dict.fromkeys(("transfer-encoding", "content-length"), "framing belongs to the engine"),
    "host": "it is made from the upstream's url",
    **dict.fromkeys(("via", "forwarded"), "the gateway writes it"),
}
_SECOND_LEVEL: Final = {"co", "com", "net", "org", "gov", "ac", "edu", "or", "ne"}


def upstream_of(
    name: str, form: UpstreamForm, place: Place, report: Report, profiles: frozenset[str] | None
) -> Upstream | None:
    """``form`` as an ``Upstream``, or None after complaining."""
    url = _url_of(form.url, place, report)
    headers = header_pairs(form.headers, place, ("headers",), report)
    _check_timeouts(form.timeouts, place, report)
    throttling = form.throttling.profile if isinstance(form.throttling, ProfileRef) else form.throttling
    if isinstance(throttling, str) and profiles is not None and throttling not in profiles:
        hint = closest(throttling, profiles) or f"built in: {', '.join(sorted(profiles)[:12])}"
        report.add("TG201", place, ("throttling",), f"throttling profile {short(throttling)} is not built in", hint)
    if url is None or headers is None:
        return None
    host = (url.hostname or "").rstrip(".")
    return Upstream(
        name=name,
        scheme="https" if url.scheme == "https" else "http",
        host=host,
        port=url.port or (443 if url.scheme == "https" else 80),
        base_path=url.path.rstrip("/"),
        vendor=form.vendor or registrable(host),
        owner=Owner(form.owner),
        headers=headers,
        timeouts=Timeouts(
            connect_us=form.timeouts.connect, write_us=form.timeouts.write, first_byte_us=form.timeouts.first_byte,
            idle_us=form.timeouts.idle, total_us=form.timeouts.total,
        ),
        pool=Pool(connections=form.pool.connections, wait_us=form.pool.wait, max_age_us=form.pool.max_age),
        tls=Tls(ca=form.tls.ca, cert=form.tls.cert, verify=form.tls.verify),
        engine=form.engine,
        throttling=throttling,
        throttled_body=form.throttled_body,
        map_status=form.map_status,
        protect=form.protect,
    )  # fmt: skip


def header_pairs(headers: Mapping[str, str], place: Place, loc: Loc, report: Report) -> tuple[HeaderPair, ...] | None:
    """Headers as bytes, or None after complaining about each that cannot be sent."""
    made: dict[bytes, bytes] = {}
    sound = True
    for name, value in headers.items():
        problem = _name_problem(name) or (
            ("is set twice", "names differ in case only") if name.lower().encode() in made else None
        )
        if problem:
            report.add("TG121", place, (*loc, name), f"header {short(name)} {problem[0]}", problem[1], on_key=True)
        elif wrong := _value_problem(value):
            report.add(
                "TG121", place, (*loc, name), f"the value of header {short(name)} {wrong[0]}", wrong[1], secret=True
            )
        else:
            made[name.lower().encode()] = value.strip(" \t").encode("latin-1")
            continue
        sound = False
    return tuple(made.items()) if sound else None


def _name_problem(name: str) -> tuple[str, str] | None:
    if not _TOKEN.fullmatch(name):
        return "is not a field name", "letters, digits and '-' only, no ':'"
    reason = OWNED.get(name.lower())
    return ("cannot be set here", reason) if reason else None


def _value_problem(value: str) -> tuple[str, str] | None:
    if any((letter < " " and letter != "\t") or letter == "\x7f" for letter in value):
        return "holds a line break or control character", "a header is one line (RFC 9110 section 5.5)"
    if any(letter > "\xff" for letter in value):
        return "holds characters beyond Latin-1", "encode it as ASCII"
    return None


def _url_of(text: str, place: Place, report: Report) -> SplitResult | None:
    problem = url_problem(text)
    if problem is None:
        return urlsplit(text)
    report.add("TG118", place, ("url",), *problem, secret="@" in text)
    return None


def url_problem(text: str) -> tuple[str, str] | None:
    """Why ``text`` cannot be an upstream's URL, and what was meant; None when it can."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "the URL cannot be read: port or brackets", "ports run from 1 to 65535"
    if url.scheme not in ("http", "https"):
        hint = f"did you mean 'https://{text}'?" if "://" not in text else "write http://... or https://..."
        return f"{short(text)} is not an http or https URL", hint
    if "@" in url.netloc:
        return "a URL must not hold a user or password", "set headers: {authorization: ...} from a secret file"
    if "?" in text or "#" in text:
        return "a base URL has no query and no fragment", f"did you mean {short(re.split('[?#]', text)[0])}?"
    host = url.hostname or ""
    if not _host_is_sound(host) or port == 0:
        return f"{short(url.netloc)} is not a host", "write http://host:port/base; non-ASCII hosts in their xn-- form"
    if any(part in (".", "..") for part in url.path.split("/")) or re.search(r"[\s\\\x00-\x20]|//", url.path):
        return f"the path {short(url.path)} is ambiguous", "no dot segments, spaces, backslashes or '//'"
    return None


def _host_is_sound(host: str) -> bool:
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        try:
            ip_address(host)
        except ValueError:
            return False
        return True
    return bool(_HOST.fullmatch(host)) and len(host) <= 253


def _check_timeouts(form: TimeoutsForm, place: Place, report: Report) -> None:
    for name in ("connect", "write", "first_byte", "idle", "total"):
        if getattr(form, name) == 0:
            report.add("TG111", place, ("timeouts", name), "a timeout of nothing fails every call", "write 1s or more")


def registrable(host: str) -> str:
    """The registrable domain as far as labels tell it: two labels, three under ``co.uk`` and its like."""
    labels = host.lower().rstrip(".").split(".")
    if len(labels) < 3 or ":" in host or labels[-1].isdigit():
        return host.lower()
    deep = len(labels[-1]) == 2 and labels[-2] in _SECOND_LEVEL
    return ".".join(labels[-3 if deep else -2 :])
