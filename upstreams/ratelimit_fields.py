"""The limits in ``RateLimit`` and ``RateLimit-Policy`` as each draft writes them, and in the lists of older fields.

What the numbers mean together is not decided here. Every function takes a field's value with its lines joined by
``, `` and gives None for one that its grammar does not allow: such a value is ignored as a whole (RFC 9651 4.2).
Sources: RFC 9651 4.2; draft-ietf-httpapi-ratelimit-headers-02 to -06 (RateLimit-Limit, RateLimit-Policy), -07
(Dictionary), -08 to -11 (Lists of Strings).

Items, Parameters and Lists are a regular language, so expressions read them. Each stays linear: wherever it may choose,
the next character alone decides (a number's kind: the next sixteen), so that after a failure every way back ends
where it begins; and each takes the whole rest where a member is wrong, so that no character is looked at for two.
"""

from __future__ import annotations

import re

from policies.throttling import MAX_WAIT_S
from upstreams.amounts import count

_BLANKS = " \t"
_KEY = r"[a-z*][a-z0-9_\-.*]*"
_NUMBER = r"-?(?:[0-9]{1,12}\.[0-9]{1,3}|[0-9]{1,15})"
_INSIDE = r'[ !#-\[\]-~]*(?:\\["\\][ !#-\[\]-~]*)*'
_BARE_WORD = r"[A-Za-z*][A-Za-z0-9!#$%&'*+\-.^_`|~:/]*"
_FOUR = "(?:[A-Za-z0-9+/]{4})"
_BYTES = f":(?:(?:{_FOUR}+(?:[A-Za-z0-9+/]{{2,3}})?|[A-Za-z0-9+/]{{2,3}})={{0,2}})?:"  # padding may be missing (4.2.7)
_MORE = "%[89ab][0-9a-f]"
_UTF_8 = (  # RFC 3629 section 4, each octet as two lower-case hexadecimal digits
    f"%(?:[0-7][0-9a-f]|(?:c[2-9a-f]|d[0-9a-f]){_MORE}"
    f"|(?:e0%[ab][0-9a-f]|e[1-9a-cef]{_MORE}|ed%[89][0-9a-f]){_MORE}"
    f"|(?:f0%[9ab][0-9a-f]|f[1-3]{_MORE}|f4%8[0-9a-f]){_MORE}{_MORE})"
)
_DISPLAY_STRING = f'%"(?:[ !#$&-~]|{_UTF_8})*"'
_BARE_ITEM = rf'(?:{_NUMBER}|"{_INSIDE}"|{_BARE_WORD}|{_BYTES}|\?[01]|@-?[0-9]{{1,15}}|{_DISPLAY_STRING})'
_PARAMETERS = f"(?:; *{_KEY}(?:={_BARE_ITEM})?)*"
_ITEM = f"{_BARE_ITEM}{_PARAMETERS}"
_INNER_LIST = rf"\( *(?:{_ITEM}(?: +{_ITEM})* *)?\)"
_NEXT = r"[ \t]*(?:,[ \t]*(?!\Z)|\Z)"  # a comma after the last member voids the field (RFC 9651 4.2.1)
_WRONG = "(?s:.+)"


def _list_of_strings(first: str, second: str) -> re.Pattern[str]:
    """A member's name, ``first``, ``second``, and further Parameters.

    An Integer under one of the two keys stands in a group of its own where it comes early, as it nearly always does;
    all other spellings fall to the further Parameters. That is a choice for each key: four ways to fail.
    """
    early = "".join(f"(?:; *{key}=([0-9]{{1,15}}))?" for key in (first, second))
    return re.compile(f'"({_INSIDE})"{early}({_PARAMETERS}){_NEXT}|{_WRONG}')


_POLICY = _list_of_strings("q", "w")
_CURRENT = _list_of_strings("r", "t")
_ENTRY = re.compile(f"({_KEY})(?:=({_BARE_ITEM}|{_INNER_LIST}))?{_PARAMETERS}{_NEXT}|{_WRONG}")
_PARAMETER = re.compile(f"; *({_KEY})(?:=({_BARE_ITEM}))?")
_UNIT = re.compile('"([a-z][a-z0-9-]{0,31})"')
_ESCAPED = re.compile(r"\\(.)")

# The older drafts' own grammar, with the blanks around `;` that it allows (RFC 9110 5.6.6).
_NAME = r"[A-Za-z0-9!#$%&'*+\-.^_`|~]+"
_QUOTED = r'"[^"\\]*(?:\\.[^"\\]*)*"'
_OLD_PARAMETERS = f"(?:[ \t]*;[ \t]*{_NAME}(?:=(?:{_NAME}|{_QUOTED}))?)*"
_OLD_POLICY = re.compile(rf"(-?[0-9]{{1,15}}(?:\.[0-9]+)?)({_OLD_PARAMETERS}){_NEXT}|{_WRONG}")
_OLD_PARAMETER = re.compile(f";[ \t]*({_NAME})(?:=({_NAME}|{_QUOTED}))?")

