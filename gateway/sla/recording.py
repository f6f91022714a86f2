"""An act of an operator on its way into the ledger's log (spec V1, X4, X8, C4).

A running gateway records it; without one it goes directly into the ledger. Either way it is judged against the whole
log inside the transaction that appends it, so that nobody else records meanwhile and a refused act leaves nothing. Its
time is the recorder's clock; a PostgreSQL that several gateways share has one clock for all of them, its own. The actor
is what somebody says who may write to the socket, which is its owner alone: a statement, bound into the chain.
"""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from typing import Any

from gateway import control
from gateway.clock import now_s
from gateway.ledger import acts as table
from gateway.ledger.database import Database, StoreError, default_file, default_url
from gateway.settings import Settings
from gateway.stores.quota_file import StateError
from policies.sla.canonical import canonical
from policies.sla.chain import Act, Link
from policies.sla.entry import entered

Clock = Callable[[], int]
"""Unix seconds."""
Asked = tuple[str, Mapping[str, object]]
"""The kind and the content of an act."""


class Refused(Exception):
    """The log does not take the act; the text says why and what would do."""


class NotRecorded(Exception):
    """Neither a gateway nor the ledger could be reached, or nobody knows whether the act was recorded."""


def record(settings: Settings, kind: str, content: Mapping[str, object], actor: str) -> Link:
    """Record one act. Raises ``Refused`` and ``NotRecorded``."""
    return record_all(settings, [(kind, content)], actor)[-1]


def record_all(settings: Settings, asked: Sequence[Asked], actor: str) -> tuple[Link, ...]:
    """Record several acts, all or none. Raises likewise."""
    try:
        answer = control.converse(settings.control_socket, _message(asked, actor))
    except control.NobodyThere:
        return directly(settings, asked, actor)
    except control.Declined as error:
        raise Refused(str(error)) from error
    except control.Unanswered as error:
        raise NotRecorded(f"{error}; `tiergate sla acts` shows whether it was recorded") from error
    except control.ControlError as error:
        raise NotRecorded(str(error)) from error
    return tuple(_link(each) for each in answer["links"])


def directly(
    settings: Settings, asked: Sequence[Asked], actor: str, *, clock: Clock | None = None, make: bool = False
) -> tuple[Link, ...]:
    """The same without a gateway; ``clock`` None is this machine's. Raises likewise."""
    try:
        with closing(opened(settings, make=make)) as database:
            return append(database, asked, actor, clock)
    except (StoreError, StateError, OSError) as error:
        raise NotRecorded(str(error)) from error


def append(database: Database, asked: Iterable[Asked], actor: str, clock: Clock | None = None) -> tuple[Link, ...]:
    """Into an open ledger. Raises ``Refused`` and ``StoreError``."""
    now = clock or now_s

    def make(log: tuple[Link, ...], server_time_s: int | None) -> tuple[Link, ...]:
        at_s = now() if server_time_s is None else server_time_s
        return entered(
            log, [Act(kind=kind, actor=actor.strip(), at_s=at_s, content=content) for kind, content in asked]
        )

    try:
        return table.extend(database, make)
    except ValueError as error:
        raise Refused(str(error)) from error


def opened(settings: Settings, *, make: bool = False) -> Database:
    """The ledger of ``settings``, its tables in this version. Raises ``StoreError`` and ``StateError``.

    The file in the state directory is made by a gateway, which says ``make``: in a wrong directory there is none, and
    an act in a ledger that nobody looks at would be no act.
    """
    url = settings.ledger_url or default_url(settings.state_dir)
    if not make and not settings.ledger_url and not default_file(settings.state_dir).exists():
        raise StateError(
            f"no gateway runs on {settings.state_dir}, and no ledger is there; is TIERGATE_STATE_DIR the one that the "
            "gateway was started with? A ledger elsewhere is named by TIERGATE_LEDGER_URL"
        )
    database = Database(url)
    database.migrate()
    return database


def default_actor() -> str:
    """The login name of whoever typed the command, also behind sudo."""
    name = os.environ.get("SUDO_USER") or ""
    if not name:
        try:
            name = getpass.getuser()
        except (KeyError, OSError):  # a user id without a name
            name = ""
    return name or f"uid {os.getuid()}"


# --- over the socket ------------------------------------------------------------------------------------------------


def _message(asked: Sequence[Asked], actor: str) -> control.Record:
    return control.Record(acts=[{"kind": kind, "content": _json(content)} for kind, content in asked], actor=actor)


def answer(settings: Settings, message: control.Record) -> control.Answer:
    """What the gateway answers; it blocks, so it runs in a thread. Raises nothing."""
    try:
        made = directly(settings, [_asked(each) for each in message.acts], message.actor, make=True)
    except Refused as error:
        return control.Answer(error=str(error), declined=True)
    except NotRecorded as error:
        return control.Answer(error=str(error))
    return control.Answer(result={"links": [_value(link) for link in made]})


def _asked(value: object) -> Asked:
    if not isinstance(value, dict) or not isinstance(value.get("kind"), str):
        raise Refused("an act is an object with kind and content")
    if not isinstance(value.get("content"), dict):
        raise Refused("the content of an act is an object")
    return value["kind"], value["content"]


def _json(content: Mapping[str, object]) -> Any:
    """Exact values as the text that their hash is over."""
    return json.loads(canonical(content))


def _value(link: Link) -> dict[str, Any]:
    act = link.act
    return {
        "number": link.number, "kind": act.kind, "actor": act.actor, "at_s": act.at_s, "content": _json(act.content),
        "previous": link.previous, "hash": link.hash,
    }  # fmt: skip


def _link(value: Mapping[str, Any]) -> Link:
    act = Act(kind=value["kind"], actor=value["actor"], at_s=value["at_s"], content=value["content"])
    return Link(number=value["number"], act=act, previous=value["previous"], hash=value["hash"])
