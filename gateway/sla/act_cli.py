"""``tiergate sla announce | work | exclude | approve | version | bind | pin | claim | acts``: what goes into the log.

Arguments in, acts recorded, what comes of them said. Heavy modules are imported inside the commands, so that
``--help`` is quick.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.command_line import PoliciesOption, Shape, StateOption, UsageError, fail, settings_of
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.sla.command_line import ActorOption, ShapeOption

if TYPE_CHECKING:
    from gateway.sla.log_book import Book
    from gateway.sla.recording import Asked

act_app = typer.Typer()

FromOption = Annotated[str | None, typer.Option("--from", help="RFC 3339 with its offset, like 2026-12-01T22:00:00Z.")]
ToOption = Annotated[str | None, typer.Option("--to", help="Likewise; the window ends before it.")]
GroupOption = Annotated[
    list[str] | None, typer.Option(help="Only this route group: its failures are ignored. May be repeated.")
]
UpstreamOption = Annotated[
    str | None, typer.Option(help="Only this upstream: the route groups that it serves alone, one act for each.")
]
TenantOption = Annotated[str | None, typer.Option(help="Only this tenant; default: the platform.")]
NoteOption = Annotated[str | None, typer.Option(help="A remark that is kept and shown in reports.")]
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The exclusion's name in the log and in reports.")]


class Kind(StrEnum):
    force_majeure = "force_majeure"
    customer_caused = "customer_caused"
    third_party = "third_party"
    suspension = "suspension"


class Move(StrEnum):
    claimed = "claimed"
    approved = "approved"
    rejected = "rejected"
    applied = "applied"


@act_app.command(
    epilog="Example: tiergate sla announce db-upgrade --from 2026-12-05T22:00:00Z --to 2026-12-05T23:30:00Z"
)
def announce(
    id: IdArgument,
    from_: FromOption = None,
    to: ToOption = None,
    group: GroupOption = None,
    upstream: UpstreamOption = None,
    tenant: TenantOption = None,
    note: NoteOption = None,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="It takes place no more; the window may be left out.")
    ] = False,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Announce maintenance, or change what was announced; its time is when this is recorded, never earlier.

    Without --from and --to, ID is a window under `maintenance:` in the policy files. An announcement with too little
    notice is recorded, excludes nothing, and says until when it would have been in time.
    """
    from gateway.sla import acting

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        scope = desk.scope(tenant, group, upstream)
        if cancel and from_ is None and to is None:
            asked = acting.cancelled(desk.book.register, id, note)
        else:
            planned = from_ is None and to is None and scope == acting.Scope()
            window, scope, note = desk.planned(id, note) if planned else (acting.window(from_, to), scope, note)
            asked = acting.announced(desk.book.register, desk.groups, id, window, scope, note)
            if cancel:
                asked = [(kind, {**content, "cancelled": True}) for kind, content in asked]
        desk.record(asked)


