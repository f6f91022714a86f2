"""What a policy set says, as immutable values: limits, tiers, tenants, routes, upstreams.

Nothing here parses, reads or decides. ``policies.format.build`` makes these from the file format and is the
only place that does; every object is complete and valid once it exists. Durations are integer
microseconds (``_us``), digests are raw bytes, header names are lower-case bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Any, Literal

from policies.throttling import GENERIC, Profile

_NOTHING: Mapping[str, Any] = MappingProxyType({})


def nothing() -> Mapping[str, Any]:
    """The one shared empty mapping, so that a hundred thousand plain tenants carry no dictionaries."""
    return _NOTHING


HeaderPair = tuple[bytes, bytes]
ANONYMOUS = "anonymous"
"""Ledger id of all callers without a credential; no tenant may carry it."""


class OnFailure(StrEnum):
    """What a limit does while its store cannot answer (DESIGN §6)."""

    SHARE = "share"
    OPEN = "open"
    CLOSED = "closed"
    LOCAL = "local"


class ResetAs(StrEnum):
    """Unit of ``ratelimit-reset`` in the legacy triple; ``t`` and ``Retry-After`` never change."""

    DELTA_SECONDS = "delta-seconds"
    UNIX_SECONDS = "unix-seconds"


class Owner(StrEnum):
    """Whose fault a failing upstream is, for the SLA (spec O9)."""

    MANAGED = "managed"
    THIRD_PARTY = "third_party"
    CUSTOMER = "customer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Never more than ``amount`` units in any ``period_us``."""

    name: str
    amount: int
    period_us: int
    shadow: bool = False
    on_failure: OnFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """At most ``burst + amount/period_us * L`` units in any interval of length L (GCRA)."""

    name: str
    amount: int
    period_us: int
    burst: int
    shadow: bool = False
    on_failure: OnFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """At most ``amount`` units in each calendar ``unit`` of the IANA ``zone``."""

    name: str
    amount: int
    unit: Literal["day", "month"]
    zone: str = "UTC"
    shadow: bool = False
    on_failure: OnFailure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrent:
    """At most ``slots`` calls at the same time."""

    name: str
    slots: int
    shadow: bool = False
    on_failure: OnFailure | None = None


