"""``tiergate sla close``: arguments in, a month's records into the log, what was published and an exit code out.

Whether a record may be published is ``closing``'s. Heavy modules are imported inside, so that ``--help`` is quick.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.clock import now_s
from gateway.command_line import PoliciesOption, Shape, StateOption, UsageError, fail
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.sla.command_line import (
    ActorOption,
    FeeOption,
    LedgerOption,
    ShapeOption,
    echo,
    fee_in,
    months_in,
    opened,
    sla_settings,
    with_terms,
)

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.sla.closing import Closing
    from gateway.sla.ledger import Ledger
    from policies.sla.evidence import Fee

close_app = typer.Typer()
AT_ONCE: Final = 100
"""Records that are published by one message: a control line has a length."""


@close_app.command("close", epilog="Example: tiergate sla close 2026-10")
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
    output: ShapeOption = Shape.text,
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
    months_in(month, quarters=False)
    who = actor or recording.default_actor()
    settings = sla_settings(ledger, policies, state_dir)
    with opened(ledger, policies, state_dir) as found:
        made = [*_closings(found, month, tenant, early=early, fee=fee_in(fee))]
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
            echo(closing.lines(each, refused[each.tenant] or ("dry run" if dry_run else None)))
    raise typer.Exit(EXIT_FINDING if any(refused.values()) else 0)


def _closings(
    found: Ledger, month: str, tenants: Sequence[str] | None, *, early: bool, fee: Fee | None
) -> Iterator[Closing]:
    from gateway.progress import progress

    names: list[str | None] = list(tenants) if tenants else [*with_terms(found), None]
    at_s = now_s()
    with progress(f"closing {month}", len(names)) as show:
        for done, tenant in enumerate(names, 1):
            yield _closing(found, tenant, month, at_s, early=early, fee=fee)
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
