"""Which route a call takes: by the canonical, decoded path and the method (spec policy.md, Rules).

A template is literal segments with captures: ``{name}`` takes one segment, ``{name:path}``, last only, takes
the rest (also none). The most specific wins: segment by segment a literal beats a capture beats a rest.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from policies.model import Route

ONE = "\x01"
REST = "\x02"


@dataclass(frozen=True, slots=True)
class Match:
    """``route`` is None when nothing fits; ``allow`` then lists the methods that some route takes there."""

    route: Route | None
    allow: tuple[str, ...] = ()


class _Node:
    __slots__ = ("ends", "literal", "one", "rest")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.one: _Node | None = None
        self.rest: list[Route] = []
        self.ends: list[Route] = []


def segments_of(template: str) -> tuple[str, ...]:
    """A template cut at its slashes, captures replaced by ``ONE`` and ``REST``."""
    return tuple(_segment(part) for part in template.removeprefix("/").split("/"))


def _segment(part: str) -> str:
    if not (part.startswith("{") and part.endswith("}")):
        return part
    return REST if part.endswith(":path}") else ONE


class RouteTable:
    """A tree of segments. Look-up is by length of the path, not by number of routes."""

    __slots__ = ("_root",)

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in segments_of(route.path):
            if segment == REST:
                node.rest.append(route)
                return
            if segment == ONE:
                node.one = node.one or _Node()
                node = node.one
            else:
                node = node.literal.setdefault(segment, _Node())
        node.ends.append(route)

    def match(self, method: str, path: str) -> Match:
        """The route for ``method`` and a canonical ``path`` (starting with a slash)."""
        found, allow = self._find(self._root, path.split("/")[1:], 0, method)
        return Match(found, tuple(sorted(allow)) if found is None else ())

    def _find(self, node: _Node, parts: list[str], at: int, method: str) -> tuple[Route | None, set[str]]:
        allow: set[str] = set()
        candidates: list[Route] = []
        if at == len(parts):
            candidates = node.ends
        else:
            for child in (node.literal.get(parts[at]), node.one if parts[at] else None):
                if child is not None:
                    found, more = self._find(child, parts, at + 1, method)
                    if found is not None:
                        return found, allow
                    allow |= more
        for route in (*candidates, *node.rest):
            if route.methods is None or method in route.methods:
                return route, allow
            allow |= route.methods
        return None, allow
