"""``tiergate sla export | report (from the ledger) | status | close``: arguments in, words and an exit code out.

Heavy modules are imported inside their commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.command_line import PoliciesOption, Shape, StateOption, UsageError, fail, settings_of
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.terminal import clean

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.sla.closing import Closing
    from gateway.sla.ledger import Ledger
    from policies.sla.agreement import Plan
    from policies.sla.evidence import Basis, Fee
    from policies.sla.record import Record

PERIOD: Final = re.compile(r"\d{4}-(\d\d|Q[1-4])", re.ASCII)
"""A month or a quarter, on the command line."""
AT_ONCE: Final = 100
"""Records that are published by one message: a control line has a length."""

LedgerOption = Annotated[
    str | None, typer.Option("--ledger", metavar="URL", help="Another ledger. [TIERGATE_LEDGER_URL]")
]
PlatformOption = Annotated[bool, typer.Option("--platform", help="All tenants together, instead of one.")]
ActorOption = Annotated[
    str | None, typer.Option("--actor", help="Who does it; default: your login name. It stands in the log for good.")
]
FeeOption = Annotated[
    str | None, typer.Option(metavar="'AMOUNT CUR'", help="The month's fee, like '4800.00 EUR': credits as money.")
]


def mount(app: typer.Typer) -> None:
    """The commands of this module, under ``tiergate sla``."""
    app.command("export", epilog="Example: tiergate sla export acme 2026-10 --out acme-2026-10.jsonl")(export)
    app.command("status", epilog="Example: tiergate sla status acme")(status)
    app.command("close", epilog="Example: tiergate sla close 2026-10")(close)


# --- commands -----------------------------------------------------------------------------------------------------


def export(
    whose: Annotated[
        list[str], typer.Argument(metavar="TENANT MONTH", help="Whose evidence; with --platform the month alone.")
    ],
    platform: PlatformOption = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file; default: standard output.")] = None,
    access_log: Annotated[
        list[Path] | None,
        typer.Option(help="Access logs of the gateway: the tenant's lines become part of the evidence; repeatable."),
    ] = None,
    provisional: Annotated[
        bool, typer.Option("--provisional", help="Of a closed month the evidence as it is now.")
    ] = False,
    fee: FeeOption = None,
    ledger: LedgerOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
) -> None:
    """Write the evidence of a tenant's month as JSON lines, for `tiergate sla verify` and whoever wants to check it.

    It holds the tenant's own counters, what it inherits from the platform, when the gateway was alive, the terms, and
    the log of recorded acts with those about others withheld. Of a closed month it is what the published record was
    made from; where counters came later, the evidence as it is now, and a line on standard error says so.
    """
    tenant, month = _whose(whose, platform)
    _check_month(month, quarters=False)
    with _opened(ledger, policies, state_dir) as found:
        basis = _evidence(found, tenant, month, provisional=provisional, fee=_fee(fee))
        if access_log:
            basis = _with_calls(basis, access_log)
    _write(basis, out)


def status(
    tenant: Annotated[str | None, typer.Argument(help="One tenant; default: the platform and all tenants.")] = None,
    output: Annotated[Shape, typer.Option("--output", help="text or json.")] = Shape.text,
    ledger: LedgerOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
) -> None:
    """Say where each tenant stands this month: state, uptime, what is left of the downtime budget, what is pending.

    For operators: it shows internal objectives, which customers never see. Exit 0, whatever the figures say.
    """
    from gateway.progress import progress
    from gateway.sla import standing

    with _opened(ledger, policies, state_dir) as found:
        names: list[str | None] = [tenant] if tenant is not None else [None, *_with_terms(found)]
        made = []
        with progress("evaluating", len(names)) as show:
            for done, name in enumerate(names, 1):
                made.append(_standing(found, name))
                show(done)
    if output is Shape.json:
        typer.echo(json.dumps({"schema": 1, "standings": [standing.as_value(each) for each in made]}, indent=2))
    else:
        for each in made:
            _echo(standing.lines(each))


def close(
    month: Annotated[str, typer.Argument(metavar="MONTH", help="Like 2026-10.")],
    tenant: Annotated[list[str] | None, typer.Option("--tenant", help="Only this tenant; repeatable.")] = None,
    early: Annotated[bool, typer.Option("--early", help="Before the five days after its end are over.")] = False,
    approve: Annotated[
        bool,
        typer.Option("--approve", help="Publish also changes that do not favour the customer, as a second person."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be published, publish nothing.")] = False,
    fee: FeeOption = None,
    actor: ActorOption = None,
    output: Annotated[Shape, typer.Option("--output", help="text or json.")] = Shape.text,
    ledger: LedgerOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
) -> None:
    """Finalise a month: publish the record of each tenant and of the platform in the ledger's log.

    Done again after late data it publishes revisions: a change in the customer's favour at once, any other with
    --approve by another person than published the one in force. Exit 1: something was not published, and why.
    """
    from gateway.sla import closing, recording

    if fee is not None and len(tenant or ()) != 1:
        raise UsageError("--fee is one tenant's: it goes with one --tenant")
    _check_month(month, quarters=False)
    who = actor or recording.default_actor()
    settings = _settings(ledger, policies, state_dir)
    with _opened(ledger, policies, state_dir) as found:
        made = [*_closings(found, month, tenant, early=early, fee=_fee(fee))]
    refused = {each.tenant: closing.refusal(each, who, approved=approve) for each in made}
    due = [each for each in made if refused[each.tenant] is None and each.step != "unchanged"]
    if not dry_run:
        _publish(settings, due, who)
    if output is Shape.json:
        typer.echo(
            json.dumps({"schema": 1, "closings": [closing.as_value(each, refused[each.tenant]) for each in made]})
        )
    else:
        for each in made:
            _echo(closing.lines(each, refused[each.tenant] or ("dry run" if dry_run else None)))
    raise typer.Exit(EXIT_FINDING if any(refused.values()) else 0)


# --- reports ------------------------------------------------------------------------------------------------------


def records(
    whose: Sequence[str], *, platform: bool, provisional: bool, fee: str | None, ledger: str | None,
    policies: Path | None, state_dir: Path | None,
) -> list[Record]:  # fmt: skip
    """The record of a month from the ledger, or the three of a quarter: as published where the month is closed."""
    tenant, name = _whose(whose, platform)
    with _opened(ledger, policies, state_dir) as found:
        return [_record(found, tenant, month, provisional=provisional, fee=_fee(fee)) for month in _check_month(name)]


def all_records(
    name: str, *, provisional: bool, ledger: str | None, policies: Path | None, state_dir: Path | None
) -> Iterator[tuple[str | None, Record]]:
    """Of the platform and of every tenant in turn, with a bar on a terminal."""
    from gateway.progress import progress
    from policies.sla.quarter import quarterly

    months = _check_month(name)
    with _opened(ledger, policies, state_dir) as found:
        names = [None, *_with_terms(found)]
        with progress("reporting", len(names)) as show:
            for done, tenant in enumerate(names, 1):
                made = [_record(found, tenant, month, provisional=provisional, fee=None) for month in months]
                yield tenant, made[0] if len(made) == 1 else quarterly(made)
                show(done)


def file_name(tenant: str | None, name: str, suffix: str) -> str:
    """Of a report: a tenant's name may hold anything, a file's may not, and no two tenants share one."""
    from hashlib import sha256

    if tenant is None:
        return f"platform-{name}.{suffix}"
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", tenant)[:80]
    tail = (
        "" if plain == tenant and plain != "platform" else f"-{sha256(tenant.encode(errors='replace')).hexdigest()[:8]}"
    )
    return f"{plain}{tail}-{name}.{suffix}"


def _record(found: Ledger, tenant: str | None, month: str, *, provisional: bool, fee: Fee | None) -> Record:
    from policies.sla.record import monthly

    published = found.register.closed(tenant, month)
    if published and not provisional:
        return dict(published[-1].record)
    return monthly(found.current(tenant, month, _now_s(), fee=fee))


# --- steps --------------------------------------------------------------------------------------------------------


def _whose(arguments: Sequence[str], platform: bool) -> tuple[str | None, str]:
    if platform and len(arguments) == 1:
        return None, arguments[0]
    if not platform and len(arguments) == 2:
        return arguments[0], arguments[1]
    raise UsageError("say TENANT MONTH, like acme 2026-10, or --platform MONTH")


def _check_month(name: str, *, quarters: bool = True) -> tuple[str, ...]:
    """The months that it is made of."""
    from policies.sla.period import months_of, period

    try:
        if PERIOD.fullmatch(name) and (quarters or "Q" not in name):
            return tuple(each.name for each in months_of(period(name)))
    except ValueError:
        pass
    raise UsageError(f"{name!r} is no month like 2026-10{' and no quarter like 2026-Q3' if quarters else ''}")


def _fee(text: str | None) -> Fee | None:
    from gateway.sla.ledger import fee_from

    try:
        return None if text is None else fee_from(text)
    except ValueError as error:
        raise UsageError(f"--fee {text!r} is no amount with its currency, like '4800.00 EUR': {error}") from error


def _settings(ledger: str | None, policies: Path | None, state_dir: Path | None) -> Settings:
    settings: Settings = settings_of(ledger_url=ledger, policies=policies, state_dir=state_dir)
    return settings


@contextlib.contextmanager
def _opened(ledger: str | None, policies: Path | None, state_dir: Path | None) -> Iterator[Ledger]:
    """The ledger, and every way in which it may not be usable as words and an exit code."""
    from gateway.ledger.database import StoreError
    from gateway.sla.ledger import Broken, NoSuch, opened
    from gateway.stores.quota_file import StateError

    settings = _settings(ledger, policies, state_dir)
    found = None
    try:
        found = opened(settings, _plan(settings))
        yield found
    except NoSuch as error:
        raise UsageError(str(error)) from error
    except Broken as error:
        fail(str(error), EXIT_FINDING)
    except StateError as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except StoreError as error:
        fail(f"the ledger cannot be read: {error}", EXIT_ENVIRONMENT)
    finally:
        if found is not None:
            found.close()


def _plan(settings: Settings) -> Plan:
    """What the policy files promise: it stands where no version of the SLA does, and says each tenant's tier."""
    import os

    from gateway.policy_files import load
    from policies.sla.agreement import plan_of

    try:
        loaded = load(settings.policies, env=os.environ, secrets_dir=settings.secrets_dir)
    except OSError as error:
        named = "--policies or TIERGATE_POLICIES names it"
        fail(f"policy directory {settings.policies}: {error.strerror}; {named}", EXIT_ENVIRONMENT)
    if loaded.policy is None:
        first = next(each for each in loaded.findings if each.severity == "error")
        fail(
            f"{first.file}:{first.line}: {first.message}; tiergate check {settings.policies} says more",
            EXIT_ENVIRONMENT,
        )
    return plan_of(loaded.policy)


