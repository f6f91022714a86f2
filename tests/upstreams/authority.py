"""Certificates for the TLS tests: an authority of this process, servers it vouches for, and strangers."""

from __future__ import annotations

import datetime
import ssl
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

Certified = tuple[x509.Certificate, ec.EllipticCurvePrivateKey]


def certificate(host: str, issuer: Certified | None = None) -> Certified:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    signer, signing_key = issuer or (None, key)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(signer.subject if signer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=signer is None, path_length=None), critical=True)
    )
    return builder.sign(signing_key, hashes.SHA256()), key


def pem(made: Certified, *, key: bool) -> str:
    text = made[0].public_bytes(serialization.Encoding.PEM)
    if key:
        text += made[1].private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    return text.decode()


AUTHORITY = certificate("ca.test")
CA = pem(AUTHORITY, key=False)


def tls_server(folder: Path, *, host: str = "localhost", client_ca: str | None = None) -> ssl.SSLContext:
    file = folder / "server.pem"
    file.write_text(pem(certificate(host, AUTHORITY), key=True))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=client_ca)
    context.load_cert_chain(file)
    context.verify_mode = ssl.CERT_REQUIRED if client_ca else ssl.CERT_NONE
    return context
