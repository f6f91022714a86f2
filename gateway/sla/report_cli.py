"""``tiergate sla report``: arguments in, a record from the ledger or from exports, in one of its forms, out.

Heavy modules are imported inside, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.clock import now_s
from gateway.command_line import PoliciesOption, StateOption, UsageError, fail
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.progress import counting
from gateway.sla.command_line import (
    PERIOD,
    FeeOption,
    LedgerOption,
    PlatformOption,
    fee_in,
    months_in,
    opened,
    whose_month,
    with_terms,
)

if TYPE_CHECKING:
    from gateway.sla.ledger import Ledger
    from policies.sla.evidence import Fee
    from policies.sla.record import Record

report_app = typer.Typer()


class ReportFormat(StrEnum):
    json = "json"
    html = "html"
    csv = "csv"


@report_app.command("report", epilog="Example: tiergate sla report acme 2026-10 --format html --out acme-2026-10.html")
def report(
    of: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TENANT PERIOD | EXPORT...",
            help="A month or quarter of the ledger, or export files: one, or three.",
        ),
    ] = None,
    format: Annotated[
        ReportFormat, typer.Option("--format", help="json is canonical, the others derive from it.")
    ] = ReportFormat.json,
    out: Annotated[
        Path | None, typer.Option(help="Write to this file, with --all into this directory; default: standard output.")
    ] = None,
    platform: PlatformOption = False,
    every: Annotated[
        str | None, typer.Option("--all", metavar="PERIOD", help="Of the platform and every tenant, into --out.")
    ] = None,
    provisional: Annotated[
        bool, typer.Option("--provisional", help="Of a closed month not the published record, but one computed now.")
    ] = False,
    fee: FeeOption = None,
    ledger: LedgerOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
) -> None:
    """Print the record of a month or quarter, to hand to a customer: from the ledger, or from exports.

    When the last word is a month (2026-10) or a quarter (2026-Q3), it is read from the ledger: TENANT PERIOD, or
    --platform PERIOD. Otherwise the words are export files, one for a month and three for a quarter. A closed month is
    printed as it was published. An export that does not hold together gives no report: exit 1, and the reason. The page
    needs nothing but itself.
    """
    from gateway.sla import verify

    where: dict[str, Any] = {"ledger": ledger, "policies": policies, "state_dir": state_dir}
    words = of or []
    if every is not None:
        if words or platform or fee is not None or out is None:
            raise UsageError("--all PERIOD goes with --out DIRECTORY, and without a tenant, a file or a fee")
        _report_all(every, format, out, provisional, where)
        return
    with _failing():
        if words and PERIOD.fullmatch(words[-1]):
            made = _records(words, platform=platform, provisional=provisional, fee=fee, **where)
            record = verify.joined(made)
        elif words and not platform and _means_a_tenant(words):
            lacks = f"{words[1]!r} is no month" if len(words) == 2 else "no month is named"
            raise UsageError(f"{lacks}: say {words[0]} 2026-10, or {words[0]} 2026-Q3 for a quarter")
        elif words and not platform:
            record = verify.report_record([Path(each) for each in words], counting("reading"))
        else:
            raise UsageError("say TENANT MONTH, like acme 2026-10, --platform MONTH, --all MONTH, or export files")
        _written(_formatted(record, format), out)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Each way in which there is no report, as an exit code."""
    from gateway.sla import verify

    try:
        yield
    except verify.NotUsable as error:
        raise UsageError(str(error)) from error
    except verify.NotSound as error:
        fail(str(error), EXIT_FINDING)
    except verify.NotReadable as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)


def _means_a_tenant(words: list[str]) -> bool:
    """Whether the first word is nothing like the name of an export."""
    return len(words) < 3 and not any(sign in words[0] for sign in "./") and not Path(words[0]).exists()


def _report_all(period: str, format: ReportFormat, out: Path, provisional: bool, where: dict[str, Any]) -> None:
    made = 0
    with _failing():
        out.mkdir(parents=True, exist_ok=True)
        for tenant, record in _all_records(period, provisional=provisional, **where):
            _written(_formatted(record, format), out / file_name(tenant, period, format.value))
            made += 1
    typer.echo(f"{made:,} reports of {period} in {out}")


def _formatted(record: dict[str, Any], format: ReportFormat) -> bytes:
    from gateway.sla import report as formats

    return {"json": formats.as_json, "html": formats.as_html, "csv": formats.as_csv}[format.value](record)


def _written(data: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        out.write_bytes(data)


def _records(
    whose: Sequence[str], *, platform: bool, provisional: bool, fee: str | None, ledger: str | None,
    policies: Path | None, state_dir: Path | None,
) -> list[Record]:  # fmt: skip
    """The record of a month from the ledger, or the three of a quarter: as published where the month is closed."""
    tenant, name = whose_month(whose, platform)
    with opened(ledger, policies, state_dir) as found:
        return [_record(found, tenant, month, provisional=provisional, fee=fee_in(fee)) for month in months_in(name)]


def _all_records(
    name: str, *, provisional: bool, ledger: str | None, policies: Path | None, state_dir: Path | None
) -> Iterator[tuple[str | None, Record]]:
    """Of the platform and of every tenant in turn, with a bar on a terminal."""
    from gateway.progress import progress
    from policies.sla.quarter import quarterly

    months = months_in(name)
    with opened(ledger, policies, state_dir) as found:
        names = [None, *with_terms(found)]
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
    return monthly(found.current(tenant, month, now_s(), fee=fee))
