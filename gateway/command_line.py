"""What the parts of the command line share: options, the settings behind them, and how a command gives up."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from gateway.exit_codes import EXIT_ENVIRONMENT
from gateway.terminal import clean


class Output(StrEnum):
    text = "text"
    json = "json"
    github = "github"


class Shape(StrEnum):
    text = "text"
    json = "json"


PoliciesOption = Annotated[Path | None, typer.Option("--policies", help="Policy directory. [TIERGATE_POLICIES]")]
StateOption = Annotated[Path | None, typer.Option("--state-dir", help="State directory. [TIERGATE_STATE_DIR]")]
OutputOption = Annotated[Output, typer.Option("--output", help="How findings are written.")]


class UsageError(Exception):
    """An argument or setting that cannot be used."""


def settings_of(**flags: Any) -> Any:
    from gateway.settings import SettingsError, from_environment

    try:
        return from_environment(os.environ, **flags)
    except SettingsError as error:
        raise UsageError(str(error)) from error


def asked(what: str, state_dir: Path | None) -> dict[str, Any]:
    from gateway.control import ControlError, request

    settings = settings_of(state_dir=state_dir)
    try:
        return request(settings.control_socket, what)
    except ControlError as error:
        fail(str(error), EXIT_ENVIRONMENT)


def fail(text: str, code: int) -> NoReturn:
    typer.echo(f"tiergate: {clean(text)}", err=True)
    raise typer.Exit(code)
