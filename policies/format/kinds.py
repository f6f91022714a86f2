"""Every kind of finding: its stable code, its slug, and one line that explains it.

Codes are never reused. ``tiergate explain TGnnn`` prints a row; a test compares the docs with this table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """``about`` completes "the value that '${X}' stands for ..." too, so it speaks of the value, not of the key."""

    code: str
    slug: str
    about: str
    severity: Severity = "error"


_ROWS: tuple[tuple[str, str, str], ...] = (
    ("TG100", "unreadable", "names a file or directory that cannot be read"),
    ("TG101", "yaml-syntax", "is not YAML"),
    ("TG102", "duplicate-key", "is set twice; every name may be set once in the whole directory"),
    ("TG103", "unknown-key", "is not a setting of the policy format"),
    ("TG104", "wrong-type", "has the wrong shape: a map, a list, a text or a number is expected"),
    ("TG105", "missing-key", "lacks a setting that is required here"),
    ("TG106", "tab-indent", "is indented with a tab; YAML allows spaces only"),
    ("TG107", "bad-encoding", "is not clean UTF-8 text: invalid bytes or control characters"),
    ("TG108", "too-large", "is larger than a policy file may be"),
    ("TG109", "alias-bomb", "grows without bound when its YAML aliases are followed"),
    ("TG110", "bad-rate", "is not a rate such as 60/min, 10/30s or 5_000/day"),
    ("TG111", "bad-duration", "is not a duration such as 250ms, 30s, 5m, 2h or 7d"),
    ("TG112", "bad-size", "is not a size such as 64KiB or 1MiB"),
    ("TG113", "bad-percent", "is not a percentage such as 99.9%"),
    ("TG114", "bad-number", "is not a whole number in the allowed range"),
    ("TG115", "bad-response-time", "is not a time such as 30m, 4bh (business hours) or 1bd (business days)"),
    ("TG116", "bad-date", "is not a date such as 2026-12-25 or 2026-12-06T02:00:00Z"),
    ("TG117", "bad-zone", "is not an IANA time zone such as Europe/Berlin"),
    ("TG118", "bad-url", "is not a URL that can be used here"),
    ("TG119", "bad-address", "is not an address such as 127.0.0.1:8080, or a network such as 10.0.0.0/8"),
    ("TG120", "bad-choice", "is not one of the words that may stand here"),
    ("TG121", "bad-header", "is not a header that the gateway may set"),
    ("TG122", "bad-name", "cannot be a name: it travels in header fields, logs and state keys"),
    ("TG123", "bad-digest", "is not a SHA-256 digest: 64 hexadecimal digits"),
    ("TG124", "bad-path", "is not a route path such as /crm/{rest:path} or /reports/{id}"),
    ("TG125", "bad-method", "is not an HTTP method in upper case"),
    ("TG127", "bad-limit", "is not one of the four kinds of limit, or a mix of them"),
    ("TG128", "bad-origin", "is not a web origin such as https://app.example.com"),
    ("TG129", "bad-hours", 'are not opening hours such as mon-fri: ["09:00-17:00"]'),
    ("TG130", "undefined-variable", "uses a variable that is not defined"),
    ("TG131", "bad-reference", "is not a reference such as ${NAME}, ${NAME:-default} or ${file:NAME}"),
    ("TG132", "missing-secret", "names a secret file that is not there"),
    ("TG133", "secret-escape", "names a file outside the secrets folder"),
    ("TG134", "several-documents", "holds more than one YAML document"),
    ("TG135", "yaml-tag", "uses a YAML tag or merge key; policy files are plain YAML 1.2"),
    ("TG136", "too-deep", "is nested deeper than any policy needs"),
    ("TG137", "bad-json-line", "is not a JSON object on one line"),
    ("TG138", "no-policy", "holds no policy file"),
    ("TG139", "bad-pem", "is not PEM text with the blocks that belong here"),
    ("TG140", "bad-json-path", "is not a path into JSON such as errors[*].extensions.code"),
    ("TG141", "bad-pattern", "is not a regular expression of RE2 with at most one group"),
    ("TG142", "bad-source", "does not name one place in an answer"),
    ("TG143", "bad-commitment", "is not a commitment such as 99% under 500ms or 90% within 6h"),
    ("TG201", "unknown-name", "is a name that nothing in the set defines"),
    ("TG202", "extends-cycle", "extends itself, directly or through others"),
    ("TG203", "overlapping-routes", "matches exactly the calls that another route matches"),
    ("TG204", "unreachable-route", "can never be reached by a call"),
    ("TG205", "cost-exceeds-limit", "costs more than a limit of the call can ever hold"),
    ("TG206", "limit-namespace", "is the name of a tenant-wide limit and of a route's limit"),
    ("TG207", "unknown-limit", "is no limit that could be meant here"),
    ("TG208", "duplicate-credential", "identifies two callers"),
    ("TG209", "demo-key-exposed", "is a demo key in a set that listens beyond loopback"),
    ("TG210", "admin-exposed", "opens the admin listener beyond loopback without a token"),
    ("TG211", "store-not-shared", "is a store of one process, but several workers are asked for"),
    ("TG212", "window-range", "is shorter or longer than this kind of limit can be"),
    ("TG213", "reserved", "is reserved by the gateway"),
    ("TG214", "strip-mismatch", "is not the beginning of the route's path"),
    ("TG215", "inverted-time", "ends before it begins"),
    ("TG216", "jwt-algorithm", "is an algorithm that would let callers sign their own tokens"),
    ("TG217", "store-not-built", "names a store that this version does not have; it has memory:// only"),
    ("TG218", "engine-without-proxy", "is an egress proxy, which only the engine httpx speaks to"),
    ("TG219", "bad-department", "cannot have a department: it is one itself, or the same tenant"),
    ("TG301", "credit-step", "leaves availability between the target and the first band unpaid or paid twice"),
    ("TG302", "credit-order", "breaks the order of the bands: availability falls, credits rise, the last edge is 0%"),
    ("TG303", "no-calendar", "counts business time without a calendar"),
)
_WARNINGS: tuple[tuple[str, str, str], ...] = (
    ("TG401", "unused-name", "is defined and used by nothing"),
    ("TG402", "forgetful-store", "relies on a store that can forget"),
    ("TG403", "file-extension", "is not read: policy files end in .yaml"),
    ("TG404", "not-in-this-version", "is accepted, checked and kept, but this version does nothing with it yet"),
    ("TG405", "no-credential", "has no way to say who it is, so no call is ever its own"),
    ("TG406", "no-effect", "does nothing without another setting"),
    ("TG407", "similar-name", "makes a new limit whose name is nearly that of one that exists"),
    ("TG408", "unreachable-rule", "can never decide, because an earlier rule takes every answer that it is for"),
)

KINDS: Mapping[str, Kind] = {
    **{code: Kind(code=code, slug=slug, about=about) for code, slug, about in _ROWS},
    **{code: Kind(code=code, slug=slug, about=about, severity="warning") for code, slug, about in _WARNINGS},
}
