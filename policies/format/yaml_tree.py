"""YAML text as a tree whose every node knows its line and column, under the scalar rules of YAML 1.2.

PyYAML's C parser makes the nodes; the resolver is ours: no ``yes``/``no``, no sexagesimal, no octal ``010``, no
dates. Everything is bounded before it is built: bytes, nodes, depth, what aliases grow to. What the values mean is
not decided here. Source: YAML 1.2.2 section 10.3 (core schema).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import yaml
from yaml.cyaml import CParser  # type: ignore[attr-defined]
from yaml.nodes import Node, ScalarNode, SequenceNode

from policies.format.findings import Finding
from policies.format.units import ValueProblem

LARGEST_FILE: Final = 10_000_000
MOST_NODES: Final = 1_000_000
DEEPEST: Final = 40
ALIAS_GROWTH: Final = 50_000

_INT = re.compile(r"[-+]?[0-9]+")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,16}|0o[0-7]{1,20}")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)
_WORDS: Final = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_ALLOWED_TAGS: Final = {"", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}
_BAD_CHARACTER = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x80-\x84\x86-\x9f\ud800-\udfff\ufffe\uffff]")

Substitute = Callable[[str], str]


@dataclass(slots=True)
class Tree:
    """One parsed file: ``root`` None when it is empty or broken, ``data`` its plain values, ``findings`` what is wrong.

    ``text`` is what carets point into.
    """

    file: str
    text: str = ""
    root: Node | None = None
    data: Any = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def broken(self) -> bool:
        """Whether what the file would have said is unknown; a mistake in one value leaves the rest known."""
        return self.root is None and bool(self.findings)


class _TooMuch(Exception):
    def __init__(self, code: str, message: str, parent: object) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        mark = parent.start_mark if isinstance(parent, Node) else None
        self.line = mark.line + 1 if mark else 1
        self.column = mark.column + 1 if mark else 1


class _Composer(CParser):
    """The C composer calls these three for each node: the place to count depth and nodes before a stack overflows."""

    def __init__(self, text: str) -> None:
        CParser.__init__(self, text)
        self.depth = 0
        self.nodes = 0

    def resolve(self, kind: type, value: object, implicit: object) -> str:
        return ""

    def descend_resolver(self, parent: object, index: object) -> None:
        self.depth += 1
        self.nodes += 1
        if self.depth > DEEPEST:
            raise _TooMuch("TG136", f"nested deeper than {DEEPEST} levels", parent)
        if self.nodes > MOST_NODES:
            raise _TooMuch("TG108", f"more than {MOST_NODES:_} values in one file", parent)

    def ascend_resolver(self) -> None:
        self.depth -= 1


def read_tree(file: str, raw: bytes, substitute: Substitute) -> Tree:
    """Parse ``raw``; never raises for anything a file may hold."""
    tree = Tree(file)
    if len(raw) > LARGEST_FILE:
        _complain(
            tree, "TG108", 1, 1, f"the file is larger than {LARGEST_FILE:_} bytes", "split it, or use tenants_from"
        )
        return tree
    text = _decoded(tree, raw)
    if text is None:
        return tree
    tree.text = text
    tree.root = _composed(tree, text)
    if tree.root is not None:
        tree.data = _Reader(tree, substitute, aliases="&" in text and "*" in text).value(tree.root, 0)
    return tree


def scalar(text: str) -> object:
    """A plain scalar under the core schema; numbers too long to be meant stay ``Decimal``."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "0123456789+-.":
        if _INT.fullmatch(text):
            return int(text) if len(text) <= 19 else Decimal(text)
        if _HEX.fullmatch(text):
            return int(text, 0)
        if _FLOAT.fullmatch(text):
            return (
                Decimal(text.replace(".inf", "Infinity").replace(".nan", "NaN")) if text[-1] in "0123456789." else text
            )
    return text


def _decoded(tree: Tree, raw: bytes) -> str | None:
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8", "replace").lstrip("\ufeff")
        tree.text = raw.decode("utf-8", "replace")
        message = f"byte 0x{raw[error.start]:02x} is not UTF-8"
        _complain(tree, "TG107", *_line_column(before), message, "save the file as UTF-8")
        return None
    bad = _BAD_CHARACTER.search(text)
    if bad is not None:
        tree.text = text
        message = f"control character U+{ord(bad[0]):04X}"
        _complain(tree, "TG107", *_line_column(text[: bad.start()]), message, "remove it, or write it as an escape")
        return None
    return text


def _line_column(before: str) -> tuple[int, int]:
    breaks = [found.end() for found in re.finditer("\r\n|[\n\r\x85\u2028\u2029]", before)]
    return len(breaks) + 1, len(before) - (breaks[-1] if breaks else 0) + 1


def _composed(tree: Tree, text: str) -> Node | None:
    parser = _Composer(text)
    try:
        root: Node | None = parser.get_single_node()
        return root
    except _TooMuch as error:
        _complain(
            tree, error.code, error.line, error.column, error.message, "policies are flat; is a bracket left open?"
        )
    except yaml.MarkedYAMLError as error:
        _complain_of_syntax(tree, text, error)
    except yaml.YAMLError as error:
        _complain(tree, "TG101", 1, 1, f"not YAML: {error}".splitlines()[0], "")
    finally:
        parser.dispose()
    return None