def _with_terms(found: Ledger) -> list[str | None]:
    """All tenants that are promised anything; of the others their names on standard error."""
    named = found.tenants()
    strangers = [name for name in named if not found.has_terms(name)]
    if strangers:
        _warn(f"no terms are known of {', '.join(strangers[:10])}; tiergate sla bind TENANT TIER gives them some")
    return [name for name in named if found.has_terms(name)]


def _evidence(found: Ledger, tenant: str | None, month: str, *, provisional: bool, fee: Fee | None) -> Basis:
    """As published where that can still be had."""
    from policies.sla.evidence_form import input_sha256

    published = found.register.closed(tenant, month)
    if published and not provisional:
        last = published[-1]
        basis = found.as_published(last)
        if input_sha256(basis) == last.input_sha256:
            return basis
        _warn(
            f"counters of {month} have changed since revision {last.revision} was published; this is the evidence as "
            f"it is now. tiergate sla close {month} publishes what follows from it"
        )
    return found.current(tenant, month, _now_s(), fee=fee)


def _with_calls(basis: Basis, paths: Sequence[Path]) -> Basis:
    from dataclasses import replace

    from gateway.sla import calls

    tenant = basis.head.tenant
    if tenant is None:
        raise UsageError("--access-log goes with a tenant: the platform's export shows nobody's requests")
    read = calls.fitted(calls.read(_lines(paths), tenant, basis.head.seen), basis.rows, tenant)
    if read.unreadable:
        _warn(f"{read.unreadable:,} lines of the access log are no evidence: no JSON, or without a cause")
    if read.incomplete:
        _warn(f"{read.incomplete:,} minutes were left out: their lines do not add up to what was counted")
    return replace(basis, calls=read.calls)


