"""The words in which a WebSocket travels through the layers: as an HTTP call that is answered 101 and goes on.

``middleware.websocket`` translates the server's messages at the edge, ``upstreams.websocket`` speaks to the
upstream, and every layer between sees an ``http`` scope with ``SOCKET_KEY`` in it: one head, then parts both ways.

- A part with ``text`` (True or False) is one whole message: ``{"body": octets, "more_body": True, "text": bool}``.
- A part without ``text`` and with ``more_body`` is a sign of life; it is not sent.
- The last part closes: ``{"body": b"", "more_body": False, "code": int, "reason": str}``.
- ``http.disconnect`` carries the caller's ``code`` and ``reason``.

Source: RFC 6455 5.6, 7.4; the ASGI WebSocket and denial response specifications.
"""

from __future__ import annotations

from typing import Final

SOCKET_KEY: Final = "tiergate.websocket"
"""In the scope of a call that asks for a WebSocket."""
LARGEST_MESSAGE: Final = 16 * 1024 * 1024
"""Octets of one message, either way; a larger one ends the socket with 1009."""

NORMAL: Final = 1000
GOING_AWAY: Final = 1001
NO_STATUS: Final = 1005
ABNORMAL: Final = 1006
NOT_UTF8: Final = 1007
TOO_BIG: Final = 1009
INTERNAL: Final = 1011
RESTART: Final = 1012
BAD_GATEWAY: Final = 1014
"""Of the IANA registry that RFC 6455 11.7 began: the upstream failed, what 502 and 504 are to HTTP."""
UNSENDABLE: Final = frozenset((1004, NO_STATUS, ABNORMAL, 1015))
"""Codes that only report and may not be in a frame (RFC 6455 7.4.1)."""


def sendable(code: int | None, otherwise: int) -> int:
    """``code`` as it may be put in a close frame (RFC 6455 7.4.2), else ``otherwise``."""
    if code is None or code in UNSENDABLE or not (NORMAL <= code <= BAD_GATEWAY or 3000 <= code <= 4999):
        return otherwise
    return code
