"""``tiergate sla``: arguments in, one function of this package, an exit code out.

Heavy modules are imported inside their commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.command_line import Output, OutputOption, PoliciesOption, StateOption, UsageError, fail
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.sla import import_cli, ledger_cli
from gateway.sla.act_cli import act_app
from gateway.sla.ledger_cli import FeeOption, LedgerOption, PlatformOption

sla_app = typer.Typer(
    help="The SLA: record what happens to it; where a month stands, its evidence, its report, and its proof.",
    no_args_is_help=True,
)
sla_app.add_typer(act_app)
ledger_cli.mount(sla_app)
sla_app.command("import", epilog=import_cli.EPILOG)(import_cli.import_evidence)


@sla_app.command(
    "verify", epilog="Example: tiergate sla verify acme-2026-04.jsonl --record acme-2026-04.json --my-log requests.csv"
)
def verify_export(
    export: Annotated[Path, typer.Argument(help="The evidence of a month, as JSON lines.")],
    record: Annotated[Path | None, typer.Option(help="The published record (JSON) to be confirmed by it.")] = None,
    my_log: Annotated[
        Path | None,
        typer.Option(help="Your own request log: JSON lines or CSV with time, status, and request_id if you have it."),
    ] = None,
    output: OutputOption = Output.text,
) -> None:
    """Compute the figure of an export again, and say what was altered or where your own log disagrees.

    Needs the files and nothing else: no policies, no state, no gateway. Exit 0: confirmed; 1: something differs, and
    the row, counter, act or field is named; 3: a file that cannot be read. Times in your log need an offset or are
    Unix seconds; a status that is empty, 0 or - means that no answer came.
    """
    from gateway.sla import verify

    try:
        answer = verify.verify(export, record, my_log, _counting("verifying"))
    except verify.NotUsable as error:
        raise UsageError(str(error)) from error
    except verify.NotReadable as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)
    typer.echo(verify.as_json(answer) if output is Output.json else verify.as_text(answer), nl=False)
    raise typer.Exit(answer.exit_code)


class ReportFormat(StrEnum):
    json = "json"
    html = "html"
    csv = "csv"


@sla_app.command("report", epilog="Example: tiergate sla report acme 2026-10 --format html --out acme-2026-10.html")
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
    try:
        if words and ledger_cli.PERIOD.fullmatch(words[-1]):
            made = ledger_cli.records(words, platform=platform, provisional=provisional, fee=fee, **where)
            record = verify.joined(made)
        elif words and not platform and _means_a_tenant(words):
            lacks = f"{words[1]!r} is no month" if len(words) == 2 else "no month is named"
            raise UsageError(f"{lacks}: say {words[0]} 2026-10, or {words[0]} 2026-Q3 for a quarter")
        elif words and not platform:
            record = verify.report_record([Path(each) for each in words], _counting("reading"))
        else:
            raise UsageError("say TENANT MONTH, like acme 2026-10, --platform MONTH, --all MONTH, or export files")
        _written(_formatted(record, format), out)
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
    try:
        out.mkdir(parents=True, exist_ok=True)
        made = 0
        for tenant, record in ledger_cli.all_records(period, provisional=provisional, **where):
            _written(_formatted(record, format), out / ledger_cli.file_name(tenant, period, format.value))
            made += 1
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)
    typer.echo(f"{made:,} reports of {period} in {out}")


def _formatted(record: dict[str, Any], format: ReportFormat) -> bytes:
    from gateway.sla import report as formats

    return {"json": formats.as_json, "html": formats.as_html, "csv": formats.as_csv}[format.value](record)


def _written(data: bytes, out: Path | None) -> None:
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        out.write_bytes(data)


def _counting(doing: str) -> Callable[[Iterator[str]], Iterator[str]]:
    """Says on a terminal how far a long file has been read."""
    import time

    def count(lines: Iterator[str]) -> Iterator[str]:
        begun = time.monotonic()
        shown = False
        for number, line in enumerate(lines, 1):
            if number % 5_000 == 0 and sys.stderr.isatty() and time.monotonic() - begun > 1:
                shown = True
                typer.echo(f"\r{doing}: {number:,} lines", nl=False, err=True)
            yield line
        if shown:
            typer.echo("\r\x1b[K", nl=False, err=True)

    return count
