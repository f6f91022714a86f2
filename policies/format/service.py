"""The sections about the process itself: how it listens, where state lives, which fields it sends, whom it believes."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from policies.format.entries import Named, read_sound_part
from policies.format.report import Loc, Place, Report
from policies.format.sections import Entry, Sections
from policies.format.units import closest, short
from policies.format.upstreams import OWNED
from policies.model import Address, Auth, HeaderChoice, Jwt, OnFailure, ResetAs, Server, StoreChoice, Tier, Traces
from policies.schema import AuthForm, HeadersForm, JwtForm, ServerForm, StoreForm

ALGORITHMS: Final = (
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "RS256",
    "RS384",
    "RS512",
    "EdDSA",
    "Ed25519",
)
STORES: Final = ("memory", "sqlite", "redis", "rediss", "redis+cluster")
BUILT: Final = ("memory",)
"""The stores of this version; the others are names that the format keeps for later ones."""
_FIELD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_KEY_HEADERS: Final = {"cookie", "set-cookie", "ratelimit", "ratelimit-policy", "retry-after", "idempotency-key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """The singletons of a policy set; each the default when its section is absent or wrong."""

    server: Server
    store: StoreChoice
    headers: HeaderChoice
    auth: Auth


def read_service(sections: Sections, tiers: Named[Tier], report: Report) -> Service:
    server, store = sections.whole("server"), sections.whole("store")
    headers, auth = sections.whole("headers"), sections.whole("auth")
    made = Service(
        server=_server(server, report) if server else Server(),
        store=_store(store, report) if store else StoreChoice(),
        headers=_headers(headers, report) if headers else HeaderChoice(),
        auth=_auth(auth, tiers, report) if auth else Auth(),
    )
    if auth and made.auth.mtls_header and not made.server.trusted_proxies:
        said = "without server.trusted_proxies nobody is believed, so no certificate's subject is ever read"
        report.add("TG406", auth.place, ("mtls",), said, "name the proxies that set this field", on_key=True)
    if server and made.server.workers > 1 and made.store.url.startswith("memory:"):
        hint = "write workers: 1; this version has no store that workers share"
        said = "memory:// is one process; several workers would each allow the whole limit"
        report.add("TG211", server.place, ("workers",), said, hint)
    return made


def is_loopback(address: Address) -> bool:
    if address.host.lower() == "localhost":
        return True
    try:
        return ip_address(address.host).is_loopback
    except ValueError:
        return False


def _server(entry: Entry, report: Report) -> Server:
    form = read_sound_part(ServerForm, entry, report)
    defaults, traces = Server(), form.traces
    made = Server(
        listen=form.listen or defaults.listen,
        admin=form.admin or defaults.admin,
        admin_token_digest=form.admin_token_sha256,
        workers=form.workers,
        drain_delay_us=form.drain.delay,
        drain_timeout_us=form.drain.timeout,
        access_log=form.access_log,
        traces=Traces(exporter=traces.exporter, ratio=Fraction(traces.ratio) / 100) if traces else None,
        trusted_proxies=tuple(form.trusted_proxies),
        problems_base=form.problems_base,
    )
    _check_server(made, entry.place, report)
    return made


def _check_server(server: Server, place: Place, report: Report) -> None:
    if not is_loopback(server.admin) and server.admin_token_digest is None:
        hint = "listen on 127.0.0.1, or set admin_token_sha256"
        report.add("TG210", place, ("admin",), "the admin listener is open beyond loopback without a token", hint)
    if server.admin == server.listen and server.listen.port:
        report.add(
            "TG119", place, ("admin",), "admin and listen are the same address", "give admin its own port, such as 9900"
        )
    if not re.match(r"/|https?://", server.problems_base) or not server.problems_base.endswith("/"):
        meant = (
            "/" + server.problems_base.strip("/") + "/"
            if "://" not in server.problems_base
            else server.problems_base + "/"
        )
        report.add(
            "TG118",
            place,
            ("problems_base",),
            "a prefix of problem types begins and ends with '/'",
            f"did you mean {short(meant)}?",
        )
    if not server.access_log.strip() or not server.access_log.isprintable():
        hint = "write a path, '-' for standard output, or off"
        report.add("TG120", place, ("access_log",), "this names no file", hint)
    if server.workers > 512:
        report.add("TG114", place, ("workers",), "more workers than any host has cores", "at most 512")


def _store(entry: Entry, report: Report) -> StoreChoice:
    form = read_sound_part(StoreForm, entry, report)
    problem = store_problem(form.url)
    if problem:
        report.add("TG118", entry.place, ("url",), *problem, secret="@" in form.url)
        return StoreChoice(url="")
    scheme = form.url.partition(":")[0]
    if scheme not in BUILT:
        said = f"the store {short(scheme + '://')} is not in this version"
        report.add(
            "TG217", entry.place, ("url",), said, "write memory://, the only store so far", secret="@" in form.url
        )
    return StoreChoice(url=form.url, on_failure=OnFailure(form.on_failure))


def store_problem(text: str) -> tuple[str, str] | None:
    """Why ``text`` names no store, and what was meant; never quotes a password."""
    try:
        url = urlsplit(text)
        _ = url.port
    except ValueError:
        return "the store's URL cannot be read", "ports run from 1 to 65535"
    if url.scheme not in STORES:
        near = closest(url.scheme or text[:20], STORES, cutoff=0.5)
        meant = near if near in (f"did you mean '{name}'?" for name in BUILT) else ""
        return f"there is no store {short(url.scheme or text[:20])}", f"{meant} write memory://".strip()
    if url.scheme == "memory" and text != "memory://":
        return "memory:// takes nothing behind it", "did you mean 'memory://'?"
    if url.scheme == "sqlite" and (url.netloc or url.path in ("", "/")):
        return "sqlite needs the path of a file", "write sqlite:///relative.db or sqlite:////absolute.db"
    if url.scheme.startswith("redis") and not url.hostname:
        return "redis needs a host", f"write {url.scheme}://127.0.0.1:6379/0"
    return None


def _headers(entry: Entry, report: Report) -> HeaderChoice:
    form = read_sound_part(HeadersForm, entry, report)
    return HeaderChoice(
        structured="draft-11" in form.ratelimit, triple="draft-06" in form.ratelimit, reset_as=ResetAs(form.reset_as)
    )


def _auth(entry: Entry, tiers: Named[Tier], report: Report) -> Auth:
    form = read_sound_part(AuthForm, entry, report)
    place = entry.place
    if form.anonymous is not None:
        tiers.refer(form.anonymous.tier, place, ("anonymous", "tier"), report)
    if form.jwt is not None:
        _check_jwt(form.jwt, place, report)
    if form.mtls is not None:
        _check_field(form.mtls.header, place, ("mtls", "header"), report)
    names = form.keys.headers if form.keys else ["x-api-key", "authorization"]
    for at, name in enumerate(names):
        _check_field(name, place, ("keys", "headers", at), report)
    jwt = form.jwt
    return Auth(
        key_headers=tuple(name.lower().encode("ascii", "replace") for name in names),
        jwt=None if jwt is None else Jwt(
            issuer=jwt.issuer, audience=jwt.audience, algorithms=tuple(jwt.algorithms), jwks=jwt.jwks,
            tenant_claim=jwt.tenant_claim, subject_claim=jwt.subject_claim,
        ),
        mtls_header=form.mtls.header.lower().encode("ascii", "replace") if form.mtls else None,
        anonymous_tier=form.anonymous.tier if form.anonymous else None,
    )  # fmt: skip


def _check_field(name: str, place: Place, loc: Loc, report: Report) -> None:
    if not _FIELD.fullmatch(name):
        report.add("TG121", place, loc, f"{short(name)} is not a field name", "letters, digits and '-' only, no ':'")
    elif name.lower() in OWNED or name.lower() in _KEY_HEADERS:
        report.add("TG121", place, loc, f"{short(name)} cannot carry a credential", "use x-api-key or authorization")


def _check_jwt(form: JwtForm, place: Place, report: Report) -> None:
    if not form.algorithms:
        report.add("TG216", place, ("jwt", "algorithms"), "no algorithm is allowed, so no token is", "write [ES256]")
    for at, name in enumerate(form.algorithms):
        if name in ALGORITHMS:
            continue
        loc = ("jwt", "algorithms", at)
        if name.lower() == "none" or name.upper().startswith("HS"):
            said = (
                "'none' accepts unsigned tokens"
                if name.lower() == "none"
                else f"{short(name)} would sign with the public key set"
            )
            report.add("TG216", place, loc, said, "use an asymmetric algorithm, such as ES256")
        else:
            hint = closest(name, ALGORITHMS) or f"one of: {', '.join(ALGORITHMS)}"
            report.add("TG120", place, loc, f"{short(name)} is not an algorithm", hint)
    problem = _jwks_problem(form.jwks)
    if problem:
        report.add("TG118", place, ("jwt", "jwks"), *problem)


def _jwks_problem(text: str) -> tuple[str, str] | None:
    if text.lstrip().startswith("{"):
        try:
            keys = json.loads(text).get("keys")
        except (ValueError, RecursionError):
            return "this key set is not JSON", "fetch it again from the issuer"
        if isinstance(keys, list) and keys and all(isinstance(key, dict) and "kty" in key for key in keys):
            return (
                None
                if all(key["kty"] != "oct" for key in keys)
                else ("this key set holds a shared secret", "use public keys only")
            )
        return "this JSON holds no keys", 'a key set is {"keys": [...]} (RFC 7517 section 5)'
    url = urlsplit(text)
    if url.scheme == "https" and url.hostname:
        return None
    return "this is neither a key set nor an https URL", 'write "${file:jwks.json}" or https://...'
