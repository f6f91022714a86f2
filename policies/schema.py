"""The file format: which keys may stand where, and what an editor is told about them.

Shapes only. Scalars are read by ``policies.format.scalars``; names, overlaps and sums are checked by
``policies.format.checks`` and its siblings. Every field's description is shown by editors. Source: spec
policy.md; sla.md section 15.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from policies.format.limit_schema import Limits, OnFailureWord, Section
from policies.format.profile_schema import ProfileForm
from policies.format.report import TAG
from policies.format.scalars import (
    AddressValue,
    AttainValue,
    Bool,
    CommitmentValue,
    Count,
    Day,
    Digest,
    Duration,
    Hours,
    Instant,
    Method,
    Network,
    Origin,
    Percent,
    Positive,
    ResponseTime,
    Size,
    Target,
    Text,
    Zone,
)

ResetAsWord = Literal["delta-seconds", "unix-seconds"]
Cause = Literal["gateway", "managed_upstream", "third_party", "customer"]


class Drain(Section):
    """How the process stops."""

    delay: Duration = Field(0, description="Unready for so long before listening ends")
    timeout: Duration = Field(25_000_000, description="How long calls in flight may take")


class TracesForm(Section):
    """Which requests become spans, and where those go."""

    exporter: Literal["otlp", "console", "discard", "none"] = Field(
        "otlp", description="console: standard output; discard: made and forgotten, to measure what tracing costs"
    )
    ratio: Percent = Field(Decimal(100), description="Share of the requests without a parent that is recorded")


class ServerForm(Section):
    """How the process listens."""

    listen: AddressValue | None = Field(None, description="Where callers connect; default 127.0.0.1:8080")
    admin: AddressValue | None = Field(None, description="Read-only admin listener; default 127.0.0.1:9900")
    admin_token_sha256: Digest | None = Field(None, description="Required when admin is not loopback")
    workers: Positive = Field(1, description="More than 1 needs a shared store")
    drain: Drain = Field(Drain.model_construct(), description="How the process stops")
    access_log: Text = Field("-", description="- for standard output, a file's path, or off")
    traces: TracesForm | None = Field(None, description="Spans; the OTEL_* variables go before it")
    trusted_proxies: list[Network] = Field(
        [], description="Whose Forwarded, X-Forwarded-* and mTLS fields are believed"
    )
    problems_base: Text = Field("/docs/problems/", description="Prefix of our own problem types")


class StoreForm(Section):
    """Where the state of limits lives."""

    url: Text = Field("memory://", description="memory://, the only store of this version")
    on_failure: OnFailureWord = Field("share", description="What limits do while the store is down")


class HeadersForm(Section):
    """Which rate-limit fields answers carry."""

    ratelimit: list[Literal["draft-11", "draft-06"]] = Field(
        ["draft-11", "draft-06"], description="The structured pair, the older triple, or both"
    )
    reset_as: ResetAsWord = Field("delta-seconds", description="Unit of ratelimit-reset in the triple")


class KeysForm(Section):
    """Where API keys travel."""

    headers: list[Text] = Field(description="authorization means Bearer")


class JwtForm(Section):
    """How bearer tokens are believed."""

    issuer: Text
    audience: Text
    algorithms: list[Text] = Field(description="Asymmetric ones only, such as ES256")
    jwks: Text = Field(description="The key set as JSON text (${file:jwks.json}) or an https URL")
    tenant_claim: Text = "tenant"
    subject_claim: Text = "sub"


class MtlsForm(Section):
    """The client certificate's subject, from trusted proxies only."""

    header: Text


class AnonymousForm(Section):
    """The tier of callers without a credential."""

    tier: Text


class AuthForm(Section):
    """How callers say who they are."""

    keys: KeysForm | None = None
    jwt: JwtForm | None = None
    mtls: MtlsForm | None = None
    anonymous: AnonymousForm | None = None


