"""``tiergate sla``: arguments in, one function of this package, an exit code out.

Heavy modules are imported inside their commands, so that ``--help`` is quick.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.command_line import Shape, UsageError, fail
from gateway.exit_codes import EXIT_ENVIRONMENT
from gateway.progress import counting
from gateway.sla.act_cli import act_app
from gateway.sla.close_cli import close_app
from gateway.sla.command_line import ShapeOption
from gateway.sla.import_cli import import_app
from gateway.sla.ledger_cli import ledger_app
from gateway.sla.report_cli import report_app

sla_app = typer.Typer(
    help="The SLA: record what happens to it; where a month stands, its evidence, its report, and its proof.",
    no_args_is_help=True,
)
for each in (act_app, ledger_app, close_app, report_app, import_app):
    sla_app.add_typer(each)


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
    output: ShapeOption = Shape.text,
) -> None:
    """Compute the figure of an export again, and say what was altered or where your own log disagrees.

    Needs the files and nothing else: no policies, no state, no gateway. Exit 0: confirmed; 1: something differs, and
    the row, counter, act or field is named; 3: a file that cannot be read. Times in your log need an offset or are
    Unix seconds; a status that is empty, 0 or - means that no answer came.
    """
    from gateway.sla import verify

    try:
        answer = verify.verify(export, record, my_log, counting("verifying"))
    except verify.NotUsable as error:
        raise UsageError(str(error)) from error
    except verify.NotReadable as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}", EXIT_ENVIRONMENT)
    typer.echo(verify.as_json(answer) if output is Shape.json else verify.as_text(answer), nl=False)
    raise typer.Exit(answer.exit_code)
