"""The one table of what can go wrong for a caller (RULINGS 22), and the exception that carries it.

``middleware.problems`` renders from this table, ``docs/problems`` has a page for each row, and the SLA
classifies by its last column. A refusal inside ``policies`` is a value; ``GatewayError`` is for the shells.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from policies.announcement import Announcement

IANA_PREFIX = "https://iana.org/assignments/http-problem-types#"
"""Only the problem types of draft-ietf-httpapi-ratelimit-headers-11 section 5 live here."""

Source = Literal["tenant", "concurrency", "upstream", "shed", "store"]
Phase = Literal["queue", "auth", "plugin", "upstream_connect", "upstream_wait", "upstream_body"]
SlaRow = Literal["client_error", "own_limit", "gateway", "upstream"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorType:
    """One kind of failure.

    ``word`` is the body's ``error`` member; ``iana`` the registered problem type or None for our own,
    which is then named by ``code``; ``source`` as in RULINGS 4; ``proxy_error`` the RFC 9209 error
    token or None where no proxy error is meant; ``sla`` the row of spec O1-O8 it falls under.
    """

    code: str
    status: int
    title: str
    word: str
    sla: SlaRow
    iana: str | None = None
    source: Source | None = None
    proxy_error: str | None = None

    def type_uri(self, problems_base: str) -> str:
        return IANA_PREFIX + self.iana if self.iana else problems_base + self.code


def _row(code: str, status: int, title: str, sla: SlaRow, proxy_error: str | None, **more: Any) -> ErrorType:
    word = more.pop("word", code.replace("-", "_"))
    return ErrorType(code=code, status=status, title=title, word=word, sla=sla, proxy_error=proxy_error, **more)


_LIMITED: Mapping[str, Any] = {"word": "rate_limited", "iana": "quota-exceeded"}
_ABNORMAL: Mapping[str, Any] = {"word": "rate_limited", "iana": "abnormal-usage-detected"}
_REDUCED: Mapping[str, Any] = {"iana": "temporary-reduced-capacity"}

# fmt: off
ERRORS: Mapping[str, ErrorType] = {row.code: row for row in (
    # code, status, title, row of O1-O8, RFC 9209 error
    _row("bad-request", 400, "The request is malformed", "client_error", "http_request_error"),
    _row("bad-path", 400, "The path is ambiguous", "client_error", "http_request_error"),
    _row("unauthenticated", 401, "No valid credential", "client_error", "http_request_error"),
    _row("forbidden-tier", 403, "The tier has no access to this route", "client_error", "http_request_denied"),
    _row("forbidden-origin", 403, "The route has no WebSocket for this origin", "client_error", "http_request_denied"),
    _row("cost-exceeds-limit", 403, "The call costs more than a limit can hold", "client_error", "http_request_denied"),
    _row("no-route", 404, "No route matches", "client_error", "http_request_error"),
    _row("method-not-allowed", 405, "The route does not take this method", "client_error", "http_request_error"),
    _row("request-timeout", 408, "The request body did not arrive in time", "client_error", "http_request_error"),
    _row("body-too-large", 413, "The request body is too large", "client_error", "http_request_error"),
    _row("rate-limited", 429, "A rate limit of the tenant is exhausted", "own_limit", "http_request_error",
         source="tenant", **_LIMITED),
    _row("concurrency-limited", 429, "Too many calls at the same time", "own_limit", "http_request_error",
         source="concurrency", **_LIMITED),
    _row("credential-failures", 429, "Too many failed credentials from this address", "client_error",
         "http_request_error", source="tenant", **_ABNORMAL),
    _row("upstream-throttled", 429, "The upstream is throttling requests", "upstream", None,
         source="upstream", **_LIMITED),
    _row("internal", 500, "The gateway failed", "gateway", "proxy_internal_error"),
    _row("upstream-connect", 502, "The upstream cannot be reached", "upstream", "destination_unavailable"),
    _row("upstream-tls", 502, "No trusted connection to the upstream", "upstream", "tls_certificate_error"),
    _row("upstream-protocol", 502, "The upstream's answer is not valid HTTP", "upstream", "http_protocol_error"),
    _row("upstream-loop", 502, "The request came back to this gateway", "gateway", "proxy_loop_detected"),
    _row("egress-proxy", 502, "The egress proxy does not let the call through", "gateway", "destination_unavailable"),
    _row("upstream-pool", 503, "No connection to the upstream is free", "gateway", "connection_limit_reached",
         source="shed", **_REDUCED),
    _row("shed", 503, "The gateway is shedding load", "gateway", "proxy_internal_response", source="shed", **_REDUCED),
    _row("store-unavailable", 503, "The limit store does not answer", "gateway", "proxy_internal_response",
         source="store", **_REDUCED),
    _row("auth-unavailable", 503, "Credentials cannot be checked right now", "gateway", "proxy_internal_response",
         source="store"),
    _row("draining", 503, "This gateway is shutting down", "gateway", "proxy_internal_response", source="shed"),
    _row("upstream-timeout", 504, "The upstream did not answer in time", "upstream", "http_response_timeout"),
    _row("egress-proxy-timeout", 504, "The egress proxy did not answer in time", "gateway", "connection_timeout"),
)}
# fmt: on


class GatewayError(Exception):
    """A failure with a stable ``code`` of ``ERRORS``.

    ``detail`` may be shown to the caller; ``cause_text`` is for the span and the log only. ``proxy_error``
    refines the table's RFC 9209 token (``dns_error`` for ``upstream-connect``, say). ``retry_after_s`` is
    whole seconds or None, ``estimated`` says that nobody knows it exactly. ``violated`` names the limits that
    refused. ``headers`` are added to the answer. Of a throttling upstream: what is said of it, its JSON, and a
    ``body`` to send in place of ours, whose fields are among ``headers``.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        cause_text: str = "",
        phase: Phase | None = None,
        proxy_error: str | None = None,
        retry_after_s: int | None = None,
        retry_after_ms: int | None = None,
        estimated: bool = False,
        violated: tuple[str, ...] = (),
        headers: tuple[tuple[bytes, bytes], ...] = (),
        announcement: Announcement | None = None,
        upstream_body: bytes | None = None,
        body: bytes | None = None,
    ) -> None:
        super().__init__(code, detail)
        self.type = ERRORS[code]
        self.detail = detail
        self.cause_text = cause_text
        self.phase: Phase | None = phase
        self.proxy_error = proxy_error or self.type.proxy_error
        self.retry_after_s = retry_after_s
        self.retry_after_ms = retry_after_ms
        self.estimated = estimated
        self.violated = violated
        self.headers = headers
        self.announcement = announcement
        self.upstream_body = upstream_body
        self.body = body

    @property
    def code(self) -> str:
        return self.type.code
