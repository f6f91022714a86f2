"""PEM texts of certificates and keys: whether the right blocks are there (RFC 7468), not whether they are trusted."""

from __future__ import annotations

import base64
import binascii
import re

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----(.*?)-----END \1-----", re.DOTALL)


def pem_problem(text: str, *, key: bool) -> tuple[str, str] | None:
    """Why ``text`` is no PEM certificate, with its private key if ``key`` (RFC 7468 sections 2 and 5)."""
    blocks = _PEM.findall(text)
    hint = "refer to the file: ${file:NAME}; the text begins with -----BEGIN CERTIFICATE-----"
    if text.count("-----BEGIN ") != len(blocks):
        return "a PEM block has no end of the same label", "is the file cut off?"
    if not any(label == "CERTIFICATE" for label, _ in blocks):
        return "this holds no PEM certificate", hint
    if key and not any(label.endswith("PRIVATE KEY") for label, _ in blocks):
        return "this holds a certificate without its private key", "put the PRIVATE KEY block behind the certificate"
    for label, body in blocks:
        if not _is_base64(body, encrypted="Proc-Type:" in body):
            return f"the {label} block is not Base64 text", "copy the file again, with nothing changed"
    return None


def _is_base64(body: str, *, encrypted: bool) -> bool:
    octets = "".join((body.partition("\n\n")[2] if encrypted else body).split())
    try:
        return bool(base64.b64decode(octets, validate=True))
    except (binascii.Error, ValueError):
        return False
