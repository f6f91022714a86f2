"""The command line: parses arguments, calls one function, turns the end into an exit code (``exit_codes``).

Heavy modules are imported inside their commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer

from gateway.command_line import (
    Output,
    OutputOption,
    PoliciesOption,
    Shape,
    StateOption,
    UsageError,
    asked,
    fail,
    settings_of,
)
from gateway.exit_codes import EXIT_BUG, EXIT_ENVIRONMENT, EXIT_FINDING, EXIT_USAGE
from gateway.sla.cli import sla_app
from gateway.sla.command_line import LedgerOption

CLICK_USAGE = 2

app = typer.Typer(
    name="tiergate",
    help="An API gateway that keeps tier contracts: exact limits, every 429 with whose it is and when to come back.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
keys_app = typer.Typer(help="API keys: mint one, see which are used.", no_args_is_help=True)
mock_app = typer.Typer(help="Test doubles.", no_args_is_help=True)
app.add_typer(keys_app, name="keys")
app.add_typer(sla_app, name="sla")
app.add_typer(mock_app, name="mock")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"tiergate {version('tiergate')}")
        except PackageNotFoundError:
            typer.echo("tiergate (not installed)")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of every command."""


@app.command(epilog="Example: tiergate serve --policies policies/examples/demo --listen 127.0.0.1:8080")
def serve(
    policies: PoliciesOption = None,
    listen: Annotated[str | None, typer.Option(help="host:port for traffic. [TIERGATE_LISTEN]")] = None,
    host: Annotated[str | None, typer.Option(help="Only the host of --listen.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Only the port of --listen.")] = None,
    admin: Annotated[str | None, typer.Option(help="host:port of the admin listener. [TIERGATE_ADMIN]")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=256, help="Worker processes. [TIERGATE_WORKERS]")] = None,
    server: Annotated[str | None, typer.Option(help="granian or uvicorn. [TIERGATE_SERVER]")] = None,
    state_dir: StateOption = None,
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; SIGHUP reads the policies again."""
    from gateway import logs, supervisor

    if listen is not None and (host is not None or port is not None):
        raise UsageError("--listen already says host and port; leave out --host and --port")
    if listen is None and (host is not None or port is not None):
        listen = _listen(host, port)
    settings = settings_of(
        policies=policies, listen=listen, admin=admin, workers=workers, server=server, state_dir=state_dir
    )
    logs.configure(settings.log_level, "supervisor")
    raise typer.Exit(supervisor.run(settings, env=os.environ))


def _listen(host: str | None, port: int | None) -> str:
    text = host or "127.0.0.1"
    chosen = 8080 if port is None else port
    return f"[{text}]:{chosen}" if ":" in text else f"{text}:{chosen}"


@app.command(epilog="Example: tiergate check policy/ --output github")
def check(
    directory: Annotated[Path | None, typer.Argument(help="Policy directory; default: TIERGATE_POLICIES.")] = None,
    output: OutputOption = Output.text,
) -> None:
    """Report every mistake of a policy directory as file:line:col; exit 1 when there is one."""
    from gateway.check import run_check

    chosen = directory or settings_of().policies
    if not chosen.is_dir():
        what = "is not a directory" if chosen.exists() else "does not exist; give one: tiergate check DIR"
        fail(f"policy directory {chosen} {what}", EXIT_ENVIRONMENT)
    raise typer.Exit(run_check(chosen, output.value, sys.stdout, os.environ))


@app.command(epilog="Example: tiergate explain TG138")
def explain(code: Annotated[str, typer.Argument(help="A finding's code, like TG138.")]) -> None:
    """What a finding of `check` means."""
    from gateway.check import explain_code

    text = explain_code(code)
    if text is None:
        raise UsageError(f"{code} is no code of a finding; they look like TG138")
    typer.echo(text, nl=False)


@app.command(epilog="Example: tiergate schema > tiergate.schema.json")
def schema() -> None:
    """Print the JSON Schema of policy files, for editors."""
    from gateway.check import run_schema

    raise typer.Exit(run_schema(sys.stdout))


@app.command(
    epilog="Example: tiergate throttle --host api.example.com --status 429 --header 'retry-after: 30' --body a.json"
)
def throttle(
    provider: Annotated[str | None, typer.Option(help="A built-in profile, see --list; default: generic.")] = None,
    host: Annotated[
        str | None, typer.Option(help="Instead: the upstream's host or URL; it chooses the profile.")
    ] = None,
    profile: Annotated[
        Path | None, typer.Option(help="Instead: a file that holds what stands under `profile:` in a policy file.")
    ] = None,
    status: Annotated[int | None, typer.Option(min=200, max=599, help="Status of the upstream's answer.")] = None,
    header: Annotated[list[str] | None, typer.Option(help="A field of it, 'name: value'; may be repeated.")] = None,
    body: Annotated[
        Path | None,
        typer.Option(
            help="A file with its body, - for standard input; JSON, XML or text by its looks, without a content-type."
        ),
    ] = None,
    now: Annotated[
        str | None, typer.Option(help="The gateway's clock: Unix seconds or RFC 3339; default: now.")
    ] = None,
    native: Annotated[bool, typer.Option("--native", help="As under throttled_body: native.")] = False,
    keep_status: Annotated[bool, typer.Option("--keep-status", help="As under map_status: false.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the built-in profiles, grades and hosts.")] = False,
    output: Annotated[Shape, typer.Option("--output", help="For people or for programs.")] = Shape.text,
) -> None:
    """What the gateway makes of an upstream's answer: is it a throttle, by which rule, and what does the caller get."""
    from gateway import throttle_report
    from gateway.profiles import built_in
    from gateway.throttle_command import Unusable, chosen, question
    from gateway.throttle_trial import judge

    as_json = output is Shape.json
    if list_:
        listed = throttle_report.profiles_json if as_json else throttle_report.profiles_text
        typer.echo(listed(sorted(built_in().by_name.values(), key=lambda each: each.name)), nl=False)
        return
    try:
        asked = question(
            chosen(provider, host, profile), status=status, headers=header or [], body=body, now=now, native=native,
            keep_status=keep_status,
        )  # fmt: skip
    except Unusable as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)
    typer.echo((throttle_report.as_json if as_json else throttle_report.as_text)(judge(asked)), nl=False)


