"""All files of a set laid together: which section says what, and where. The same name twice is an error.

Nothing here knows what a section means. Source: spec policy.md, head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from yaml.nodes import MappingNode, Node, ScalarNode

from policies.format.report import MapPlace, Place, Report, YamlPlace
from policies.format.units import closest, short
from policies.format.yaml_tree import Tree, Unreadable

NAMED: Final = ("tiers", "upstreams", "routes", "tenants", "maintenance", "support", "calendars")
MERGED: Final = ("server", "store", "headers", "auth", "sla")
SINGLE: Final = ("version", "tenants_from")
SECTIONS: Final = (*SINGLE[:1], *MERGED[:4], *NAMED[:4], *SINGLE[1:], "sla", *NAMED[4:])


@dataclass(slots=True)
class Entry:
    """One name of a section: its plain value and where it stands."""

    data: Any
    place: Place


@dataclass(slots=True)
class Sections:
    """``entries`` by section and name; ``homes`` is where a section was first opened."""

    entries: dict[str, dict[str, Entry]] = field(
        default_factory=lambda: {name: {} for name in (*NAMED, *MERGED, *SINGLE)}
    )
    homes: dict[str, Place] = field(default_factory=dict)

    def named(self, section: str) -> Mapping[str, Entry]:
        return self.entries[section]

    def whole(self, section: str) -> Entry | None:
        """A merged section as one value, None when no file has it."""
        home = self.homes.get(section)
        if home is None:
            return None
        found = self.entries[section]
        data = {name: entry.data for name, entry in found.items()}
        return Entry(data, MapPlace(section, {name: entry.place for name, entry in found.items()}, home))


def lay_together(trees: Iterable[Tree], report: Report) -> Sections:
    """Every section of every file. Duplicates and unknown sections are complained about."""
    sections = Sections()
    for tree in trees:
        report.findings.extend(tree.findings)
        _add_file(sections, tree, report)
    return sections


def _add_file(sections: Sections, tree: Tree, report: Report) -> None:
    root = tree.root
    if root is None:
        return
    if not isinstance(root, MappingNode):
        if tree.data is not None:
            top = YamlPlace(tree.file, "", root, root)
            report.add("TG104", top, (), "a policy file is a map of sections", "begin with 'tiers:' or another section")
        return
    children = _children(root)
    for name, value in tree.data.items():
        key, node = children[name]
        _add_section(sections, name, Entry(value, YamlPlace(tree.file, name, key, node)), node, tree.file, report)


def _add_section(sections: Sections, name: str, entry: Entry, node: Node, file: str, report: Report) -> None:
    if name not in SECTIONS:
        hint = closest(name, SECTIONS) or f"sections: {', '.join(SECTIONS)}"
        report.add("TG103", entry.place, (), f"{short(name)} is not a section", hint, on_key=True)
    elif name in SINGLE:
        _add_single(sections, name, entry, file, report)
    elif isinstance(entry.data, dict):
        sections.homes.setdefault(name, entry.place)
        _add_names(sections.entries[name], name, entry.data, node, file, report)
    elif entry.data is not None and entry.data is not Unreadable:
        report.add("TG104", entry.place, (), "a map is expected", "write 'name: ...' lines below it")


def _add_names(
    into: dict[str, Entry], section: str, data: dict[str, Any], node: Node, file: str, report: Report
) -> None:
    children = _children(node)
    for name, value in data.items():
        place = YamlPlace(file, f"{section}.{name}", *children[name])
        if name in into:
            _complain_of_duplicate(into[name].place, place, section, name, report)
        else:
            into[name] = Entry(value, place)


def _children(node: Node) -> dict[str, tuple[Node, Node]]:
    """Keys and values by name, the first of a duplicate, as the values were read."""
    return {key.value: (key, value) for key, value in reversed(node.value) if isinstance(key, ScalarNode)}


def _add_single(sections: Sections, name: str, entry: Entry, file: str, report: Report) -> None:
    """Every file may say which version of the format it is written in; anything else is said once."""
    key = file if name == "version" else name
    known = sections.entries[name].setdefault(key, entry)
    if known is not entry:
        _complain_of_duplicate(known.place, entry.place, "", name, report)


def _complain_of_duplicate(first: Place, second: Place, section: str, name: str, report: Report) -> None:
    at = first.spot((), on_key=True)
    what = f"{_SINGULAR.get(section, section)} {short(name)}".strip()
    message = f"{what} is already set at {at.file}:{at.line}:{at.column}"
    report.add("TG102", second, (), message, "remove one of the two, or rename it", on_key=True)


_SINGULAR = {"tiers": "tier", "upstreams": "upstream", "routes": "route", "tenants": "tenant", "calendars": "calendar"}
