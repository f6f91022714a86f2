"""A version of the SLA on its way from the policy files into the log: what it would change, and from when it may.

The same rules judge it here, for the eye, and in the transaction that records it (``policies.sla.publication``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from gateway.clock import now_s
from gateway.sla.acting import NotUsable, beginning
from gateway.sla.log_book import Book
from gateway.sla.recording import Asked
from gateway.terminal import clean
from policies.model import PolicySet
from policies.sla.chain import Act
from policies.sla.entry import entered
from policies.sla.instants import written
from policies.sla.promises import own_from, promises_of, terms_for
from policies.sla.publication import (
    LAYER,
    MOST_TEXT,
    Affected,
    Edition,
    acts_of,
    affected,
    earliest,
    edition_of,
    version_of,
)
from policies.sla.publication import said as change_said
from policies.sla.register import Register

DEFAULT_ID: Final = "sla"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    number: str
    effective_from_s: int
    acts: list[Asked]


@dataclass(frozen=True, slots=True, kw_only=True)
class Examined:
    """``refusal`` None: it may be published now. ``earliest_s`` None: in no month."""

    draft: Draft
    found: tuple[Affected, ...]
    refusal: str | None
    earliest_s: int | None
    is_first: bool


def drafted(
    book: Book, policy: PolicySet, number: str, effective_from: str, text: Path | None, id: str | None
) -> Draft:
    """The acts that publish what ``policy`` promises. Raises ``NotUsable``."""
    promises = promises_of(policy)
    from_s = beginning(effective_from, terms_for(promises, None, None).zone, "--effective-from")
    named = id or (book.register.versions[-1].id if book.register.versions else DEFAULT_ID)
    acts = acts_of(id=named, number=number, effective_from_s=from_s, text=_wording(text), promises=promises)
    return Draft(number=number, effective_from_s=from_s, acts=acts)


def _wording(file: Path | None) -> str:
    if file is None:
        return ""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NotUsable(f"--text: {file}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}") from error
    if len(text) > MOST_TEXT:
        raise NotUsable(f"--text: {file} has more than {MOST_TEXT:,} characters")
    return text


def examined(book: Book, draft: Draft, actor: str) -> Examined:
    """What would come of it if it were recorded now, by this machine's clock."""
    at_s = now_s()
    acts = [Act(kind=kind, actor=actor, at_s=at_s, content=content) for kind, content in draft.acts]
    refusal = _refusal(book, acts)
    last = book.register.editions[-1] if book.register.editions else None
    try:
        new = _edition(acts)
        found = affected(book.register.editions, new, book.register.contracts)
        earliest_s = earliest(book.register.editions, new, book.register.contracts)
    except ValueError:  # then the refusal says why
        found, earliest_s = (), None
    return Examined(draft=draft, found=found, refusal=refusal, earliest_s=earliest_s, is_first=last is None)


def _refusal(book: Book, acts: Sequence[Act]) -> str | None:
    try:
        entered(book.links, acts)
    except ValueError as error:
        return str(error)
    return None


def _edition(acts: Sequence[Act]) -> Edition:
    layers = {str(act.content["tenant"]): own_from(act.content) for act in acts if act.kind == LAYER}
    return edition_of(version_of(acts[-1]), MappingProxyType(layers))


def shown(found: Examined, *, as_json: bool) -> str:
    """The changes and the verdict."""
    return json.dumps(_value(found)) + "\n" if as_json else changed(found) + _verdict(found)


def changed(found: Examined) -> str:
    """The changes alone, those for the worse marked."""
    return "".join(f"{clean(line)}\n" for line in _lines(found))


def _verdict(found: Examined) -> str:
    if found.refusal is not None:
        return f"refused: {clean(found.refusal)}\n"
    earliest_s = found.draft.effective_from_s if found.earliest_s is None else found.earliest_s
    return f"it may be published; the earliest month would be {written(earliest_s)}\n"


def _lines(found: Examined) -> Iterator[str]:
    draft = found.draft
    yield f"version {draft.number}, in force from {written(draft.effective_from_s)}"
    if found.is_first:
        yield "  the first version: nothing was published before"
    for each in found.found:
        for change in each.changes:
            worse = f"  ! {change.adverse}" if change.adverse is not None else ""
            yield f"  {each.whose}: {change_said(change)}{worse}"
    if not found.is_first and not any(each.changes for each in found.found):
        yield "  nothing changes for anybody"


def _value(found: Examined) -> dict[str, Any]:
    return {
        "schema": 1,
        "version": found.draft.number,
        "effective_from": written(found.draft.effective_from_s),
        "refusal": found.refusal,
        "earliest": None if found.earliest_s is None else written(found.earliest_s),
        "changes": [
            {"whose": each.whose, "change": change_said(change), "adverse": change.adverse}
            for each in found.found
            for change in each.changes
        ],
    }


def listed(register: Register, *, as_json: bool) -> str:
    """The archive of versions (V1)."""
    values = [
        {
            "id": each.id, "version": each.number, "effective_from": written(each.effective_from_s),
            "published_at": written(each.published_at_s), "author": each.author, "sha256": each.sha256,
        }
        for each in register.versions
    ]  # fmt: skip
    if as_json:
        return json.dumps({"schema": 1, "versions": values}) + "\n"
    lines = [
        f"{each['id']} {each['version']}  in force from {each['effective_from']}  published {each['published_at']} by "
        f"{each['author']}  {each['sha256']}"
        for each in values
    ]
    return (
        "".join(f"{clean(line)}\n" for line in lines) or "no version is published; the policy files are the promise\n"
    )