_WEEKDAY = "(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*, "
_VALUE = re.compile(rf'((?:{_WEEKDAY})?[^",]*(?:{_QUOTED}[^",]*)*)(?:,[ \t]*|\Z)|({_WRONG})')


def policies(text: str) -> dict[str, tuple[int, int | None]] | None:
    """``RateLimit-Policy``, drafts -08 to -11: quota and window in seconds, or None, of each policy.

    Of two policies with one name the smaller quota counts.
    """
    found: dict[str, tuple[int, int | None]] = {}
    for name, q, w, more in _POLICY.findall(text.strip(_BLANKS)):
        if more:
            parameters = _parameters(more)
            q, w = parameters.get("q", q), parameters.get("w", w)
        quota = int(q) if q.isdigit() else _zero(q)
        window = int(w) if w.isdigit() else None
        if quota is None or (w and not window):
            return None
        if "\\" in name:
            name = _ESCAPED.sub(r"\1", name)
        if name not in found or quota < found[name][0]:
            found[name] = (quota, window)
    return found or None


def quota_units(text: str) -> dict[str, str]:
    """What the quotas of a well-formed ``RateLimit-Policy`` count, where that is not requests, by policy (``qu``)."""
    found: dict[str, str] = {}
    for name, _, _, more in _POLICY.findall(text.strip(_BLANKS)):
        unit = _UNIT.fullmatch(_parameters(more).get("qu", ""))
        if unit is not None and unit[1] != "requests":
            found.setdefault(_ESCAPED.sub(r"\1", name), unit[1])
    return found


def current(text: str) -> list[tuple[str, int, int | None]] | None:
    """``RateLimit``, drafts -08 to -11: the name of each policy, what is left, and for how many seconds, or None.

    The draft after -11 writes ``a`` and ``w`` for ``r`` and ``t``. A time beyond 31 days is not believed (N6).
    """
    found: list[tuple[str, int, int | None]] = []
    for name, r, t, more in _CURRENT.findall(text.strip(_BLANKS)):
        if more:
            parameters = _parameters(more)
            r, t = parameters.get("r", r), parameters.get("t", t)
            if not r:
                r, t = parameters.get("a", ""), parameters.get("w", "")
        left = int(r) if r.isdigit() else _zero(r)
        time = int(t) if t.isdigit() else _zero(t)
        if left is None or (t and time is None):
            return None
        if "\\" in name:
            name = _ESCAPED.sub(r"\1", name)
        found.append((name, left, None if time is None or time > MAX_WAIT_S else time))
    return found or None


def _parameters(written: str) -> dict[str, str]:
    """Bare items as they are written, by key: of two alike the last counts, one without a value is true."""
    return {key: value or "?1" for key, value in _PARAMETER.findall(written)}


def _zero(item: str) -> int | None:
    """0 for the one bare item beside digits that is a non-negative Integer: ``-0``."""
    return 0 if item.startswith("-0") and not item.strip("-0") else None


def dictionary(text: str) -> dict[str, int] | None:
    """``RateLimit``, draft -07: those of ``limit``, ``remaining`` and ``reset`` that it has, at least one.

    A reset beyond 31 days is left out (N6).
    """
    known: dict[str, int] = {}
    for key, item in dict(_ENTRY.findall(text.strip(_BLANKS))).items():
        number = int(item) if item.isdigit() else _zero(item)
        if not key:
            return None
        if key in ("limit", "remaining", "reset"):
            if number is None:
                return None
            known[key] = number
    if known.get("reset", 0) > MAX_WAIT_S:
        del known["reset"]
    return known or None


def windows(text: str) -> list[tuple[int, int]] | None:
    """``RateLimit-Policy``, drafts -02 to -07: pairs of quota and window in seconds, at least one."""
    found = limits(text)
    return found[1] or None if found else None


def limits(text: str) -> tuple[list[int], list[tuple[int, int]]] | None:
    """``RateLimit-Limit``, drafts -02 to -06: the bare numbers, and the pairs of quota and window in seconds.

    Numbers may have a fraction, a bare one also, as a sentinel, a ``-`` (N11).
    """
    bare: list[int] = []
    pairs: list[tuple[int, int]] = []
    for number, more in _OLD_POLICY.findall(text.strip(_BLANKS)):
        quota = count(number)
        window = dict(_OLD_PARAMETER.findall(more)).get("w") if more else None
        if quota is None:
            return None
        if window is None:
            bare.append(quota)
        else:
            window_s = count(window)
            if quota < 0 or window_s is None or window_s <= 0:
                return None
            pairs.append((quota, window_s))
    return (bare, pairs) if bare or pairs else None


def split(text: str) -> list[str]:
    """The values of several lines that were joined with commas; commas in quotes or after a date's weekday join none.

    Empty values are none (RFC 9110 5.6.1.2). After a quotation mark without a partner the rest is one value.
    """
    if '"' not in text and "," not in text:
        value = text.strip(_BLANKS)
        return [value] if value else []
    found = _VALUE.findall(text.strip(_BLANKS))
    return [value for known, rest in found if (value := (known or rest).strip(_BLANKS))]
