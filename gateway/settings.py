"""How one process is run: the ``TIERGATE_*`` environment under the command line, over the ``server:`` section.

Only what a machine or a deployment decides stands here; what callers are promised stands in policy files.
``VARIABLES`` is the one table, and the documentation is tested against it (DESIGN §12).
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, cast, get_args

from policies.model import Address, PolicySet, Server, Traces

ServerKind = Literal["granian", "uvicorn"]
PREFIX = "TIERGATE_"
UNREMARKABLE = ("TIERGATE_MOCK_",)
"""Names that the demo and tests put into the environment for ``${VAR}`` in policy files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One documented variable; ``default`` is what an unset or empty one means, as text."""

    name: str
    default: str
    meaning: str


VARIABLES: tuple[Variable, ...] = (
    Variable(name="TIERGATE_POLICIES", default="policy", meaning="the policy directory"),
    Variable(
        name="TIERGATE_STATE_DIR",
        default="./.tiergate",
        meaning="lock file, control socket and what must survive a restart; one gateway per directory",
    ),
    Variable(name="TIERGATE_SECRETS_DIR", default="", meaning="where ${file:NAME} in policy files is looked up"),
    Variable(
        name="TIERGATE_ACCESS_LOG",
        default="",
        meaning="one JSON line a request: - for standard output, a file's path, or off; overrides server.access_log",
    ),
    Variable(name="TIERGATE_LOG_LEVEL", default="info", meaning="debug, info, warning or error, on standard error"),
    Variable(name="TIERGATE_LISTEN", default="", meaning="host:port for traffic; overrides server.listen"),
    Variable(name="TIERGATE_ADMIN", default="", meaning="host:port of the admin listener; overrides server.admin"),
    Variable(name="TIERGATE_WORKERS", default="", meaning="number of worker processes; overrides server.workers"),
    Variable(name="TIERGATE_SERVER", default="granian", meaning="the HTTP server: granian or uvicorn"),
    Variable(
        name="TIERGATE_INSTANCE",
        default="",
        meaning="this gateway's name in logs, spans and the ledger; the host name when unset",
    ),
    Variable(
        name="TIERGATE_LEDGER_URL",
        default="",
        meaning="where minutes are kept for the SLA: sqlite:////path/to/file or postgresql://user@host/database; "
        "ledger.sqlite in the state directory when unset",
    ),
    Variable(
        name="TIERGATE_IMPORT_TOKEN",
        default="",
        meaning="bearer token (32 characters or more) for POST /ledger/... on the admin listener; off when unset",
    ),
    Variable(name="TIERGATE_DEBUG", default="", meaning="1 prints the traceback of an unexpected failure"),
)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
LEDGERS = ("sqlite:///", "postgresql://", "postgresql+psycopg://")
SHORTEST_TOKEN = 32
LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingsError(Exception):
    """A setting that cannot be used; the text says which and what would do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the process was told. ``None`` for access_log, listen, admin and workers: as ``server:`` says.

    ``ledger_url`` may hold a password, ``import_token`` is one: neither ever stands on a command line.
    """

    policies: Path = Path("policy")
    state_dir: Path = Path("./.tiergate")
    secrets_dir: Path | None = None
    access_log: str | None = None
    log_level: str = "info"
    listen: Address | None = None
    admin: Address | None = None
    workers: int | None = None
    server: ServerKind = "granian"
    instance: str = ""
    ledger_url: str = field(default="", repr=False)
    import_token: str = field(default="", repr=False)
    debug: bool = False

    @property
    def control_socket(self) -> Path:
        return self.state_dir / "control.sock"

    @property
    def lock_file(self) -> Path:
        return self.state_dir / "supervisor.lock"


def address(text: str, *, of: str) -> Address:
    """``host:port``, ``[v6]:port`` or ``:port`` (every interface). Raises ``SettingsError``."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535 or ("[" in host or "]" in host):
        raise SettingsError(f"{of}: {text!r} is not host:port, like 127.0.0.1:8080 or [::1]:8080")
    if ":" in host and not text.startswith("["):
        raise SettingsError(f"{of}: {text!r}: an IPv6 address stands in brackets, like [::1]:8080")
    return Address(host=host or "0.0.0.0", port=int(port))  # asked for by the empty host


