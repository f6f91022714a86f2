"""What was recorded and what comes of it, for the terminal and for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gateway.sla.effects import effects, excludes, terms_by_promise
from gateway.sla.log_book import Book
from gateway.terminal import clean
from policies.sla.acts import KINDS, Request
from policies.sla.canonical import canonical
from policies.sla.chain import Link
from policies.sla.claims import CLAIM
from policies.sla.instants import written
from policies.sla.terms import SlaTerms


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """An act in its place; ``said`` is what comes of it, ``excludes`` None where it is about no exclusion."""

    link: Link
    said: tuple[str, ...] = ()
    excludes: bool | None = None


def of(book: Book, made: Sequence[Link]) -> tuple[Outcome, ...]:
    """What comes of the acts ``made``, by a log that has them."""
    return tuple(_outcome(book, link) for link in made)


def _outcome(book: Book, link: Link) -> Outcome:
    content, register = link.act.content, book.register
    if link.act.kind in KINDS:
        request = next(each for each in register.requests if each.exclusion.id == content["id"])
        terms = _terms(book, request)
        return Outcome(link=link, said=effects(request, terms, register.requests), excludes=excludes(request, terms))
    if link.act.kind == CLAIM:
        state = register.claims[str(content["tenant"]), str(content["period"])].state
        return Outcome(link=link, said=(f"the claim is {state}",))
    return Outcome(link=link)


def _terms(book: Book, request: Request) -> Mapping[str, SlaTerms]:
    tenant = request.exclusion.tenant
    own = book.promises.tenants.get(tenant or "")
    bound = None if tenant is None else book.register.contract(tenant).tier_from(request.exclusion.window[0])
    return terms_by_promise(book.promises, tenant, bound or (own.tier if own is not None else None))


def as_text(found: Sequence[Outcome]) -> str:
    return "".join(f"{clean(line)}\n" for each in found for line in _lines(each))


def _lines(outcome: Outcome) -> list[str]:
    act = outcome.link.act
    about = " ".join(str(act.content[name]) for name in ("id", "tenant", "version") if act.content.get(name))
    first = f"recorded as act {outcome.link.number} at {written(act.at_s)} by {act.actor}: {act.kind} {about}".rstrip()
    return [first, *(f"  {line}" for line in outcome.said)]


def as_json(found: Sequence[Outcome]) -> str:
    return json.dumps({"schema": 1, "recorded": [_value(each) for each in found]}) + "\n"


def _value(outcome: Outcome) -> dict[str, Any]:
    link = outcome.link
    return {
        "number": link.number, "kind": link.act.kind, "actor": link.act.actor, "at": written(link.act.at_s),
        "content": json.loads(canonical(link.act.content)), "hash": link.hash, "excludes": outcome.excludes,
        "said": list(outcome.said),
    }  # fmt: skip
