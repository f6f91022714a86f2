"""``tiergate sla export | status``: arguments in, what the ledger has of a month in words, an exit code out.

Heavy modules are imported inside their commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.clock import now_s
from gateway.command_line import PoliciesOption, Shape, StateOption, UsageError, fail
from gateway.exit_codes import EXIT_ENVIRONMENT
from gateway.sla.command_line import (
    FeeOption,
    LedgerOption,
    PlatformOption,
    ShapeOption,
    echo,
    fee_in,
    months_in,
    opened,
    warn,
    whose_month,
    with_terms,
)

if TYPE_CHECKING:
    from gateway.sla.ledger import Ledger
    from policies.sla.evidence import Basis, Fee


ledger_app = typer.Typer()


@ledger_app.command(epilog="Example: tiergate sla export acme 2026-10 --out acme-2026-10.jsonl")
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
    tenant, month = whose_month(whose, platform)
    months_in(month, quarters=False)
    with opened(ledger, policies, state_dir) as found:
        basis = _evidence(found, tenant, month, provisional=provisional, fee=fee_in(fee))
        if access_log:
            basis = _with_calls(basis, access_log)
    _write(basis, out)


@ledger_app.command(epilog="Example: tiergate sla status acme")
def status(
    tenant: Annotated[str | None, typer.Argument(help="One tenant; default: the platform and all tenants.")] = None,
    output: ShapeOption = Shape.text,
    ledger: LedgerOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
) -> None:
    """Say where each tenant stands this month: state, uptime, what is left of the downtime budget, what is pending.

    For operators: it shows internal objectives, which customers never see. Exit 0, whatever the figures say.
    """
    from gateway.progress import progress
    from gateway.sla import standing

    with opened(ledger, policies, state_dir) as found:
        names: list[str | None] = [tenant] if tenant is not None else [None, *with_terms(found)]
        made = []
        with progress("evaluating", len(names)) as show:
            for done, name in enumerate(names, 1):
                made.append(_standing(found, name))
                show(done)
    if output is Shape.json:
        typer.echo(json.dumps({"schema": 1, "standings": [standing.as_value(each) for each in made]}, indent=2))
    else:
        for each in made:
            echo(standing.lines(each))


# --- steps --------------------------------------------------------------------------------------------------------


def _evidence(found: Ledger, tenant: str | None, month: str, *, provisional: bool, fee: Fee | None) -> Basis:
    """As published where that can still be had."""
    from policies.sla.evidence_form import input_sha256

    published = found.register.closed(tenant, month)
    if published and not provisional:
        last = published[-1]
        basis = found.as_published(last)
        if input_sha256(basis) == last.input_sha256:
            return basis
        warn(
            f"counters of {month} have changed since revision {last.revision} was published; this is the evidence as "
            f"it is now. tiergate sla close {month} publishes what follows from it"
        )
    return found.current(tenant, month, now_s(), fee=fee)


def _with_calls(basis: Basis, paths: Sequence[Path]) -> Basis:
    from dataclasses import replace

    from gateway.sla import calls

    tenant = basis.head.tenant
    if tenant is None:
        raise UsageError("--access-log goes with a tenant: the platform's export shows nobody's requests")
    read = calls.fitted(calls.read(_lines(paths), tenant, basis.head.seen), basis.rows, tenant)
    if read.unreadable:
        warn(f"{read.unreadable:,} lines of the access log are no evidence: no JSON, or without a cause")
    if read.incomplete:
        warn(f"{read.incomplete:,} minutes were left out: their lines do not add up to what was counted")
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

    at_s = now_s()
    utc = month_at(at_s, "UTC").name
    zone = found.agreement(tenant, utc).terms.zone
    basis = found.current(tenant, month_at(at_s, zone).name, at_s)
    return standing(basis, found.register, shipped_s=found.behind(basis.head.period).shipped_s, now_s=at_s)
