"""Route path templates: what is well formed, and what could never match a canonical path.

Which route wins is decided by ``policies.routing``. Source: spec policy.md, Rules, Routes.
"""

from __future__ import annotations

import re
from typing import Final

from policies.format.units import closest, short
from policies.paths import MAX_PATH

RESERVED: Final = "_gateway"
_CAPTURE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(:path)?\}")

Problem = tuple[str, str, str]
"""Code, message, hint."""


def path_problem(path: str) -> Problem | None:
    """What is wrong with a template; None when it is well formed."""
    if not path.startswith("/"):
        return "TG124", f"{short(path)} does not begin with '/'", f"did you mean {short('/' + path)}?"
    if len(path.encode("utf-8", "surrogatepass")) > MAX_PATH:
        return "TG204", f"no path is longer than {MAX_PATH} octets", "shorten it"
    segments = path[1:].split("/")
    if segments[0] == RESERVED:
        return "TG213", f"'/{RESERVED}/' belongs to the gateway itself", "choose another prefix"
    names: set[str] = set()
    for at, segment in enumerate(segments):
        problem = _capture_problem(segment, at == len(segments) - 1, names) if set("{}") & set(segment) else None
        problem = problem or _literal_problem(segment, at == len(segments) - 1)
        if problem:
            return problem
    return None


def _capture_problem(segment: str, last: bool, names: set[str]) -> Problem | None:
    found = _CAPTURE.fullmatch(segment)
    if found is None:
        meant = re.search(r"(?<=\{)[A-Za-z_][A-Za-z0-9_]*", segment)
        hint = f"a capture is a whole segment: '{{{meant[0] if meant else 'name'}}}'"
        word = re.fullmatch(r"\{([A-Za-z_][A-Za-z0-9_]*):(\w+)\}", segment)
        if word and last and closest(word[2], ("path",)):
            hint = f"did you mean '{{{word[1]}:path}}'?"
        return "TG124", f"{short(segment)} is not a capture", hint
    if found[2] and not last:
        return "TG124", f"{short(segment)} takes the rest, so nothing may follow it", f"did you mean '{{{found[1]}}}'?"
    if found[1] in names:
        return "TG124", f"'{found[1]}' is captured twice", "give every capture its own name"
    names.add(found[1])
    return None


def _literal_problem(segment: str, last: bool) -> Problem | None:
    if segment == "" and not last:
        return "TG204", "an empty segment ('//') never reaches a route", "remove one slash"
    name, parameter, _ = segment.partition(";")
    if parameter and not name:
        return "TG204", f"a segment {short(segment)} never reaches a route: it is an empty one", "put a name before ';'"
    if name in (".", ".."):
        return (
            "TG204",
            f"a segment {short(segment)} never reaches a route",
            "paths are matched after dot segments are resolved",
        )
    if re.search(r"%[0-9A-Fa-f]{2}", segment):
        return "TG204", f"{short(segment)} never matches: paths are matched decoded", "write the character itself"
    if re.search(r"[?#\\\x00-\x1f\x7f-\x9f]", segment):
        return (
            "TG124",
            f"{short(segment)} holds a character that no path has",
            "a path has no query, fragment or backslash",
        )
    if "*" in segment:
        return "TG124", f"{short(segment)}: '*' matches only itself", "did you mean '{rest:path}'?"
    return None


def strip_problem(strip: str, path: str) -> tuple[str, str] | None:
    """Why ``strip`` cannot be cut from the front of every path that ``path`` matches."""
    literal = "/".join(_until_capture(path))
    wanted = strip.rstrip("/")
    if not strip.startswith("/"):
        return f"{short(strip)} does not begin with '/'", f"did you mean {short('/' + strip)}?"
    if wanted == "" or literal == wanted or literal.startswith(wanted + "/"):
        return None
    return (
        f"{short(strip)} is not the beginning of {short(path)}",
        f"did you mean {short(literal)}?" if literal else "remove it",
    )


def _until_capture(path: str) -> list[str]:
    segments = path.split("/")
    captures = [at for at, segment in enumerate(segments) if segment.startswith("{")]
    return segments[: captures[0]] if captures else segments