Limit = Window | Bucket | Quota | Concurrent


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A named promise. ``limits`` are resolved: parents merged by name, removals gone, in file order."""

    name: str
    limits: tuple[Limit, ...]
    sla: Mapping[str, object] = field(default_factory=nothing)
    support: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """An API key as stored: its SHA-256 ``digest`` and when it is good, in Unix microseconds (None: no bound)."""

    id: str
    digest: bytes
    not_before_us: int | None = None
    expires_us: int | None = None
    demo: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """Who calls, and under which tier.

    ``limits`` override the tier's by name (None removes); ``route_limits`` override a route's. ``department_of`` is
    the customer on whose SLA this tenant's stands (spec V4). ``calendar`` is the one it chose for support (SC1), None
    leaves the contract's.
    """

    id: str
    tier: str
    keys: tuple[Key, ...] = ()
    subjects: tuple[str, ...] = ()
    limits: Mapping[str, Limit | None] = field(default_factory=nothing)
    route_limits: Mapping[str, Mapping[str, Limit | None]] = field(default_factory=nothing)
    upstream_headers: Mapping[str, tuple[HeaderPair, ...]] = field(default_factory=nothing, repr=False)
    reset_as: ResetAs | None = None
    sla: Mapping[str, object] = field(default_factory=nothing)
    department_of: str | None = None
    calendar: str | None = None

    @property
    def plain(self) -> bool:
        """Whether nothing here changes what the tier and the route say, so that a plan can be shared."""
        return not (self.limits or self.route_limits or self.upstream_headers or self.reset_as)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Units a call takes from each window, bucket and quota: ``by_name`` first, else ``default``."""

    default: int = 1
    by_name: Mapping[str, int] = field(default_factory=nothing)

    def of(self, limit_name: str) -> int:
        return self.by_name.get(limit_name, self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cors:
    """Origins allowed to read answers, or ``("*",)``."""

    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Idempotency:
    """What a route promises to keyed writes (DESIGN §7)."""

    require: bool = False
    ttl_us: int = 86_400_000_000
    max_body: int = 1_048_576
    retain: Literal["body", "meta", "sealed"] = "sealed"
    fingerprint: Literal["bytes", "json"] = "bytes"
    on_unknown: Literal["block", "retry"] = "block"
    on_5xx: Literal["store", "release"] = "store"
    on_store_failure: Literal["refuse", "bypass"] = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which calls go to which upstream.

    ``path`` is a template (``/crm/{rest:path}``, ``/reports/{id}``); ``methods`` None means any;
    ``tiers`` None means every tier; ``strip`` is removed from the front of the forwarded path.
    """

    name: str
    path: str
    methods: frozenset[str] | None
    upstream: str
    group: str
    strip: str | None = None
    cost: Cost = Cost()
    limits: tuple[Limit, ...] = ()
    tiers: frozenset[str] | None = None
    cors: Cors | None = None
    idempotency: Idempotency | None = None
    reset_as: ResetAs | None = None
    forward_authorization: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Deadlines of one upstream call (RULINGS 18)."""

    connect_us: int = 2_000_000
    write_us: int = 30_000_000
    first_byte_us: int = 30_000_000
    idle_us: int = 60_000_000
    total_us: int = 300_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """How many connections an upstream gets, how long a call waits for one, and how long one lives."""

    connections: int = 100
    wait_us: int = 1_000_000
    max_age_us: int = 600_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Trust for an ``https`` upstream: PEM texts, None for the system's roots and for no client certificate."""

    ca: str | None = field(default=None, repr=False)
    cert: str | None = field(default=None, repr=False)
    verify: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """An egress proxy: how it is reached, the ``Proxy-Authorization`` it is shown, and the PEM roots trusted for it."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """An API that is called. ``base_path`` has no trailing slash and may be empty; ``vendor`` is what O10 counts.

    ``profile`` says how it throttles. ``throttled_body``: what the caller of a throttled call gets for a body.
    ``map_status`` False leaves the status of a throttle as it came. ``protect``: a throttle is remembered until its
    reset, and calls in between are answered without being sent.
    """

    name: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: str
    vendor: str
    owner: Owner = Owner.MANAGED
    headers: tuple[HeaderPair, ...] = field(default=(), repr=False)
    timeouts: Timeouts = Timeouts()
    pool: Pool = Pool()
    tls: Tls = Tls()
    engine: Literal["http1", "httpx"] = "http1"
    proxy: Proxy | None = None
    profile: Profile = GENERIC
    throttled_body: Literal["normalised", "native"] = "normalised"
    map_status: bool = True
    protect: bool = False

    @property
    def authority(self) -> str:
        """``host`` or ``host:port``, IPv6 in brackets, as the Host field wants it (RFC 9110 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = 443 if self.scheme == "https" else 80
        return host if self.port == default else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    host: str
    port: int


TraceExporter = Literal["otlp", "console", "discard", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """Where spans go; ``ratio`` is the share of requests without a parent that is recorded."""

    exporter: TraceExporter
    ratio: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """How the process listens, what it records and how it stops.

    ``access_log`` is ``-`` for standard output, a path, or ``off``; ``traces`` None: only what the environment asks.
    """

    listen: Address = Address(host="127.0.0.1", port=8080)
    admin: Address = Address(host="127.0.0.1", port=9900)
    admin_token_digest: bytes | None = None
    workers: int = 1
    drain_delay_us: int = 0
    drain_timeout_us: int = 25_000_000
    access_log: str = "-"
    traces: Traces | None = None
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    problems_base: str = "/docs/problems/"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreChoice:
    url: str = field(default="memory://", repr=False)
    on_failure: OnFailure = OnFailure.SHARE


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderChoice:
    """Which dialects answers carry: the structured pair (draft-11), the triple (draft-06), or both."""

    structured: bool = True
    triple: bool = True
    reset_as: ResetAs = ResetAs.DELTA_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Jwt:
    """How bearer tokens are believed; ``jwks`` is the JSON text of a key set, or an https URL."""

    issuer: str
    audience: str
    algorithms: tuple[str, ...]
    jwks: str = field(repr=False)
    tenant_claim: str = "tenant"
    subject_claim: str = "sub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Auth:
    key_headers: tuple[bytes, ...] = (b"x-api-key", b"authorization")
    jwt: Jwt | None = None
    mtls_header: bytes | None = None
    anonymous_tier: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """A planned window in Unix microseconds, ``[from_us, to_us)``; without effect until announced."""

    name: str
    from_us: int
    to_us: int
    groups: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessTime:
    """A response target: ``amount`` of elapsed microseconds, or business hours or days (spec SC1)."""

    unit: Literal["elapsed_us", "business_hours", "business_days"]
    amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Attain:
    """``share`` of the cases are answered ``within`` a time: "90 % within 6 h" (spec SC5)."""

    share: Fraction
    within: BusinessTime


@dataclass(frozen=True, slots=True, kw_only=True)
class Support:
    """A support contract; ``hours`` is ``24x7`` or a calendar's name; ``respond`` is by severity S1..S4.

    ``objectives``, by severity, say of how many cases a time is promised; without one it is promised of each.
    """

    name: str
    hours: str
    channels: tuple[str, ...] = ()
    respond: Mapping[str, BusinessTime] = field(default_factory=nothing)
    escalation: tuple[str, ...] = ()
    objectives: Mapping[str, Attain] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Opening hours: per weekday (0 = Monday) half-open ``(from, to)`` minutes of the local day."""

    name: str
    zone: str
    open: Mapping[int, tuple[tuple[int, int], ...]]
    holidays: tuple[str, ...] = ()
    business_day_us: int = 28_800_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySet:
    """Everything one directory says. ``version`` is a hash of its content, 16 hex digits.

    ``keys`` and ``subjects`` are the look-ups that authentication needs, each to one owner.
    """

    version: str
    server: Server = Server()
    store: StoreChoice = StoreChoice()
    headers: HeaderChoice = HeaderChoice()
    auth: Auth = Auth()
    tiers: Mapping[str, Tier] = field(default_factory=dict)
    upstreams: Mapping[str, Upstream] = field(default_factory=dict)
    routes: Mapping[str, Route] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    keys: Mapping[bytes, tuple[Tenant, Key]] = field(default_factory=dict)
    subjects: Mapping[str, Tenant] = field(default_factory=dict)
    sla: Mapping[str, object] = field(default_factory=nothing)
    maintenance: Mapping[str, Maintenance] = field(default_factory=dict)
    support: Mapping[str, Support] = field(default_factory=dict)
    calendars: Mapping[str, Calendar] = field(default_factory=dict)
