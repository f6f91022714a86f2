"""URLs of what the gateway calls: what can be one, and what was probably meant instead.

Only what the text says: no name is resolved here. Source: RFC 3986, RFC 9110 section 4.2.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

from policies.format.units import short
from policies.paths import PathError, canonical

_NUMERIC = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9A-Fa-f]*)\.?")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?\.?")


def url_problem(text: str) -> tuple[str, str] | None:
    """Why ``text`` cannot be an upstream's URL, and what was meant; None when it can."""
    try:
        url = urlsplit(text)
        port = url.port
    except ValueError:
        return "the URL cannot be read: port or brackets", "ports run from 1 to 65535"
    if url.scheme not in ("http", "https"):
        return f"{short(text)} is not an http or https URL", _scheme_hint(text)
    if "@" in url.netloc:
        return "a URL must not hold a user or password", "set headers: {authorization: ...} from a secret file"
    if "?" in text or "#" in text:
        return "a base URL has no query and no fragment", f"did you mean {short(re.split('[?#]', text)[0])}?"
    host = url.hostname or ""
    if not _host_is_sound(host) or port == 0:
        return f"{short(url.netloc)} is not a host", "write http://host:port/base; non-ASCII hosts in their xn-- form"
    if _is_link_local(host):
        hint = "name the host by an address that is not of its own link (RFC 3927)"
        return f"{short(host)} is link-local, where hosts keep their own metadata", hint
    return _base_path_problem(url.path)


def _scheme_hint(text: str) -> str:
    if "://" in text:
        return "write http://... or https://..."
    host, _, port = text.partition("/")[0].rpartition(":")
    plain = (port.isdecimal() and port != "443") or (host or port) == "localhost" or port.replace(".", "").isdecimal()
    return f"did you mean '{'http' if plain else 'https'}://{text}'?"


def _base_path_problem(path: str) -> tuple[str, str] | None:
    """The forwarded target begins with it, so it obeys what is asked of a caller's path (``policies.paths``)."""
    if not path.isascii():
        return f"the path {short(path)} is not ASCII", f"did you mean {short(quote(path))}?"
    if re.search(r"[\x00-\x20\x7f]", path):
        return f"the path {short(path)} holds a space or control character", "write %20 for a space"
    try:
        canonical(path.encode() or b"/")
    except PathError as error:
        hint = "no dot segments, backslashes, '//' and broken %-escapes"
        return f"the path {short(path)} is refused: {error.reason}", hint
    return None


def _is_link_local(host: str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool(address.is_link_local or (mapped and mapped.is_link_local))


def _host_is_sound(host: str) -> bool:
    if ":" in host or _NUMERIC.fullmatch(host):  # resolvers read 0xA9FEA9FE and 2852039166 as addresses
        try:
            ip_address(host)
        except ValueError:
            return False
        return True
    return bool(_HOST.fullmatch(host)) and len(host) <= 253
