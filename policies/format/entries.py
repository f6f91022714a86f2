"""One entry of a section through its pydantic form; names that are referred to elsewhere.

A name that is defined badly still counts as defined, so that one mistake gives one finding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from policies.format.json_schema import keys_at
from policies.format.report import Loc, Place, Report
from policies.format.sections import Entry
from policies.format.units import closest, short

Form = TypeVar("Form", bound=BaseModel)
Made = TypeVar("Made")
LONGEST_NAME = 256


def read_form(model: type[Form], entry: Entry, report: Report) -> Form | None:
    """``entry`` as ``model``, or None after complaining."""
    try:
        return model.model_validate(entry.data)
    except ValidationError as error:
        report.add_validation(error.errors(include_url=False), entry.place, partial(keys_at, model))
        return None


def read_sound_part(model: type[Form], entry: Entry, report: Report) -> Form:
    """``entry`` as ``model`` without the keys that are wrong, which are complained about; others stay checkable."""
    try:
        return model.model_validate(entry.data)
    except ValidationError as error:
        errors = error.errors(include_url=False)
    report.add_validation(errors, entry.place, partial(keys_at, model))
    wrong = {found["loc"][0] for found in errors if found["loc"]}
    return model.model_validate({key: value for key, value in entry.data.items() if key not in wrong})


@dataclass(slots=True)
class Named(Generic[Made]):
    """``sound`` are the entries that were built; ``defined`` all names, ``used`` those that something refers to."""

    noun: str
    sound: dict[str, Made] = field(default_factory=dict)
    defined: dict[str, Place] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)

    def define(self, name: str, place: Place, report: Report) -> None:
        self.defined[name] = place
        problem = id_problem(name)
        if problem:
            report.add("TG122", place, (), f"{self.noun} name {short(name)} {problem}", "rename it", on_key=True)

    def refer(self, name: str, place: Place, loc: Loc, report: Report, *, on_key: bool = False) -> bool:
        """Whether ``name`` is defined (soundly or not); complains at ``loc`` when it is not.

        What was probably meant counts as used: a misspelt reference is one mistake, not two.
        """
        if name in self.defined:
            self.used.add(name)
            return True
        hint = closest(name, self.defined) or _listed(self.defined, self.noun)
        self.used.update(meant for meant in self.defined if f"'{meant}'?" in hint)
        report.add("TG201", place, loc, f"{self.noun} {short(name)} is not defined", hint, on_key=on_key)
        return False

    def mention(self, data: object, key: str) -> None:
        """An entry that could not be read still uses what it names, so that no warning follows from its error."""
        named = data.get(key) if isinstance(data, dict) else None
        self.used.update(name for name in (named if isinstance(named, list) else [named]) if isinstance(name, str))


def id_problem(name: str) -> str | None:
    """Why ``name`` cannot be an identity of state, logs and reports; None when it can."""
    if name.isprintable() and 0 < len(name) <= LONGEST_NAME and name[0] != " ":
        return None
    if not name.strip():
        return "is empty"
    if len(name) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} characters"
    if any(letter < " " or "\x7f" <= letter <= "\x9f" for letter in name):
        return "holds a control character"
    return None


def _listed(names: Iterable[str], noun: str) -> str:
    some = sorted(names)[:8]
    return f"defined: {', '.join(some)}" if some else f"no {noun} is defined"
