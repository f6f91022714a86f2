"""The egress proxy of an upstream: its URL, what it is shown, and who vouches for it.

The credential never stands in the URL, because URLs are shown in complaints and dumps. Source: RFC 9110 9.3.6 and
11.7.2.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from policies.format.pem import pem_problem
from policies.format.report import Loc, Place, Report
from policies.format.units import short
from policies.format.urls import url_problem
from policies.model import Proxy
from policies.schema import ProxyForm, UpstreamForm


def egress_proxy(form: UpstreamForm, place: Place, report: Report) -> tuple[Proxy | None, bool]:
    """The proxy of ``form``, and whether it is sound; complains about what is not."""
    if form.proxy is None:
        return None, True
    short_form = isinstance(form.proxy, str)
    proxy = ProxyForm.model_construct(url=form.proxy) if isinstance(form.proxy, str) else form.proxy
    if form.engine != "httpx":
        said = f"engine {form.engine} speaks to upstreams only, not to egress proxies"
        report.add("TG218", place, ("proxy",), said, "add engine: httpx beside it", on_key=True)
    url = _url_of(proxy.url, ("proxy",) if short_form else ("proxy", "url"), place, report)
    sound = _check_authorization(proxy, place, report) and _check_ca(proxy, place, report)
    if url is None or not sound or form.engine != "httpx":
        return None, False
    made = urlsplit(url)
    authorization = None if proxy.authorization is None else proxy.authorization.strip(" \t").encode("latin-1")
    return Proxy(
        scheme="https" if made.scheme == "https" else "http",
        host=(made.hostname or "").rstrip("."),
        port=made.port or (443 if made.scheme == "https" else 80),
        authorization=authorization,
        ca=proxy.ca,
    ), True


def _url_of(text: str, loc: Loc, place: Place, report: Report) -> str | None:
    secret = "@" in text
    problem = url_problem(text)
    if secret and "://" in text:
        hint = 'write proxy: {url: ..., authorization: "Basic ${file:NAME}"}'
        problem = "the URL of a proxy must not hold a user or password", hint
    elif problem is None and urlsplit(text).path not in ("", "/"):
        problem = f"the URL of a proxy has no path, {short(text)} has one", "write http://host:port"
    if problem is None:
        return text
    report.add("TG118", place, loc, *problem, secret=secret)
    return None


def _check_authorization(proxy: ProxyForm, place: Place, report: Report) -> bool:
    value = proxy.authorization
    if value is None or (value.strip() and value.isascii() and value.isprintable()):
        return True
    hint = "one line such as Basic and Base64 of user:password, from a secret file"
    loc = ("proxy", "authorization")
    report.add("TG121", place, loc, "the proxy's credential is not one line of ASCII", hint, secret=True)
    return False


def _check_ca(proxy: ProxyForm, place: Place, report: Report) -> bool:
    if proxy.ca is None:
        return True
    if proxy.url.startswith("http://"):
        said = "an http:// proxy has no TLS, so nothing here is used"
        report.add("TG406", place, ("proxy", "ca"), said, "write https:// in the url, or remove ca", on_key=True)
    problem = pem_problem(proxy.ca, key=False)
    if problem is None:
        return True
    report.add("TG139", place, ("proxy", "ca"), *problem, secret=True)
    return False