@act_app.command(epilog="Example: tiergate sla work db-upgrade --from 2026-12-05T22:04:00Z --to 2026-12-05T22:51:00Z")
def work(
    id: IdArgument,
    from_: FromOption = None,
    to: ToOption = None,
    note: NoteOption = None,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Say when announced maintenance was really done: only that part of its window is excluded, an overrun counts."""
    from gateway.sla import acting

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        desk.record(acting.worked(desk.book.register, id, acting.window(from_, to), note))


@act_app.command(
    epilog="Example: tiergate sla exclude flood-2026 --type force_majeure --from 2026-11-03T04:10:00Z "
    "--to 2026-11-03T05:00:00Z --reason 'flood at the data centre' --evidence https://example.com/report/17"
)
def exclude(
    id: IdArgument,
    type: Annotated[Kind, typer.Option(help="What it was; maintenance is announced instead.")],
    reason: Annotated[str, typer.Option(help="Why it is not ours, for the report.")],
    evidence: Annotated[str, typer.Option(help="Where that can be seen: a link or a document's name.")],
    from_: FromOption = None,
    to: ToOption = None,
    group: GroupOption = None,
    upstream: UpstreamOption = None,
    tenant: TenantOption = None,
    note: NoteOption = None,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Ask for time to be left out for another reason; without effect until another person approves it."""
    from gateway.sla import acting

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        scope = desk.scope(tenant, group, upstream)
        content = {"type": type.value, **acting.window(from_, to), "reason": reason, "evidence": evidence}
        desk.record(acting.excluded(desk.groups, id, content, scope, note))


@act_app.command(epilog="Example: tiergate sla approve flood-2026")
def approve(
    id: IdArgument,
    note: NoteOption = None,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Approve what another person asked to exclude. One's own request is refused, and so is a second approval."""
    from gateway.sla import acting

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        desk.record(acting.approved(desk.book.register, id, note))


@act_app.command(epilog="Example: tiergate sla version 2.0.0 --effective-from 2027-03 --text sla-2.0.0.md --dry-run")
def version(
    number: Annotated[str | None, typer.Argument(help="The version that is published, like 2.0.0.")] = None,
    effective_from: Annotated[str | None, typer.Option(help="The month that it begins with, like 2027-03.")] = None,
    text: Annotated[Path | None, typer.Option(help="A file with the wording, which is under its hash too.")] = None,
    id: Annotated[str | None, typer.Option(help="The SLA's name; default: as before, else sla.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it changes and from when; record nothing.")
    ] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the published versions.")] = False,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Publish what the policy files promise as a version of the SLA, in force from a month on.

    It never changes again; what is edited in the files later counts once it is published. What is for the worse for
    anybody needs the notice of the version before it; exit 1 where that is missing, with the earliest month.
    """
    from gateway.sla import publishing

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        if list_:
            typer.echo(publishing.listed(desk.book.register, as_json=output is Shape.json), nl=False)
            return
        if number is None or effective_from is None:
            raise UsageError("a version has a number and --effective-from, such as 2.0.0 --effective-from 2027-03")
        draft = publishing.drafted(desk.book, desk.policy, number, effective_from, text, id)
        found = publishing.examined(desk.book, draft, desk.actor)
        if dry_run:
            typer.echo(publishing.shown(found, as_json=output is Shape.json), nl=False)
            raise typer.Exit(0 if found.refusal is None else EXIT_FINDING)
        if output is Shape.text:
            typer.echo(publishing.changed(found), nl=False)
        desk.record(draft.acts)


@act_app.command(epilog="Example: tiergate sla bind acme premium --from 2027-01")
def bind(
    tenant: Annotated[str, typer.Argument(help="Whose contract it is.")],
    tier: Annotated[str, typer.Argument(help="The tier that it is promised.")],
    from_: Annotated[str, typer.Option("--from", help="A month, or RFC 3339; a change waits for the next month.")],
    to: Annotated[str | None, typer.Option(help="When the contract ends; default: open.")] = None,
    new: Annotated[
        bool, typer.Option("--new", help="It begins then: time before is not judged. To be recorded ahead.")
    ] = False,
    note: NoteOption = None,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Record a tenant's contract: its tier, from when, until when.

    Of the time before its first contract the policy files speak: their tier, and every second is judged, unless --new
    says beforehand that the tenant comes only then. After its end nothing is judged.
    """
    from gateway.sla import acting
    from policies.sla.instants import written

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        zone = desk.book.zone
        content = {"tenant": tenant, "tier": tier, "from": written(acting.beginning(from_, zone, "--from"))}
        if to is not None:
            content["to"] = written(acting.beginning(to, zone, "--to"))
        if new:
            acting.check_new(tenant, desk.book.served)
        more: dict[str, Any] = {**({"begins": True} if new else {}), **({"note": note} if note else {})}
        desk.record([("bind", {**content, **more})])


@act_app.command(epilog="Example: tiergate sla pin acme 1.4.0 --until 2027-07")
def pin(
    tenant: Annotated[str, typer.Argument(help="Who keeps it.")],
    number: Annotated[str, typer.Argument(help="The version that is kept.")],
    until: Annotated[str, typer.Option(help="The renewal: a month, or RFC 3339.")],
    note: NoteOption = None,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Let a tenant keep a version until its renewal, from the next month on."""
    from gateway.sla import acting
    from policies.sla.instants import written

    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        acting.check_tenant(tenant, desk.book.tenants)
        until_ = written(acting.beginning(until, desk.book.zone, "--until"))
        content = {"tenant": tenant, "number": number, "until": until_, **({"note": note} if note else {})}
        desk.record([("pin", content)])


@act_app.command(epilog="Example: tiergate sla claim acme 2026-10 --to approved")
def claim(
    tenant: Annotated[str, typer.Argument(help="Whose credit it is.")],
    month: Annotated[str, typer.Argument(help="The closed month that it is for, like 2026-10.")],
    to: Annotated[Move, typer.Option(help="What becomes of it.")] = Move.claimed,
    reason: Annotated[str | None, typer.Option(help="Why; a rejection needs one.")] = None,
    actor: ActorOption = None,
    policies: PoliciesOption = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """Record that a credit was claimed, and what was decided: by another person than the one who recorded the claim.

    Only a closed month with a credit has one. Whatever nobody claims within its window expires by itself.
    """
    with _failing(), _desk(policies, state_dir, actor, output) as desk:
        content = {"tenant": tenant, "period": month, "to": to.value}
        desk.record([("claim", {**content, **({"reason": reason} if reason else {})})])


@act_app.command(epilog="Example: tiergate sla acts --output json")
def acts(
    tip: Annotated[
        str | None, typer.Option(help="The last hash as you kept it elsewhere: shows whether the end was cut off.")
    ] = None,
    state_dir: StateOption = None,
    output: ShapeOption = Shape.text,
) -> None:
    """List the log of acts and verify its chain; exit 1 with the first link that does not hold."""
    from gateway.sla import act_list, log_book

    with _failing():
        found = act_list.examined(log_book.links(settings_of(state_dir=state_dir)), tip)
        typer.echo(act_list.as_json(found) if output is Shape.json else act_list.as_text(found), nl=False)
        if found.reason is not None:
            fail(found.reason, EXIT_FINDING)


# --- what they share ------------------------------------------------------------------------------------------------


class Desk:
    """Where a command records its acts: the log as it was before, who records, and how it is told."""

    def __init__(self, settings: Any, book: Book, actor: str, shape: Shape) -> None:
        self.settings = settings
        self.book = book
        self.actor = actor
        self._shape = shape

    @property
    def policy(self) -> Any:
        from gateway.sla.log_book import policy_of

        return policy_of(self.settings)

    @property
    def groups(self) -> Any:
        return self.book.promises.groups

    def scope(self, tenant: str | None, groups: list[str] | None, upstream: str | None) -> Any:
        """Whom or what an exclusion is about."""
        from gateway.sla.acting import Scope, check_tenant

        if tenant is not None:
            check_tenant(tenant, self.book.tenants)
        return Scope(tenant=tenant, groups=tuple(groups or ()), upstream=upstream)

    def planned(self, name: str, note: str | None) -> Any:
        """Of the policy files: window, scope, note."""
        from gateway.sla.acting import of_plan

        window, scope, planned_note = of_plan(self.policy.maintenance, name)
        return window, scope, note or planned_note

    def record(self, asked: list[Asked]) -> None:
        """Record all or none, and say what comes of it."""
        from gateway.sla import log_book, outcome
        from gateway.sla.recording import record_all

        made = record_all(self.settings, asked, self.actor)
        found = outcome.of(log_book.read(self.settings), made)
        typer.echo(outcome.as_json(found) if self._shape is Shape.json else outcome.as_text(found), nl=False)


@contextlib.contextmanager
def _desk(policies: Path | None, state_dir: Path | None, actor: str | None, shape: Shape) -> Iterator[Desk]:
    from gateway.sla import log_book, recording

    settings = settings_of(policies=policies, state_dir=state_dir)
    who = recording.default_actor() if actor is None else actor.strip()
    if not who:
        raise UsageError("--actor: an act needs somebody who records it")
    yield Desk(settings, log_book.read(settings), who, shape)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    """Each way in which an act is not recorded, as an exit code."""
    from gateway.sla.acting import NotUsable
    from gateway.sla.log_book import NoPolicies
    from gateway.sla.recording import NotRecorded, Refused

    try:
        yield
    except NotUsable as error:
        raise UsageError(str(error)) from error
    except Refused as error:
        fail(f"not recorded: {error}", EXIT_FINDING)
    except (NotRecorded, NoPolicies) as error:
        fail(str(error), EXIT_ENVIRONMENT)
    except ValueError as error:  # a log that makes no sense
        fail(f"the log cannot be read: {error}", EXIT_FINDING)