class BandForm(Section):
    """From this availability on, so much of the fee comes back."""

    min: Percent = Field(description="Lower edge, inclusive")
    credit: Percent = Field(description="Part of the month's fee")
    termination: Bool = Field(False, description="Gives the right to terminate")


class CapForm(Section):
    """The most that credits can sum up to."""

    percent: Percent
    window: Literal["month", "contract_year"] = "month"


class InternalForm(Section):
    """Stricter than promised; never shown to customers."""

    target: Target = None
    latency: list[CommitmentValue] = Field(default_factory=list, description="As in sla.latency")


class ChronicForm(Section):
    """So many missed months of so many give the right to terminate."""

    misses: Positive
    months: Positive


class SlaForm(Section):
    """An availability promise; tiers and tenants override field by field."""

    target: Target = Field(None, description="Promised availability of a month, or none")
    bands: list[BandForm] | None = Field(None, description="From the target down to 0%")
    zone: Zone | None = Field(None, description="Whose months count")
    scope: Literal["tenant", "platform"] | None = None
    threshold: Percent | None = Field(None, description="Share of errors that makes a minute bad")
    slot: Duration | None = Field(None, description="Length of one slot; 60s")
    min_run: Duration | None = Field(None, description="Shortest bad stretch that is downtime")
    min_run_errors: Count | None = None
    min_requests_per_slot: Count | None = None
    max_bridge: Duration | None = Field(None, description="Longest idle stretch between bad ones that counts as bad")
    merge_gap: Duration | None = None
    idle_inherits_platform: Bool | None = None
    alive_quorum: Positive | None = None
    counted_causes: list[Cause] | None = None
    excluded_causes: list[Cause] | None = None
    maintenance_notice: Duration | None = Field(None, description="Notice that makes maintenance an exclusion")
    maintenance_cap: Duration | None = Field(None, description="Most maintenance a month that is excluded")
    exclusion_record: Duration | None = Field(None, description="How soon an exclusion must be recorded")
    denominator: Literal["calendar", "calendar_minus_excluded"] | None = None
    display_decimals: Count | None = None
    cap: CapForm | None = None
    claim_days: Positive | None = None
    sla_change_notice_days: Positive | None = None
    client_patience: Duration | None = None
    auto_claim: Bool | None = None
    latency: list[CommitmentValue] | None = Field(None, description='["99% under 500ms"]: judged beside uptime')
    chronic: ChronicForm | None = Field(None, description="Right to terminate after so many missed months")
    internal: InternalForm | None = None


class TierForm(Section):
    """A named promise."""

    extends: Text | None = Field(None, description="Another tier, whose limits are merged by name")
    limits: Limits = Field(default_factory=dict, description="By name; null removes an inherited one")
    sla: SlaForm | None = None
    support: Text | None = Field(None, description="A name under support")


class TimeoutsForm(Section):
    """Deadlines of one call."""

    connect: Duration = 2_000_000
    write: Duration = 30_000_000
    first_byte: Duration = 30_000_000
    idle: Duration = 60_000_000
    total: Duration = 300_000_000


class PoolForm(Section):
    """Connections to the upstream."""

    connections: Positive = 100
    wait: Duration = Field(1_000_000, description="How long a call waits for a free one")
    max_age: Duration = 600_000_000


class TlsForm(Section):
    """Trust for an https upstream."""

    ca: Text | None = Field(None, description="PEM text of the trusted roots: ${file:ca.pem}")
    cert: Text | None = Field(None, description="PEM text of the client certificate with its key")
    verify: Bool = True


class ProfileRef(Section):
    """A throttling profile in place."""

    profile: ProfileForm = Field(description="The profile format, as in the built-in profiles")


def _throttling_kind(value: object) -> str:
    return TAG + ("place" if isinstance(value, dict) else "name")


