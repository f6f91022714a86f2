"""``${VAR}``, ``${VAR:-default}`` and ``${file:NAME}`` in scalars of policy files.

Where values come from is passed in (``Lookups``); nothing here reads an environment or a file. What a substitution
gave is a ``Substituted``, whose ``repr`` shows nothing, and no finding quotes it. Source: spec policy.md, head.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NoReturn

from policies.format.units import ValueProblem, closest

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:-)(.*))?", re.DOTALL)
LARGEST_VALUE = 1 << 20
"""Characters that one substitution may give; a certificate bundle fits."""


class Substituted(str):
    """Text that came from the environment or a secret file. Its ``repr`` shows nothing of it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'${...}'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookups:
    """Where the composition gets what is not in the YAML files.

    ``variable`` answers None for an undefined name. ``secret`` answers a secret file's text and raises
    ``ValueProblem`` (TG132, TG133). ``lines`` yields the lines of a tenants file and raises ``ValueProblem``
    (TG100); ``shown`` is how findings call that file. ``variables`` are known names, for suggestions only.
    """

    variable: Callable[[str], str | None]
    secret: Callable[[str], str]
    lines: Callable[[str], Iterable[bytes]]
    variables: tuple[str, ...] = ()
    shown: Callable[[str], str] = str


def _no_secret(name: str) -> NoReturn:
    raise ValueProblem("TG132", f"secret file '{name}' is not there", "set TIERGATE_SECRETS_DIR to the secrets folder")


def _no_lines(name: str) -> NoReturn:
    raise ValueProblem("TG100", f"'{name}' cannot be read", "the path is relative to the policy directory")


NOTHING = Lookups(variable=lambda name: None, secret=_no_secret, lines=_no_lines)
"""Look-ups of a set that uses none."""


def substitute(text: str, lookups: Lookups) -> str:
    """``text`` with every reference replaced; unchanged text is returned as it is.

    Raises ``ValueProblem``: TG130 undefined, TG131 malformed, and what ``lookups.secret`` raises.
    """
    if "${" not in text:
        return text
    made = _REFERENCE.sub(lambda found: _value_of(found[1], lookups), text)
    if text.count("${") != len(_REFERENCE.findall(text)):
        raise ValueProblem("TG131", "a '${' is not closed", "write ${NAME}, ${NAME:-default} or ${file:NAME}")
    return Substituted(made)


def _value_of(reference: str, lookups: Lookups) -> str:
    if reference.startswith("file:"):
        return _bounded(_trimmed(lookups.secret(reference.removeprefix("file:"))))
    found = _VARIABLE.fullmatch(reference)
    if found is None:
        raise ValueProblem(
            "TG131", f"'${{{reference[:40]}}}' is no reference", "write ${NAME}, ${NAME:-default} or ${file:NAME}"
        )
    value = lookups.variable(found[1])
    if found[2]:
        return _bounded(value) if value else found[3]
    if value is None:
        raise _undefined(found[1], lookups.variables)
    return _bounded(value)


def _undefined(name: str, known: tuple[str, ...]) -> ValueProblem:
    hint = closest(name, known, cutoff=0.75) or f"set it, or give a default: ${{{name}:-...}}"
    return ValueProblem("TG130", f"variable {name} is not defined", hint)


def _trimmed(text: str) -> str:
    """Without the one line end that editors and ``kubectl`` leave behind."""
    return text.removesuffix("\n").removesuffix("\r")


def _bounded(text: str) -> str:
    if len(text) > LARGEST_VALUE:
        raise ValueProblem("TG131", "a substituted value is longer than 1 MiB", "name a smaller file")
    return text