@keys_app.command(epilog="Example: tiergate keys mint acme")
def mint(
    tenant: Annotated[str, typer.Argument(help="Whose key it will be.")],
    id: Annotated[
        str | None, typer.Option("--id", help="The key's id in policy files, logs and reports; default: k-YYYYMMDD.")
    ] = None,
) -> None:
    """Make an API key: printed once, kept nowhere; only its SHA-256 goes into a policy file."""
    from gateway.keys import minted
    from policies.format.entries import id_problem
    from policies.model import ANONYMOUS

    key = minted()
    id = id if id is not None else _key_id(key.sha256)
    for what, name in (("tenant", tenant), ("key", id)):
        problem = id_problem(name) or ("begins or ends with a space" if name != name.strip() else None)
        if what == "tenant" and name == ANONYMOUS:
            problem = "stands for callers without a credential"
        if problem:
            raise UsageError(f"{what} id {name[:80]!r} {problem}")
    typer.echo(f"key     {key.text}")
    typer.echo(f"sha256  {key.sha256}")
    typer.echo(f"paste under tenants.{tenant}:")
    item = f"{{id: {json.dumps(id)}, sha256: {key.sha256}}}"
    typer.echo(f"  keys: [{item}]")
    typer.echo("or, where it has keys already, add to that list:")
    typer.echo(f"    - {item}")
    typer.echo("The key is shown this once. Hand it over safely; the gateway can never show it again.", err=True)


def _key_id(sha256: str) -> str:
    """Today's, and the key's own, so that the next key of the same tenant gets another."""
    from datetime import UTC, datetime

    return f"{datetime.now(UTC):k-%Y%m%d}-{sha256[:4]}"


@keys_app.command("list", epilog="Example: tiergate keys list --output json")
def list_keys(state_dir: StateOption = None, output: OutputOption = Output.text) -> None:
    """When each key was last used, as the running gateway saw it."""
    used = asked("keys", state_dir)["last_used"]
    if output is Output.json:
        typer.echo(json.dumps({"schema": 1, "last_used_s": used}))
        return
    for key, when_s in used.items():
        typer.echo(f"{_utc(when_s)}  {key}")
    if not used:
        typer.echo("no key has been used since the gateway started")