Throttling = Annotated[
    Annotated[Text, Tag(TAG + "name")] | Annotated[ProfileRef, Tag(TAG + "place")], Discriminator(_throttling_kind)
]


class ProxyForm(Section):
    """An egress proxy."""

    url: Text = Field(description="http://host:port, or https: CONNECT for https upstreams, absolute form for http")
    authorization: Text | None = Field(None, description="Proxy-Authorization, shown to the proxy only")
    ca: Text | None = Field(None, description="PEM text of the roots trusted for an https proxy: ${file:proxy-ca.pem}")


def _proxy_kind(value: object) -> str:
    return TAG + ("long" if isinstance(value, dict) else "url")


EgressProxy = Annotated[
    Annotated[Text, Tag(TAG + "url")] | Annotated[ProxyForm, Tag(TAG + "long")], Discriminator(_proxy_kind)
]


class UpstreamForm(Section):
    """An API that is called."""

    url: Text = Field(description="http or https, with a base path if there is one")
    owner: Literal["managed", "third_party", "customer"] = Field(
        "managed", description="Whose failures these are (SLA)"
    )
    vendor: Text | None = Field(None, description="Default: the registrable domain")
    headers: dict[str, Text] = Field(default_factory=dict, description="Set after the caller's credential is stripped")
    timeouts: TimeoutsForm = Field(TimeoutsForm.model_construct(), description="Deadlines of one call")
    pool: PoolForm = Field(PoolForm.model_construct(), description="Connections to the upstream")
    tls: TlsForm = Field(TlsForm.model_construct(), description="Trust for an https upstream")
    engine: Literal["http1", "httpx"] = Field("http1", description="httpx for HTTP/2 and egress proxies")
    proxy: EgressProxy | None = Field(None, description="Egress proxy: its url, or a map with 'url'")
    throttling: Throttling | None = Field(
        None, description="A built-in profile's name, or a map with 'profile'; default: the profile for the url's host"
    )
    throttled_body: Literal["normalised", "native"] = Field(
        "normalised", description="Body of a throttled call: the gateway's own, or the upstream's for its own SDKs"
    )
    map_status: Bool = Field(True, description="A throttle that is no 429 becomes one where nothing was executed")
    protect: Bool = Field(False, description="Remember a throttle until its reset and answer calls in between")


class MatchForm(Section):
    """Which calls a route takes."""

    path: Text = Field(description="/crm/{rest:path} or /reports/{id}")
    methods: list[Method] | None = Field(None, description="Default: any")


class CorsForm(Section):
    """Which web pages may read answers."""

    origins: list[Origin]


class IdempotencyForm(Section):
    """What keyed writes are promised."""

    require: Bool = Field(False, description="400 without an Idempotency-Key")
    ttl: Duration = 86_400_000_000
    max_body: Size = 1_048_576
    retain: Literal["body", "meta", "sealed"] = "sealed"
    fingerprint: Literal["bytes", "json"] = "bytes"
    on_unknown: Literal["block", "retry"] = "block"
    on_5xx: Literal["store", "release"] = "store"
    on_store_failure: Literal["refuse", "bypass"] = "refuse"


def _cost_kind(value: object) -> str:
    return TAG + ("by_name" if isinstance(value, dict) else "units")


CostForm = Annotated[
    Annotated[Count, Tag(TAG + "units")] | Annotated[dict[str, Count], Tag(TAG + "by_name")], Discriminator(_cost_kind)
]


class RouteForm(Section):
    """Which calls go to which upstream, and what they cost."""

    match: MatchForm
    upstream: Text
    group: Text | None = Field(None, description="Ledger and status component; default: the route's name")
    strip: Text | None = Field(None, description="Removed from the front of the forwarded path")
    cost: CostForm = Field(1, description="Units of every window, bucket and quota; or {minute: 5} by name")
    limits: Limits = Field(default_factory=dict, description="Added to the caller's own")
    tiers: list[Text] | None = Field(None, description="Others are answered 403")
    cors: CorsForm | None = None
    idempotency: IdempotencyForm | None = None
    reset_as: ResetAsWord | None = None
    forward_authorization: Bool = False


