"""``tiergate sla import``: arguments in, ``gateway.sla.importing``, what was taken and an exit code out."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.command_line import PoliciesOption, Shape, StateOption, UsageError, fail, settings_of
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.sla.command_line import ActorOption, ShapeOption

if TYPE_CHECKING:
    from gateway.sla.importing import Receipt

import_app = typer.Typer()


class Kind(StrEnum):
    edge = "edge"
    probes = "probes"
    support = "support"


@import_app.command("import", epilog="Example: tiergate sla import edge balancer-2026-10.csv --source lb-eu --dry-run")
def import_evidence(
    kind: Annotated[Kind, typer.Argument(metavar="edge|probes|support", help="What the lines are.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="JSON lines, or CSV with a header; - is standard input.")
    ],
    source: Annotated[str, typer.Option(help="Who counted, such as lb-eu: the same name for the same counter.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say whether it would be taken.")] = False,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Take evidence that others counted into the ledger: all lines or none, recorded as an act.

    edge: minute, failed, perhaps tenant, group: requests that a balancer refused or answered with a 502 itself; they
    count as the gateway's failures. probes: vantage_point, from, to, ok: what probes found from outside. support: id,
    ticket, tenant, at, kind (opened, ack, reply, severity, closed), actor (customer, staff, system), severity for
    opened and severity. Instants carry an offset. What an earlier import of the source said of the same minute,
    probe or event is replaced. Exit 0: taken; 1: a line is wrong, and nothing was taken; 3: no ledger.
    """
    from gateway.sla import importing
    from gateway.sla.recording import NotRecorded, Refused, default_actor
    from policies.sla.imports import MOST_BYTES

    settings = settings_of(policies=policies, state_dir=state_dir)
    try:
        offer = importing.offered(kind.value, source, _read(file, MOST_BYTES))
    except ValueError as error:
        raise UsageError(f"--source: {error}") from error
    record = None if dry_run else importing.through_socket(settings, actor or default_actor())
    try:
        receipt = importing.take(settings, offer, os.environ, record)
    except (ValueError, Refused) as error:
        fail(f"{file}: {error}; nothing was taken", EXIT_FINDING)
    except (importing.NotTaken, NotRecorded) as error:
        fail(str(error), EXIT_ENVIRONMENT)
    typer.echo(_as_json(receipt) if output is Shape.json else _as_text(receipt))


def _read(file: Path, most: int) -> bytes:
    try:
        if str(file) == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with file.open("rb") as opened:
                data = opened.read(most + 1)
    except OSError as error:
        fail(f"{file}: {error.strerror}", EXIT_ENVIRONMENT)
    if len(data) > most:
        fail(f"{file}: it is larger than {most // 1024**2} MiB; import it in parts", EXIT_FINDING)
    return data


def _as_text(receipt: Receipt) -> str:
    said = receipt.content
    lines = f"{receipt.lines:,} {'line' if receipt.lines == 1 else 'lines'} of {said['what']} from {said['source']}"
    taken = "would be taken" if receipt.act is None else f"taken, act {receipt.act}"
    return f"{lines}, {said['from']} to {said['to']}: {taken}"


def _as_json(receipt: Receipt) -> str:
    return json.dumps({**receipt.content, "act": receipt.act}, indent=2)
