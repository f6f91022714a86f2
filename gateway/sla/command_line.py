"""What the SLA's commands share: options, what their arguments mean, and the ledger behind them.

Heavy modules are imported inside the functions, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.command_line import Shape, UsageError, fail, settings_of
from gateway.exit_codes import EXIT_ENVIRONMENT, EXIT_FINDING
from gateway.terminal import clean

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.sla.ledger import Ledger
    from policies.sla.agreement import Plan
    from policies.sla.evidence import Fee

PERIOD: Final = re.compile(r"\d{4}-(\d\d|Q[1-4])", re.ASCII)
"""A month or a quarter, on the command line."""

LedgerOption = Annotated[
    str | None, typer.Option("--ledger", metavar="URL", help="Another ledger. [TIERGATE_LEDGER_URL]")
]
PlatformOption = Annotated[bool, typer.Option("--platform", help="All tenants together, instead of one.")]
ActorOption = Annotated[
    str | None,
    typer.Option(help="Who records this; default: your login name, also behind sudo. A statement, kept in the log."),
]
FeeOption = Annotated[
    str | None, typer.Option(metavar="'AMOUNT CUR'", help="The month's fee, like '4800.00 EUR': credits as money.")
]
ShapeOption = Annotated[Shape, typer.Option("--output", help="For people or for programs.")]


def whose_month(arguments: Sequence[str], platform: bool) -> tuple[str | None, str]:
    if platform and len(arguments) == 1:
        return None, arguments[0]
    if not platform and len(arguments) == 2:
        return arguments[0], arguments[1]
    raise UsageError("say TENANT MONTH, like acme 2026-10, or --platform MONTH")


def months_in(name: str, *, quarters: bool = True) -> tuple[str, ...]:
    """The months that it is made of."""
    from policies.sla.period import months_of, period

    try:
        if PERIOD.fullmatch(name) and (quarters or "Q" not in name):
            return tuple(each.name for each in months_of(period(name)))
    except ValueError:
        pass
    raise UsageError(f"{name!r} is no month like 2026-10{' and no quarter like 2026-Q3' if quarters else ''}")


def fee_in(text: str | None) -> Fee | None:
    from gateway.sla.ledger import fee_from

    try:
        return None if text is None else fee_from(text)
    except ValueError as error:
        raise UsageError(f"--fee {text!r} is no amount with its currency, like '4800.00 EUR': {error}") from error


def sla_settings(ledger: str | None, policies: Path | None, state_dir: Path | None) -> Settings:
    settings: Settings = settings_of(ledger_url=ledger, policies=policies, state_dir=state_dir)
    return settings


@contextlib.contextmanager
def opened(ledger: str | None, policies: Path | None, state_dir: Path | None) -> Iterator[Ledger]:
    """The ledger, and every way in which it may not be usable as words and an exit code."""
    from gateway.ledger.database import StoreError
    from gateway.sla import ledger as ledgers
    from gateway.stores.quota_file import StateError

    settings = sla_settings(ledger, policies, state_dir)
    found = None
    try:
        found = ledgers.opened(settings, _plan(settings))
        yield found
    except ledgers.NoSuch as error:
        raise UsageError(str(error)) from error
    except ledgers.Broken as error:
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
    from gateway.sla.log_book import NoPolicies, policy_of
    from policies.sla.agreement import plan_of

    try:
        return plan_of(policy_of(settings))
    except NoPolicies as error:
        fail(str(error), EXIT_ENVIRONMENT)


def with_terms(found: Ledger) -> list[str | None]:
    """All tenants that are promised anything; of the others their names on standard error."""
    named = found.tenants()
    strangers = [name for name in named if not found.has_terms(name)]
    if strangers:
        warn(f"no terms are known of {', '.join(strangers[:10])}; tiergate sla bind TENANT TIER gives them some")
    return [name for name in named if found.has_terms(name)]


def echo(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(clean(line))


def warn(text: str) -> None:
    typer.echo(f"tiergate: {clean(text)}", err=True)