class KeyForm(Section):
    """An API key, known by its digest alone."""

    id: Text
    sha256: Digest
    not_before: Instant | None = None
    expires: Instant | None = None
    demo: Bool = Field(False, description="Human-readable demo key; refused beyond loopback")


class TenantRouteForm(Section):
    """Overrides of one route."""

    limits: Limits = Field(default_factory=dict)


class TenantUpstreamForm(Section):
    """Overrides of one upstream."""

    headers: dict[str, Text] = Field(default_factory=dict)


class TenantForm(Section):
    """One tenant: who calls, under which tier."""

    tier: Text
    keys: tuple[KeyForm, ...] = Field((), description="tiergate keys mint TENANT makes one")
    subjects: tuple[Text, ...] = Field((), description="Client certificate subjects (auth.mtls)")
    limits: Limits = Field(default_factory=dict, description="Overrides of the tier's, by name")
    routes: dict[str, TenantRouteForm] = Field(default_factory=dict, description="Overrides of a route's limits")
    upstreams: dict[str, TenantUpstreamForm] = Field(
        default_factory=dict, description="This tenant's own headers for an upstream"
    )
    reset_as: ResetAsWord | None = None
    sla: SlaForm | None = None
    department_of: Text | None = Field(None, description="The customer on whose SLA this tenant's stands")
    calendar: Text | None = Field(None, description="The one under calendars that its support counts by")


class TenantLine(TenantForm):
    """One line of a tenants file."""

    id: Text


class MaintenanceForm(Section):
    """A planned window; without effect until announced."""

    from_: Instant = Field(alias="from")
    to: Instant
    groups: list[Text] = Field(default_factory=list)
    note: Text = ""


class RespondForm(Section):
    """First response by severity."""

    S1: ResponseTime | None = None
    S2: ResponseTime | None = None
    S3: ResponseTime | None = None
    S4: ResponseTime | None = None


class ObjectivesForm(Section):
    """Share of the cases of a severity that are answered within a time."""

    S1: AttainValue | None = None
    S2: AttainValue | None = None
    S3: AttainValue | None = None
    S4: AttainValue | None = None


class SupportForm(Section):
    """A support contract."""

    hours: Text = Field(description="24x7, or the name of a calendar")
    channels: list[Text] = Field(default_factory=list)
    respond: RespondForm = Field(RespondForm.model_construct(), description="First response by severity")
    escalation: list[Text] = Field(default_factory=list, description="Roles, in the order in which they are called")
    objectives: ObjectivesForm = Field(
        ObjectivesForm.model_construct(), description="Share of the cases answered within a time; default: every case"
    )


class CalendarForm(Section):
    """Opening hours in a zone."""

    zone: Zone
    open: dict[str, list[Hours]] = Field(description='mon-fri: ["09:00-17:00"]')
    holidays: list[Day] = Field(default_factory=list)
    business_day: Duration = 28_800_000_000


class PolicyFile(Section):
    """A Tiergate policy file. Any file of the directory may hold any of these sections."""

    version: Literal[1] | None = None
    server: ServerForm | None = None
    store: StoreForm | None = None
    headers: HeadersForm | None = None
    auth: AuthForm | None = None
    tiers: dict[str, TierForm] | None = None
    upstreams: dict[str, UpstreamForm] | None = None
    routes: dict[str, RouteForm] | None = None
    tenants: dict[str, TenantForm] | None = None
    tenants_from: Text | None = Field(None, description="A JSON-lines file: one tenant a line, with its id")
    sla: SlaForm | None = None
    maintenance: dict[str, MaintenanceForm] | None = None
    support: dict[str, SupportForm] | None = None
    calendars: dict[str, CalendarForm] | None = None
