"""The log of acts as a list, with whether its chain holds, for the terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.terminal import clean
from policies.sla.canonical import canonical
from policies.sla.chain import ORIGIN, Link, verify
from policies.sla.instants import written
from policies.sla.register import register

LONGEST: Final = 100
FIRST: Final = ("id", "tenant")
"""What an act is about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """``reason`` says where the log does not hold, or makes no sense; None when all is well."""

    links: tuple[Link, ...]
    broken: int | None = None
    reason: str | None = None

    @property
    def tip(self) -> str:
        return self.links[-1].hash if self.links else ORIGIN


def examined(links: Sequence[Link], tip: str | None) -> Examined:
    """The chain first: of a log that was altered nothing else can be said."""
    broken = verify(links, tip)
    if broken is not None:
        said = f"the log does not hold from act {broken.number} on: {broken.reason}"
        return Examined(links=tuple(links), broken=broken.number, reason=said)
    try:
        register(links)
    except ValueError as error:
        return Examined(links=tuple(links), reason=f"the log holds and makes no sense: {error}")
    return Examined(links=tuple(links))


def as_text(found: Examined) -> str:
    lines = [_line(link) for link in found.links]
    if found.reason is None:
        acts = "1 act" if len(lines) == 1 else f"{len(lines)} acts"
        lines.append(f"{acts}, the chain holds; tip {found.tip}")
    return "".join(f"{line}\n" for line in lines)


def _line(link: Link) -> str:
    act = link.act
    return f"{link.number:>5}  {written(act.at_s)}  {act.kind:<8}  {clean(act.actor)}  {_short(act.content)}"


def _short(content: Mapping[str, Any]) -> str:
    """What it is about; long parts are in the JSON."""
    names = sorted(content, key=lambda name: (name not in FIRST, name))
    parts = [f"{name}={_word(content[name])}" for name in names if not isinstance(content[name], Mapping)]
    text = " ".join(parts)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _word(value: object) -> str:
    return clean(value) if isinstance(value, str) else canonical(value).decode()


def as_json(found: Examined) -> str:
    value = {
        "schema": 1, "tip": found.tip, "holds": found.reason is None, "broken": found.broken, "reason": found.reason,
        "acts": [_value(link) for link in found.links],
    }  # fmt: skip
    return json.dumps(value) + "\n"


def _value(link: Link) -> dict[str, Any]:
    act = link.act
    return {
        "number": link.number, "at": written(act.at_s), "kind": act.kind, "actor": act.actor,
        "content": act.content, "previous": link.previous, "hash": link.hash,
    }  # fmt: skip
