"""What one request has learned (``Exchange``), and what is kept of it (``Outcome``).

``Exchange`` is the only mutable record of the request path; it is made by ``middleware.telemetry``,
travels in ``scope["tiergate"]``, and belongs to that request alone. ``Outcome`` is made from it exactly
once, when the request's end is known, and holds every fact that spec O1-O13 asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from policies.errors import Phase, Source

if TYPE_CHECKING:
    from policies.admission.decision import Decision
    from policies.announcement import Announcement
    from policies.model import Tenant
    from policies.plan import Plan
    from policies.snapshot import Snapshot

Origin = Literal["gateway", "upstream", "client"]
SCOPE_KEY = "tiergate"


class Exchange:
    """The facts of one request, filled in as they become known.

    Times are steady microseconds unless named ``wall``. ``None`` means not known (yet), never zero.
    """

    __slots__ = (
        "account",
        "announcement",
        "bytes_in",
        "bytes_out",
        "client_address",
        "client_gone",
        "credential_id",
        "decision",
        "detail",
        "error_code",
        "failed_phase",
        "finished_us",
        "head_sent",
        "internal",
        "method",
        "origin",
        "parent_span_id",
        "path",
        "peer_address",
        "peer_trusted",
        "phase",
        "plan",
        "query",
        "request_id",
        "retry_after_s",
        "route_name",
        "sampled",
        "snapshot",
        "source",
        "span_id",
        "started_us",
        "started_wall_us",
        "status",
        "target",
        "tenant",
        "throttle_uninspected",
        "trace_flags",
        "trace_id",
        "trace_state",
        "truncated_by",
        "upstream_finished_us",
        "upstream_head_us",
        "upstream_host",
        "upstream_name",
        "upstream_span_id",
        "upstream_started_us",
        "upstream_status",
    )

    def __init__(self, started_us: int, started_wall_us: int, request_id: str) -> None:
        self.started_us = started_us
        self.started_wall_us = started_wall_us
        self.request_id = request_id
        self.finished_us: int | None = None
        self.method = ""
        self.path = ""  # decoded and canonical once tenancy has run; before that empty
        self.target = b""  # the same path percent-encoded, as it will be forwarded
        self.query = b""
        self.client_address = ""
        self.peer_address = ""  # of the connection's other end; IPv4-mapped as IPv4, empty when unknown
        self.peer_trusted = False  # whether the peer's own forwarding fields are believed
        self.snapshot: Snapshot | None = None
        self.tenant: Tenant | None = None
        self.account = ""  # the partition of state this call is charged to
        self.credential_id: str | None = None
        self.route_name: str | None = None
        self.plan: Plan | None = None
        self.decision: Decision | None = None
        self.announcement: Announcement | None = None  # what the upstream said of its limits
        self.throttle_uninspected = False  # a body that might have said so was too large, slow or odd
        self.internal = False  # /_gateway/* and probes: O1
        self.phase: Phase = "queue"  # where the request is now
        self.failed_phase: Phase | None = None  # where it was when it failed
        self.status: int | None = None  # as the caller saw it
        self.origin: Origin = "gateway"  # who produced the status
        self.error_code: str | None = None  # a code of policies.errors
        self.detail = ""  # private cause, for the span and the log
        self.source: Source | None = None
        self.retry_after_s: int | None = None
        self.head_sent = False
        self.client_gone = False
        self.truncated_by: Literal["gateway", "upstream"] | None = None
        self.upstream_name: str | None = None
        self.upstream_host: str | None = None
        self.upstream_status: int | None = None
        self.upstream_started_us: int | None = None
        self.upstream_head_us: int | None = None
        self.upstream_finished_us: int | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.trace_id = ""  # ids in lower-case hexadecimal, as W3C Trace Context spells them; empty for none
        self.span_id = ""  # of the server span
        self.upstream_span_id = ""  # of the client span; recorded requests only have one
        self.parent_span_id = ""
        self.trace_flags = 0
        self.trace_state: str | None = None
        self.sampled = False


@dataclass(slots=True, kw_only=True)  # frozen would cost more than all of its users
class Outcome:
    """One finished request, as the SLA, the access log and the metrics need it.

    ``origin`` says who produced the status; ``reason`` is the error code or None; ``phase`` is where the
    request was when it failed; ``over_limit`` is True only when the tenant was over its *published*
    limit; ``owner`` and ``vendor`` describe the upstream, None when none was involved. ``known_wall_us``
    is when the outcome became known (spec T1), Unix microseconds.
    """

    known_wall_us: int
    tenant: str
    tier: str | None
    group: str | None
    route: str | None
    status: int
    origin: Origin
    reason: str | None
    phase: Phase | None
    source: Source | None
    over_limit: bool
    internal: bool
    truncated_by: Literal["gateway", "upstream"] | None
    upstream: str | None
    upstream_host: str | None
    owner: str | None
    vendor: str | None
    upstream_status: int | None
    elapsed_us: int
    upstream_us: int