def from_environment(env: Mapping[str, str], **flags: Any) -> Settings:
    """Settings of ``env`` with ``flags`` (None: not given) over them. Raises ``SettingsError``."""
    found = {name.removeprefix(PREFIX).lower(): env[name] for name in map(_name, VARIABLES) if env.get(name)}
    found |= {name: value for name, value in flags.items() if value is not None}
    return Settings(**{name: _typed(name, value) for name, value in found.items()})


def _name(variable: Variable) -> str:
    return variable.name


def _typed(name: str, value: Any) -> Any:
    of = PREFIX + name.upper()
    if not isinstance(value, str):
        return value
    match name:
        case "policies" | "state_dir" | "secrets_dir":
            return Path(value)
        case "listen" | "admin":
            return address(value, of=of)
        case "workers":
            return _positive(value, of)
        case "server":
            return cast(ServerKind, _one_of(value.lower(), get_args(ServerKind), of))
        case "log_level":
            return _one_of(value.lower(), LOG_LEVELS, of)
        case "ledger_url":
            return _ledger(value, of)
        case "import_token":
            return _token(value, of)
        case "debug":
            return value.lower() not in ("0", "false", "no", "off")
    return value


def _ledger(url: str, of: str) -> str:
    """What is wrong is not repeated: it may be a password."""
    if not url.startswith(LEDGERS) or url in LEDGERS:
        raise SettingsError(
            f"{of} is no address of a ledger; write sqlite:////path/to/file or postgresql://user@host/database"
        )
    return url


def _token(text: str, of: str) -> str:
    """What is wrong is not repeated."""
    if len(text) < SHORTEST_TOKEN or not text.isascii() or not text.isprintable() or " " in text:
        raise SettingsError(f"{of} is no token of {SHORTEST_TOKEN} or more ASCII characters without blanks")
    return text


def _positive(text: str, of: str) -> int:
    if not (text.isascii() and text.isdigit()) or not 1 <= int(text) <= 256:
        raise SettingsError(f"{of}: {text!r} is not a number of processes from 1 to 256")
    return int(text)


def _one_of(value: str, allowed: tuple[str, ...], of: str) -> str:
    if value in allowed:
        return value
    near = difflib.get_close_matches(value, allowed, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SettingsError(f"{of}: {value!r} is none of {', '.join(allowed)}{hint}")


def unknown_variables(env: Mapping[str, str], referenced: Collection[str] = ()) -> tuple[str, ...]:
    """A warning for each ``TIERGATE_*`` name that nothing reads; ``referenced`` are those policy files use."""
    known = [variable.name for variable in VARIABLES]
    strange = [
        name
        for name in sorted(env)
        if name.startswith(PREFIX) and name not in known and name not in referenced
        if not name.startswith(UNREMARKABLE)
    ]
    return tuple(_unknown(name, known) for name in strange)


def _unknown(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else "")


def effective(settings: Settings, server: Server) -> Server:
    """The ``server:`` section with what the environment and the command line override."""
    return replace(
        server,
        listen=settings.listen or server.listen,
        admin=settings.admin or server.admin,
        workers=settings.workers or server.workers,
        access_log=settings.access_log or server.access_log,
    )


def at_start(settings: Settings, policy: PolicySet) -> dict[str, Any]:
    """What ``policy`` says of settings that are read once, at the start; what ``settings`` override is left out.

    Digests stand for what may hold a password.
    """
    server = policy.server
    said: dict[str, Any] = {
        "server.admin_token_sha256": _digest(server.admin_token_digest or b""),
        "store.url": _digest(policy.store.url.encode("utf-8", "replace")),
        "server.listen": f"{server.listen.host}:{server.listen.port}",
        "server.admin": f"{server.admin.host}:{server.admin.port}",
        "server.workers": server.workers,
        "server.access_log": server.access_log,
        "server.traces": str(server.traces),
    }
    overridden = (name for name in ("listen", "admin", "workers", "access_log") if getattr(settings, name) is not None)
    for name in overridden:
        del said[f"server.{name}"]
    return said


def traces_environment(env: Mapping[str, str], traces: Traces | None) -> Mapping[str, str]:
    """``env`` with the ``OTEL_*`` variables that ``traces`` stands for; what ``env`` itself says goes before them."""
    if traces is None:
        return env
    said = {name: value for name, value in env.items() if value}
    if not said.keys() & {*ENDPOINTS, "OTEL_SDK_DISABLED"}:
        said.setdefault("OTEL_TRACES_EXPORTER", traces.exporter)
    if "OTEL_TRACES_SAMPLER" not in said:
        said |= {
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": str(float(traces.ratio)),
        }
    return said


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()