def _lines(paths: Sequence[Path]) -> Iterator[str]:
    from gateway.progress import progress

    try:
        total = sum(path.stat().st_size for path in paths)
        with progress("reading bytes", total) as show:
            done = 0
            for path in paths:
                with path.open(encoding="utf-8", errors="replace") as file:
                    for line in file:
                        done += len(line)
                        show(done)
                        yield line
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)


def _write(basis: Basis, out: Path | None) -> None:
    from policies.sla.export import write

    try:
        if out is None:
            for line in write(basis):
                sys.stdout.write(line)
        else:
            with out.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(write(basis))
    except OSError as error:
        fail(f"{error.filename or 'standard output'}: {error.strerror}", EXIT_ENVIRONMENT)


def _standing(found: Ledger, tenant: str | None) -> Any:
    """Of the month that is running in the tenant's own zone."""
    from gateway.sla.standing import standing
    from policies.sla.period import month_at

    now_s = _now_s()
    utc = month_at(now_s, "UTC").name
    zone = found.agreement(tenant, utc).terms.zone
    basis = found.current(tenant, month_at(now_s, zone).name, now_s)
    return standing(basis, found.register, shipped_s=found.behind(basis.head.period).shipped_s, now_s=now_s)


def _closings(
    found: Ledger, month: str, tenants: Sequence[str] | None, *, early: bool, fee: Fee | None
) -> Iterator[Closing]:
    from gateway.progress import progress

    names: list[str | None] = list(tenants) if tenants else [*_with_terms(found), None]
    now_s = _now_s()
    with progress(f"closing {month}", len(names)) as show:
        for done, tenant in enumerate(names, 1):
            yield _closing(found, tenant, month, now_s, early=early, fee=fee)
            show(done)


