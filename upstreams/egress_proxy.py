"""The way through an egress proxy: a tunnel for ``https`` upstreams, and whose fault it is when there is none.

Whatever fails up to and including the proxy's answer to CONNECT is the gateway's own side of the way: it is named
``egress-proxy``, which the SLA counts as the gateway's and not as the upstream's (O5b). Tokens are those of
RFC 9209 2.3. The proxy is named by the policy alone; no environment variable is read.
"""

from __future__ import annotations

import h11
import httpcore2

from policies.model import Proxy, Upstream
from upstreams.egress import unconnected
from upstreams.httpx_failures import Unreachable
from upstreams.transport import TransportError

LARGEST_ANSWER = 65_536
_WORDS = {401: "proxy_configuration_error", 403: "proxy_configuration_error", 407: "proxy_configuration_error"}
"""The proxy is there and does not want us: a credential or a rule of the operator's (RFC 9209 2.3.30). Any other
answer says that it has not got through either."""


def failed(error: TransportError) -> TransportError:
    """``error`` on the way to or through the proxy, as the gateway's own. A loop is that already."""
    if error.code == "upstream-loop" or error.code.startswith("egress-proxy"):
        return error
    code = "egress-proxy-timeout" if error.code == "upstream-timeout" else "egress-proxy"
    text = f"egress proxy: {error.text}"
    return TransportError(code, proxy_error=error.proxy_error, phase="upstream_connect", sent=False, text=text)


def unpassed(word: str, text: str) -> Unreachable:
    """No way through the proxy; nothing of a request has reached the upstream."""
    return Unreachable(failed(unconnected("egress-proxy", word, f"egress proxy: {text}")))


async def tunnel(stream: httpcore2.AsyncNetworkStream, upstream: httpcore2.Origin, proxy: Proxy) -> None:
    """Have the proxy connect ``stream`` to ``upstream`` (RFC 9110 9.3.6). Raises ``Unreachable``."""
    target = (b"[%b]:%d" if b":" in upstream.host else b"%b:%d") % (upstream.host, upstream.port)
    state = h11.Connection(h11.CLIENT, max_incomplete_event_size=LARGEST_ANSWER)
    asked = h11.Request(method="CONNECT", target=target, headers=[(b"host", target), *credential(proxy)])
    try:
        await stream.write(state.send(asked) or b"")
        status = await _status(stream, state)
    except httpcore2.NetworkError as error:
        raise unpassed("connection_terminated", str(error)) from error
    except h11.RemoteProtocolError as error:
        raise unpassed("http_protocol_error", str(error)) from error
    if not 200 <= status <= 299:
        raise unpassed(_WORDS.get(status, "destination_unavailable"), f"it answered CONNECT with {status}")
    if state.trailing_data[0]:
        # Nobody speaks first under TLS: these octets are not the upstream's.
        raise unpassed("http_protocol_error", "it sent something behind its answer to CONNECT")


async def _status(stream: httpcore2.AsyncNetworkStream, state: h11.Connection) -> int:
    received = 0
    while True:
        event = state.next_event()
        if isinstance(event, h11.Response):
            return event.status_code
        if event is h11.NEED_DATA:
            data = await stream.read(LARGEST_ANSWER)
            if not data:
                raise httpcore2.ReadError("it closed the connection")
            received += len(data)
            if received > LARGEST_ANSWER:
                raise h11.RemoteProtocolError("an answer to CONNECT without end")
            state.receive_data(data)


def credential(proxy: Proxy) -> list[tuple[bytes, bytes]]:
    """What the proxy is shown, and nobody else (RFC 9110 11.7.2)."""
    return [] if proxy.authorization is None else [(b"proxy-authorization", proxy.authorization)]


def absolute(request: httpcore2.Request, upstream: Upstream, proxy: Proxy) -> httpcore2.Request:
    """``request`` for a proxy: the absolute form of its target (RFC 9112 3.2.2) and the proxy's credential."""
    url = request.url
    target = b"http://" + upstream.authority.encode("ascii") + url.target
    return httpcore2.Request(
        request.method,
        httpcore2.URL(scheme=url.scheme, host=url.host, port=url.port, target=target),
        headers=[*request.headers, *credential(proxy)],
        content=request.stream,
        extensions=request.extensions,
    )