def _complain_of_syntax(tree: Tree, text: str, error: yaml.MarkedYAMLError) -> None:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    problem = (error.problem or "not YAML").replace(
        "found character that cannot start any token", "unexpected character"
    )
    lines = text.split("\n")
    source = lines[line] if line < len(lines) else ""
    indent = source[: len(source) - len(source.lstrip())]
    if "\t" in indent:
        _complain(tree, "TG106", line + 1, indent.index("\t") + 1, "a tab in the indentation", "indent with spaces")
    elif "another document" in problem:
        _complain(
            tree,
            "TG134",
            line + 1,
            column + 1,
            "a second YAML document begins here",
            "one document a file: remove '---'",
        )
    else:
        _complain(tree, "TG101", line + 1, column + 1, _context(error) + problem, _syntax_hint(problem, source, column))


def _context(error: yaml.MarkedYAMLError) -> str:
    if not error.context or error.context_mark is None or "next token" in error.context:
        return ""
    return f"{error.context} that began at {error.context_mark.line + 1}:{error.context_mark.column + 1}: "


def _syntax_hint(problem: str, source: str, column: int) -> str:
    if "mapping values are not allowed" in problem:
        return "quote the value, or put the map on its own line"
    if "undefined alias" in problem:
        return "quote the value if the '*' is meant"
    if source[column : column + 1] in ("@", "`", "%"):
        return "quote the value"
    if "expected ',' or" in problem:
        return "a bracket or comma is missing"
    if "end of stream" in problem:
        return "a quote is not closed"
    return "check the indentation of this line"


def _complain(
    tree: Tree, code: str, line: int, column: int, message: str, hint: str, *, span: int = 1, path: str = ""
) -> None:
    tree.findings.append(
        Finding(file=tree.file, line=line, column=column, code=code, message=message, hint=hint, span=span, path=path)
    )


class _Reader:
    """Nodes to plain values: maps with text keys, lists, text, int, bool, None, ``Decimal`` for what has a point."""

    __slots__ = ("_aliases", "_grown", "_seen", "_substitute", "_tree")

    def __init__(self, tree: Tree, substitute: Substitute, *, aliases: bool) -> None:
        self._tree = tree
        self._substitute = substitute
        self._aliases = aliases
        self._seen: set[int] = set()
        self._grown = 0

    def value(self, node: Node, depth: int) -> Any:
        if self._aliases and not self._bounded(node, depth):
            return None
        if node.tag not in _ALLOWED_TAGS:
            self._complain(node, "TG135", f"tag '{node.tag[:60]}' is not supported", "remove the tag")
        if isinstance(node, ScalarNode):
            return self._scalar(node)
        if isinstance(node, SequenceNode):
            return [self.value(item, depth + 1) for item in node.value]
        return self._map(node, depth)

    def _scalar(self, node: ScalarNode) -> object:
        text: str = node.value
        if "${" in text:
            try:
                return self._substitute(text)
            except ValueProblem as problem:
                self._complain(node, problem.code, problem.message, problem.hint)
                return Unreadable
        return scalar(text) if node.style == "" and node.tag == "" else text

    def _map(self, node: Node, depth: int) -> dict[str, Any]:
        made: dict[str, Any] = {}
        plain = not self._aliases
        for key, value in node.value:
            name = key.value if key.__class__ is ScalarNode else None
            if name is None or "$" in name or name == "<<":
                name = self._key(key)
                if name is None:
                    continue
            if name in made:
                self._duplicate(node, key, name)
            elif plain and value.__class__ is ScalarNode and value.tag == "" and "$" not in value.value:
                made[name] = scalar(value.value) if value.style == "" else value.value
            else:
                made[name] = self.value(value, depth + 1)
        return made

    def _key(self, key: Node) -> str | None:
        if not isinstance(key, ScalarNode):
            self._complain(key, "TG104", "a key must be plain text", "is a '{' or '[' meant as a value? Quote it")
            return None
        name: str = key.value
        if name == "<<" and key.style == "":
            self._complain(key, "TG135", "merge keys are not YAML 1.2", "use 'extends' for tiers")
            return None
        if "${" in name:
            self._complain(
                key, "TG131", "a name cannot come from a variable", "names are identities of state; write it out"
            )
            return None
        return name

    def _duplicate(self, node: Node, key: Node, name: str) -> None:
        first = next(other for other, _ in node.value if isinstance(other, ScalarNode) and other.value == name)
        place = f"{self._tree.file}:{first.start_mark.line + 1}:{first.start_mark.column + 1}"
        self._complain(key, "TG102", f"'{name[:60]}' is already set at {place}", "remove one of the two")

    def _bounded(self, node: Node, depth: int) -> bool:
        if depth > DEEPEST:
            return self._bomb(node)
        if id(node) in self._seen:
            self._grown += 1
        else:
            self._seen.add(id(node))
        return self._grown <= ALIAS_GROWTH or self._bomb(node)

    def _bomb(self, node: Node) -> bool:
        if not any(finding.code == "TG109" for finding in self._tree.findings):
            self._complain(
                node, "TG109", "aliases of this file grow without bound", "write the values out, or use 'extends'"
            )
        self._grown = ALIAS_GROWTH + 1
        return False

    def _complain(self, node: Node, code: str, message: str, hint: str) -> None:
        mark = node.start_mark
        _complain(self._tree, code, mark.line + 1, mark.column + 1, message, hint, span=span_of(node))


class _Unreadable:
    """Stands for a scalar whose substitution failed and was complained about; every reader passes over it."""

    def __repr__(self) -> str:
        return "<unreadable>"


Unreadable: Final = _Unreadable()


def span_of(node: Node) -> int:
    """How many characters of its first line a node takes."""
    if isinstance(node, ScalarNode) and node.start_mark.line == node.end_mark.line:
        return max(1, int(node.end_mark.column - node.start_mark.column))
    return 1