def _utc(when_s: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(when_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@app.command(epilog="Example: tiergate status --state-dir /var/lib/tiergate")
def status(state_dir: StateOption = None, output: OutputOption = Output.text) -> None:
    """What the running gateway says of itself."""
    answer = asked("status", state_dir)
    if output is Output.json:
        typer.echo(json.dumps({"schema": 1, **answer}))
        return
    typer.echo(f"process {answer['pid']}, traffic {answer['listen']}, admin {answer['admin']}")
    for pending in answer["pending"]:
        typer.echo(pending)
    for reason in answer["not_ready_because"]:
        typer.echo(f"not ready: {reason}")
    for one in answer["workers"]:
        state = "ready" if one["ready"] else "not ready"
        typer.echo(
            f"worker {one['worker']} (process {one['pid']}): {state}, policy {one['policy']}, "
            f"{one['in_flight']} in flight, restarted {one['restarts']} times"
        )
        for complaint in one["complaints"]:
            typer.echo(f"  rejected: {complaint}")


@app.command(epilog="Example: tiergate reload")
def reload(state_dir: StateOption = None, output: OutputOption = Output.text) -> None:
    """Read the policy directory now; exit 1 when it was rejected (the last good one stays in force)."""
    answer = asked("reload", state_dir)
    if output is Output.json:
        typer.echo(json.dumps({"schema": 1, **answer}))
    else:
        for one in answer["workers"]:
            in_force = " stays in force" if one["outcome"] == "rejected" else ""
            typer.echo(f"worker {one['worker']}: {one['outcome']}, policy {one.get('version')}{in_force}")
        for finding in dict.fromkeys(line for one in answer["workers"] for line in one.get("findings", ())):
            typer.echo(finding)
        for pending in answer["pending"]:
            typer.echo(pending)
    good = all(one["outcome"] in ("accepted", "unchanged") for one in answer["workers"])
    raise typer.Exit(0 if good else EXIT_FINDING)


@mock_app.command("ledger", epilog="Example: tiergate mock ledger --state-dir /tmp/rehearsal")
def mock_ledger(
    state_dir: StateOption = None,
    ledger: LedgerOption = None,
    month: Annotated[str, typer.Option(help="The month to make up; it has to be over for ten days.")] = "2026-10",
    seed: Annotated[int, typer.Option(help="The same seed makes the same month.")] = 7,
    tenants: Annotated[int, typer.Option(min=3, max=500, help="How many; the first three are the demo's.")] = 3,
) -> None:
    """Fill an empty ledger with a made-up month: outages, maintenance, exclusions, all closed, one credit claimed.

    To rehearse reports with, and to see what a customer would get. It is marked as synthetic in its log and on every
    report of it. A ledger that has anything in it is left alone.
    """
    from gateway.clock import now_s
    from gateway.demo import POLICIES
    from gateway.ledger.database import Database, StoreError
    from gateway.progress import progress
    from gateway.sla import mock_ledger as mock
    from gateway.sla.ledger import url_of
    from gateway.stores.quota_file import StateError

    settings = settings_of(state_dir=state_dir, ledger_url=ledger)
    try:
        period = mock.month_of(month, now_s())
        if not settings.ledger_url:
            settings.state_dir.mkdir(parents=True, exist_ok=True)
        database = Database(url_of(settings))
        with progress(f"making up {month}", mock.steps(period)) as show:
            mock.made(database, period, seed, tenants, show).close()
    except mock.NotPossible as error:
        raise UsageError(str(error)) from error
    except (mock.NotEmpty, StateError, StoreError) as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)
    typer.echo(f"{month} of a service that does not exist, in {database.name}; to go on:")
    where = f" --ledger '{ledger}'" if ledger else f" --state-dir {settings.state_dir}"
    typer.echo(f"  tiergate sla report acme {month} --format html --out acme.html --policies {POLICIES}{where}")


@mock_app.command(epilog="Example: tiergate mock upstream --port 9000")
def upstream(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 9000,
) -> None:
    """A scripted API to put behind the gateway: ok, slow, streamed, throttling, failing.

    It does what the path says: /any/slow=2s, /stream=20x100ms, /sse, /large=10MB, /status=503, /reset=head, /garbage;
    /throttle=DIALECT refuses as a provider does, /throttle=DIALECT/wait=2s/times=3 three times, asking for two seconds,
    and then serves (a dialect that is not there lists those that are); any other path answers what arrived, as JSON.
    """
    from gateway.mock_upstream import run_mock_upstream

    try:
        run_mock_upstream(host, port)
    except OSError as error:
        fail(f"cannot listen on {host}:{port}: {error.strerror or error}", EXIT_ENVIRONMENT)


def main(argv: list[str] | None = None) -> None:
    """Entry point of the console script. Never returns."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """One command; answers the exit code."""
    try:
        code = app(args=argv, prog_name="tiergate", standalone_mode=False)
    except (typer.BadParameter, UsageError) as error:
        return _usage(error)
    except typer.Abort:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has gone; nothing may complain at exit
        return 0
    except Exception as error:  # the process boundary
        return _usage(error) if getattr(error, "exit_code", None) == CLICK_USAGE else _bug(error)
    return code if isinstance(code, int) else 0


def _usage(error: Exception) -> int:
    show = getattr(error, "show", None)
    if show is not None:
        show()
    else:
        typer.echo(f"tiergate: {error}", err=True)
    return EXIT_USAGE


def _bug(error: Exception) -> int:
    """One line for the operator; the traceback when ``TIERGATE_DEBUG`` is set."""
    if os.environ.get("TIERGATE_DEBUG"):
        traceback.print_exception(error)
    typer.echo(f"tiergate: unexpected {type(error).__name__}: {error}", err=True)
    if not os.environ.get("TIERGATE_DEBUG"):
        typer.echo("this is a bug; run again with TIERGATE_DEBUG=1 for the traceback", err=True)
    return EXIT_BUG


if __name__ == "__main__":
    main()
