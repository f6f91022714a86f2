"""Trust for ``https`` upstreams: a policy's PEM texts as a context of the ssl module."""

from __future__ import annotations

import ssl
import tempfile

from policies.model import Tls
from upstreams.egress import unconnected


def usable(tls: Tls) -> ssl.SSLContext:
    """``tls_context``, or a ``TransportError``: certificate and key that do not fit are known only now."""
    try:
        return tls_context(tls)
    except (ssl.SSLError, ValueError, TypeError) as error:
        text = f"{type(error).__name__}: {error}"
        raise unconnected("upstream-tls", "proxy_configuration_error", text) from error


def tls_context(tls: Tls) -> ssl.SSLContext:
    """Trust as the policy says; nothing comes from the environment but the system's own roots."""
    context = ssl.create_default_context(cadata=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert is not None:
        # The ssl module reads certificates from files only; this one is private and gone at once.
        with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
            file.write(tls.cert)
            file.flush()
            context.load_cert_chain(file.name)
    return context
