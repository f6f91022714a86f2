"""Upstreams of a policy set: their URLs and the headers that the gateway sets on the way out.

Credentials arrive here from secret files; no complaint quotes a header's value. Source: RFC 9110 sections 5 and 7.6.1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, urlsplit

from policies.format.egress_proxies import egress_proxy
from policies.format.pem import pem_problem
from policies.format.profiles import profile_of
from policies.format.report import Loc, Place, Report
from policies.format.units import closest, short
from policies.format.urls import url_problem
from policies.model import HeaderPair, Owner, Pool, Timeouts, Tls, Upstream
from policies.schema import ProfileRef, TimeoutsForm, UpstreamForm
from policies.throttling import GENERIC, Catalogue, Profile

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
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


def upstream_of(name: str, form: UpstreamForm, place: Place, report: Report, profiles: Catalogue) -> Upstream | None:
    """``form`` as an ``Upstream``, or None after complaining."""
    url = _url_of(form.url, place, report)
    headers = header_pairs(form.headers, place, ("headers",), report)
    _check_timeouts(form.timeouts, place, report)
    sound = _check_tls(form, place, report)
    proxy, proxy_sound = egress_proxy(form, place, report)
    host = (url.hostname or "").rstrip(".") if url is not None else ""
    profile = _profile(name, form, host, place, report, profiles)
    if url is None or headers is None or profile is None or not (sound and proxy_sound):
        return None
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
        proxy=proxy,
        profile=profile,
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


def _check_tls(form: UpstreamForm, place: Place, report: Report) -> bool:
    """Whether the PEM texts have the right shape; whether they are trusted is the engine's to say."""
    sound = True
    for name, text in (("ca", form.tls.ca), ("cert", form.tls.cert)):
        problem = pem_problem(text, key=name == "cert") if text is not None else None
        if problem:
            report.add("TG139", place, ("tls", name), *problem, secret=True)
            sound = False
    if form.url.startswith("http://") and "tls" in form.model_fields_set:
        said = "an http:// upstream has no TLS, so nothing here is used"
        report.add("TG406", place, ("tls",), said, "write https:// in the url, or remove tls", on_key=True)
    return sound


def _profile(
    name: str, form: UpstreamForm, host: str, place: Place, report: Report, profiles: Catalogue
) -> Profile | None:
    """The profile that ``throttling`` names or holds, else the host's, else the generic one."""
    named = form.throttling
    if isinstance(named, ProfileRef):
        if named.profile.hosts:
            said = "hosts choose among built-in profiles; this one is its upstream's whatever they say"
            report.add("TG406", place, ("throttling", "profile", "hosts"), said, "remove it", on_key=True)
        return profile_of(name, named.profile, place, ("throttling", "profile"), report)
    if named is None:
        return profiles.of_host(host) or GENERIC
    found = profiles.by_name.get(named)
    if found is None:
        hint = closest(named, profiles.by_name) or f"tiergate throttle --list shows all {len(profiles.by_name)}"
        report.add("TG201", place, ("throttling",), f"throttling profile {short(named)} is not built in", hint)
    return found


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
