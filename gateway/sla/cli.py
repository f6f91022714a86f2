"""``tiergate sla``: arguments in, one function of this package, an exit code out.

Heavy modules are imported inside their commands, so that ``--help`` is quick.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.command_line import Output, OutputOption, UsageError, fail
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.sla import import_cli
from gateway.sla.act_cli import act_app

sla_app = typer.Typer(
    help="The SLA: record what happens to it, verify an export, print a report.", no_args_is_help=True
)
sla_app.add_typer(act_app)
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


@sla_app.command(
    "report", epilog="Example: tiergate sla report acme-2026-04.jsonl --format html --out acme-2026-04.html"
)
def report(
    exports: Annotated[
        list[Path], typer.Argument(metavar="EXPORT...", help="A month's evidence; three for a quarter.")
    ],
    format: Annotated[ReportFormat, typer.Option("--format", help="json is canonical, the others derive from it.")],
    out: Annotated[Path | None, typer.Option(help="Write to this file; default: standard output.")] = None,
) -> None:
    """Print the monthly record of an export, or the quarterly report of three, to hand to a customer.

    An export that does not hold together gives none: exit 1, and the reason. The page needs nothing but itself.
    """
    from gateway.sla import report as formats
    from gateway.sla import verify

    try:
        record = verify.report_record(exports, _counting("reading"))
        data = {"json": formats.as_json, "html": formats.as_html, "csv": formats.as_csv}[format.value](record)
        if out is None:
            sys.stdout.buffer.write(data)
        else:
            out.write_bytes(data)
    except verify.NotUsable as error:
        raise UsageError(str(error)) from error
    except verify.NotSound as error:
        fail(str(error), EXIT_FINDING)
    except verify.NotReadable as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)


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