def _closing(found: Ledger, tenant: str | None, month: str, now_s: int, *, early: bool, fee: Fee | None) -> Closing:
    from dataclasses import replace

    from gateway.sla.closing import closing, too_early
    from policies.sla.record import monthly

    basis = found.current(tenant, month, now_s, fee=fee)
    said = too_early(basis.head.period, basis.head.known_until_s, now_s, early=early)
    if said is not None:
        fail(said, EXIT_FINDING)
    published = found.register.closed(tenant, month)
    if not published:
        basis = replace(basis, head=replace(basis.head, published_at_s=now_s))
    return closing(monthly(basis), published[-1] if published else None)


def _publish(settings: Settings, due: Sequence[Closing], actor: str) -> None:
    from gateway.progress import progress
    from gateway.sla import recording
    from policies.sla.closed import CLOSE

    with progress("publishing", len(due)) as show:
        for at in range(0, len(due), AT_ONCE):
            batch = due[at : at + AT_ONCE]
            try:
                recording.record_all(settings, [(CLOSE, each.content) for each in batch], actor)
            except recording.Refused as error:
                fail(f"not published: {error}", EXIT_FINDING)
            except recording.NotRecorded as error:
                fail(f"not published: {error}", EXIT_ENVIRONMENT)
            show(at + len(batch))


def _now_s() -> int:
    from gateway.clock import SystemClock

    return SystemClock().wall_us() // 1_000_000


def _echo(lines: Iterator[str]) -> None:
    for line in lines:
        typer.echo(clean(line))


def _warn(text: str) -> None:
    typer.echo(f"tiergate: {clean(text)}", err=True)
