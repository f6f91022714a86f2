"""Keys, tokens and subjects: what is good, what is not, and what merely cannot be found out."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwt as tokens
from joserfc.jwk import ECKey, Key, OctKey, RSAKey

from gateway.credentials import Credentials
from gateway.jwks import MAX_SET, fetched, imported
from policies.credential import Credential
from policies.errors import GatewayError
from policies.model import Auth, Jwt, PolicySet, Tenant
from policies.model import Key as ApiKey
from policies.snapshot import Snapshot
from tests.middleware.harness import VirtualClock

pytestmark = pytest.mark.anyio

ISSUER, AUDIENCE = "https://id.example.com/", "api"
EC1 = ECKey.generate_key("P-256", {"kid": "one"}, private=True)
EC2 = ECKey.generate_key("P-256", {"kid": "two"}, private=True)
RSA = RSAKey.generate_key(2048, {"kid": "rsa"}, private=True)
NOW_S = 1_790_000_000


def public(*keys: Key) -> str:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]})


def snapshot(jwks: str = "", *, version: str = "v1", algorithms: tuple[str, ...] = ("ES256",), **auth: Any) -> Snapshot:
    jwt = Jwt(issuer=ISSUER, audience=AUDIENCE, algorithms=algorithms, jwks=jwks) if jwks else None
    dated = ApiKey(id="k1", digest=digest(b"dated"), not_before_us=us(NOW_S), expires_us=us(NOW_S + 60))
    plain = ApiKey(id="k2", digest=digest(b"plain"))
    acme = Tenant(id="acme", tier="t", keys=(dated, plain), subjects=("CN=acme-prod,O=Acme",))
    return Snapshot(
        PolicySet(
            version=version,
            auth=Auth(jwt=jwt, **auth),
            tenants={"acme": acme},
            keys={dated.digest: (acme, dated), plain.digest: (acme, plain)},
            subjects={"CN=acme-prod,O=Acme": acme},
        )
    )


def digest(secret: bytes) -> bytes:
    return hashlib.sha256(secret).digest()


def us(seconds: int) -> int:
    return seconds * 1_000_000


def clock(at_s: int = NOW_S) -> VirtualClock:
    return VirtualClock(wall_us=us(at_s))


def token(key: Key = EC1, *, header: dict[str, Any] | None = None, alg: str = "ES256", **claims: Any) -> bytes:
    """A good token of ``acme``, with claims replaced, or removed by None."""
    body = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW_S + 300, "tenant": "acme", "sub": "app"} | claims
    head = {"alg": alg, "kid": key.kid} | (header or {})
    head = {name: value for name, value in head.items() if value is not None}
    return tokens.encode(head, {k: v for k, v in body.items() if v is not None}, key, algorithms=[alg]).encode()


async def owner(credentials: Credentials, under: Snapshot, secret: bytes, kind: Any = "bearer") -> tuple[str, str]:
    found = await credentials.authenticate(under, Credential(kind, secret))
    return found.tenant.id, found.credential_id


async def refusal(credentials: Credentials, under: Snapshot, secret: bytes, kind: Any = "bearer") -> str:
    with pytest.raises(GatewayError) as caught:
        await credentials.authenticate(under, Credential(kind, secret))
    return caught.value.code


# --- API keys ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["key", "bearer"])
async def test_key_is_found_by_its_digest(kind: str) -> None:
    assert await owner(Credentials(clock=clock()), snapshot(), b"plain", kind) == ("acme", "k2")


@pytest.mark.parametrize(
    "secret", [b"plain ", b"Plain", b"", b"\xff\x00", digest(b"plain"), digest(b"plain").hex().encode()]
)
async def test_anything_else_is_unauthenticated(secret: bytes) -> None:
    assert await refusal(Credentials(clock=clock()), snapshot(), secret, "key") == "unauthenticated"


@pytest.mark.parametrize(("at_s", "good"), [(-1, False), (0, True), (59, True), (60, False)])
async def test_key_is_good_from_its_first_to_before_its_last_moment(at_s: int, good: bool) -> None:
    credentials = Credentials(clock=clock(NOW_S + at_s))
    if good:
        assert await owner(credentials, snapshot(), b"dated", "key") == ("acme", "k1")
    else:
        assert await refusal(credentials, snapshot(), b"dated", "key") == "unauthenticated"


async def test_last_use_is_reported_and_a_refused_key_was_not_used() -> None:
    time = clock(NOW_S + 60)
    credentials = Credentials(clock=time)
    await refusal(credentials, snapshot(), b"dated", "key")
    await owner(credentials, snapshot(), b"plain", "key")
    time.advance(5_000_000)
    await owner(credentials, snapshot(), b"plain", "key")
    assert credentials.last_used() == {"acme/k2": NOW_S + 65}
    assert credentials.last_used(NOW_S + 65) == {"acme/k2": NOW_S + 65}
    assert credentials.last_used(NOW_S + 66) == {}


async def test_key_does_not_travel_as_bearer_where_the_policy_does_not_say_so() -> None:
    under = snapshot(public(EC1), key_headers=(b"x-api-key",))
    assert await refusal(Credentials(clock=clock()), under, b"plain") == "unauthenticated"


# --- subjects ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", [b"CN=acme-prod,O=Acme", b" CN = acme-prod ,  O=Acme "])
async def test_subject_is_found_whatever_its_spacing(subject: bytes) -> None:
    found = await owner(Credentials(clock=clock()), snapshot(), subject, "subject")
    assert found == ("acme", "mtls:CN=acme-prod,O=Acme")


@pytest.mark.parametrize(
    "subject", [b"CN=acme-prod", b"O=Acme,CN=acme-prod", b"CN=acme-prod,O=Acme,OU=x", b"CN=acme- prod,O=Acme"]
)
async def test_other_subject_is_unauthenticated(subject: bytes) -> None:
    assert await refusal(Credentials(clock=clock()), snapshot(), subject, "subject") == "unauthenticated"


# --- tokens ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {},
        {"aud": ["other", AUDIENCE]},
        {"exp": NOW_S - 29},  # within the leeway
        {"nbf": NOW_S + 30},
        {"exp": NOW_S + 0.5},
    ],
)
async def test_good_token_names_its_tenant(claims: dict[str, Any]) -> None:
    under = snapshot(public(EC1, RSA))
    assert await owner(Credentials(clock=clock()), under, token(**claims)) == ("acme", "jwt:app")


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://evil.example/"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"aud": AUDIENCE + "2"},
        {"aud": {AUDIENCE: 1}},
        {"exp": None},
        {"exp": NOW_S - 30},
        {"exp": str(NOW_S + 300)},
        {"exp": True},
        {"exp": float("inf")},
        {"exp": 10**400},
        {"nbf": NOW_S + 31},
        {"nbf": "soon"},
        {"tenant": None},
        {"tenant": "nobody"},
        {"tenant": ["acme"]},
        {"tenant": ""},
    ],
)
async def test_token_with_claims_that_do_not_fit_is_401(claims: dict[str, Any]) -> None:
    assert await refusal(Credentials(clock=clock()), snapshot(public(EC1)), token(**claims)) == "unauthenticated"


def b64(value: object) -> bytes:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=")


def forged(key: Key, alg: str, kid: str) -> bytes:
    return token(key, alg=alg, header={"kid": kid})


def tampered() -> bytes:
    head, _, signature = token().split(b".")
    body = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW_S + 300, "tenant": "acme", "sub": "admin"}
    return b".".join((head, b64(body), signature))


RSA_PEM = RSA.as_pem(private=False)
EC_PEM = (
    ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
)


@pytest.mark.parametrize(
    "bad",
    [
        b".".join((b64({"alg": "none", "kid": "one"}), token().split(b".")[1], b"")),
        b".".join((b64({"alg": "None", "kid": "one"}), token().split(b".")[1], b"")),
        b".".join((*token().split(b".")[:2], b"")),
        tampered(),
        token()[:-6] + b"AAAAAA",
        forged(EC2, "ES256", "one"),  # somebody else's key under a known id
        token(EC2, header={"kid": "one", "jwk": EC2.as_dict(private=False)}),  # a key that the token brings along
        token(header={"jku": "https://evil.example/keys", "kid": None}),
        token(header={"kid": "nobody"}),
        token(header={"kid": None}),  # which of two keys?
        token(RSA, alg="RS256"),  # a known key, an algorithm that is not listed
        b".".join((b64({"alg": "ES256", "kid": "one", "crit": ["x"], "x": 1}), *token().split(b".")[1:])),
        b".".join((b64({"alg": ["ES256"], "kid": "one"}), *token().split(b".")[1:])),
        b".".join((b64({"alg": "ES256", "kid": {}}), *token().split(b".")[1:])),
        b".".join((b64([]), *token().split(b".")[1:])),
        b".".join((b64({"alg": "ES256", "kid": "one"}), b64(b"[" * 100_000), b"AAAA")),
        b"a.b.c",
        b"....",
        b"eyJhbGciOiJFUzI1NiJ9..",
    ],
)
async def test_token_that_is_not_signed_by_a_key_of_the_issuer_is_401(bad: bytes) -> None:
    assert await refusal(Credentials(clock=clock()), snapshot(public(EC1, RSA)), bad) == "unauthenticated"


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")  # the attack itself makes a weak key
async def test_public_key_as_a_shared_secret_is_401() -> None:
    under = snapshot(public(EC1, RSA), algorithms=("ES256", "RS256", "HS256"))
    for pem in (RSA_PEM, EC_PEM):
        bad = forged(OctKey.import_key(hashlib.sha256(pem).digest()), "HS256", "rsa")
        assert await refusal(Credentials(clock=clock()), under, bad) == "unauthenticated"
    head, body = b64({"alg": "HS256", "kid": "rsa"}), token().split(b".")[1]
    signature = b64(hmac.new(RSA_PEM, head + b"." + body, "sha256").digest())
    assert await refusal(Credentials(clock=clock()), under, b".".join((head, body, signature))) == "unauthenticated"


SECRET = OctKey.import_key({"kty": "oct", "kid": "s", "k": b64(b"x" * 32).decode()})


def by_hand(header: dict[str, Any]) -> bytes:
    """A token whose HMAC is right, whatever its header says."""
    signed = b64(header) + b"." + token().split(b".")[1]
    return signed + b"." + b64(hmac.new(b"x" * 32, signed, "sha256").digest())


async def test_header_field_that_must_be_understood_and_is_not_is_401() -> None:
    under = snapshot(json.dumps({"keys": [SECRET.as_dict()]}), algorithms=("HS256", "none"))
    good = {"alg": "HS256", "kid": "s"}
    assert await owner(Credentials(clock=clock()), under, by_hand(good | {"x": 1})) == ("acme", "jwt:app")
    for more in (
        {"crit": ["x"], "x": 1},
        {"crit": ["exp"], "exp": 1},
        {"crit": []},
        {"crit": ["alg"]},
        {"crit": "exp"},
        {"crit": ["b64"], "b64": False},
        {"crit": ["b64"], "b64": True},
        {"b64": False},
        {"alg": "none"},
        {"alg": "HS512"},
    ):
        assert await refusal(Credentials(clock=clock()), under, by_hand(good | more)) == "unauthenticated"
    unsigned = b".".join((b64({"alg": "none", "kid": "s"}), token().split(b".")[1], b""))
    assert await refusal(Credentials(clock=clock()), under, unsigned) == "unauthenticated"


def signed(header: bytes | dict[str, Any], claims: bytes | dict[str, Any], key: bytes = b"x" * 32) -> bytes:
    text = b64(header) + b"." + b64(claims)
    return text + b"." + b64(hmac.new(key, text, "sha256").digest())


HS: dict[str, Any] = {"alg": "HS256", "kid": "s"}
CLAIMS: dict[str, Any] = {"iss": ISSUER, "aud": AUDIENCE, "exp": NOW_S + 300, "tenant": "acme", "sub": "app"}


def literal(claim: str, text: str) -> bytes:
    """The claims with ``text`` as it stands for the value of ``claim``."""
    return json.dumps(CLAIMS | {claim: "@"}).replace('"@"', text).encode()


@pytest.mark.parametrize(
    "bad",
    [
        signed(HS, literal("exp", "-5")),
        signed(HS, literal("exp", "1e400")),
        signed(HS, literal("exp", "NaN")),
        signed(HS, literal("nbf", "NaN")),
        signed(HS, literal("nbf", "-Infinity")),
        signed(HS, literal("exp", "9" * 5_000)),  # more digits than int() reads
        signed(HS, literal("aud", "[]")),
        signed(HS, literal("aud", f'[["{AUDIENCE}"]]')),
        signed(HS, literal("iss", f'["{ISSUER}"]')),
        signed(HS, literal("tenant", '"acme", "tenant": "nobody"')),  # twice: the last one counts
        signed(HS, literal("tenant", '"\\ud800"')),
        signed(HS, json.dumps(CLAIMS).encode("utf-16")),
        signed(HS, b"\xef\xbb\xbf" + json.dumps(CLAIMS).encode()),
        signed(HS, b"\xff\xfe\xff"),
        signed(json.dumps(HS).encode("utf-16"), CLAIMS),
        signed(b'{"alg":"HS256","alg":"none","kid":"s"}', CLAIMS),
        signed(HS | {"cty": "JWT"}, signed(HS, CLAIMS)),  # a token in a token
        signed(HS, CLAIMS) + b".a.b",  # the five parts of an encrypted one
        signed(HS, CLAIMS) + b"=",
        signed(HS, CLAIMS, b""),
        signed(HS | {"kid": "../../../dev/null"}, CLAIMS, b""),
        signed(HS | {"kid": "\ud800"}, CLAIMS),
        signed(HS | {"jwk": {"kty": "oct", "k": b64(b"y" * 32).decode()}}, CLAIMS, b"y" * 32),
        signed(HS | {"x": "y" * 6_000}, CLAIMS),
        signed(b'{"alg":"HS256","kid":"s","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", CLAIMS),
        *(signed(HS | {"alg": alg}, CLAIMS) for alg in (None, 1, True, {}, "hs256", "HS256 ", "nOnE")),
    ],
)
async def test_token_of_the_right_secret_and_a_hostile_shape_is_401(bad: bytes) -> None:
    under = snapshot(json.dumps({"keys": [SECRET.as_dict()]}), algorithms=("HS256",))
    assert await owner(Credentials(clock=clock()), under, signed(HS, CLAIMS)) == ("acme", "jwt:app")
    assert await refusal(Credentials(clock=clock()), under, bad) == "unauthenticated"


@pytest.mark.parametrize("field", ["jku", "x5u", "x5t", "typ"])
async def test_addresses_of_keys_in_a_token_are_not_looked_at(field: str) -> None:
    async def fetch(url: str) -> bytes:
        raise AssertionError(url)

    under = snapshot(json.dumps({"keys": [SECRET.as_dict()]}), algorithms=("HS256",))
    credentials = Credentials(clock=clock(), fetch=fetch)
    good = signed(HS | {field: "https://evil.example/keys"}, CLAIMS)
    assert await owner(credentials, under, good) == ("acme", "jwt:app")


@pytest.mark.parametrize(
    ("alg", "kid", "signature"),
    [
        ("ES256", "one", b"\0" * 64),  # r and s zero
        ("ES256", "one", b"\0" * 3),
        ("RS256", "one", b"\0" * 64),
        ("ES256", "rsa", b"\0" * 64),
    ],
)
async def test_signature_that_fits_no_key_is_401(alg: str, kid: str, signature: bytes) -> None:
    under = snapshot(public(EC1, RSA), algorithms=("ES256", "RS256"))
    bad = b".".join((b64({"alg": alg, "kid": kid}), b64(CLAIMS), b64(signature)))
    assert await refusal(Credentials(clock=clock()), under, bad) == "unauthenticated"


async def test_subject_is_bounded_and_can_be_written_to_a_log() -> None:
    under = snapshot(json.dumps({"keys": [SECRET.as_dict()]}), algorithms=("HS256",))
    for subject, text in (("\ud800x", "jwt:?x"), ("a" * 9_000, "jwt:" + "a" * 256)):
        found = await owner(Credentials(clock=clock()), under, signed(HS, CLAIMS | {"sub": subject}))
        assert found == ("acme", text)


async def test_token_without_key_id_fits_the_only_key() -> None:
    under = snapshot(public(EC1))
    assert await owner(Credentials(clock=clock()), under, token(header={"kid": None})) == ("acme", "jwt:app")


async def test_verified_token_expires_also_when_remembered() -> None:
    time = clock()
    credentials, under, good = Credentials(clock=time), snapshot(public(EC1)), token()
    await owner(credentials, under, good)
    time.advance(us(329))
    await owner(credentials, under, good)
    time.advance(us(1))
    assert await refusal(credentials, under, good) == "unauthenticated"


async def test_verified_token_is_forgotten_with_the_policy_that_believed_it() -> None:
    credentials, good = Credentials(clock=clock()), token()
    await owner(credentials, snapshot(public(EC1)), good)
    assert await refusal(credentials, snapshot(public(EC2), version="v2"), good) == "unauthenticated"
    assert await owner(credentials, snapshot(public(EC1)), good) == ("acme", "jwt:app")


async def test_inline_set_that_is_no_set_is_503_at_the_worst() -> None:
    with pytest.raises(ValueError, match="JSON Web Key Set"):
        imported(b"[]")
    with pytest.raises(ValueError, match="usable"):
        imported(b'{"keys": [{"kty": "new"}, {"kty": "EC"}, 7]}')
    assert len(imported(public(EC1)[:-2].encode() + b', {"kty": "new"}]}')) == 1


# --- key sets over HTTP ------------------------------------------------------------------------------------------


class Issuer:
    """A real HTTP server on loopback that publishes a key set; counts requests."""

    def __init__(self) -> None:
        self.body = public(EC1).encode()
        self.status = b"200 OK"
        self.hits = 0
        self.url = ""
        self.gate = asyncio.Event()
        self.gate.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            self.hits += 1
            await self.gate.wait()
            head = b"HTTP/1.1 %b\r\ncontent-length: %d\r\nconnection: close\r\n" % (self.status, len(self.body))
            writer.write(head + b"location: /elsewhere\r\n\r\n" + self.body)
            await writer.drain()
        writer.close()


@pytest.fixture
async def issuer() -> AsyncIterator[Issuer]:
    made = Issuer()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/keys"
    async with server:
        yield made


@pytest.fixture
def time() -> VirtualClock:
    return clock()


@pytest.fixture
async def credentials(time: VirtualClock) -> AsyncIterator[Credentials]:
    made = Credentials(clock=time)
    yield made
    await made.aclose()


async def test_set_is_fetched_once_for_everybody_who_waits(issuer: Issuer, credentials: Credentials) -> None:
    under = snapshot(issuer.url)
    found = await asyncio.gather(*(owner(credentials, under, token(sub=f"s{n}")) for n in range(20)))
    assert {tenant for tenant, _ in found} == {"acme"}
    assert issuer.hits == 1


async def test_caller_that_leaves_does_not_end_the_fetch_of_the_others(
    issuer: Issuer, credentials: Credentials
) -> None:
    issuer.gate.clear()
    under = snapshot(issuer.url)
    first, second = (asyncio.create_task(owner(credentials, under, token(sub=name))) for name in "ab")
    while not issuer.hits:
        await asyncio.sleep(0)
    first.cancel()
    issuer.gate.set()
    assert await second == ("acme", "jwt:b")
    assert issuer.hits == 1


async def test_unknown_key_causes_one_fetch_a_minute(
    issuer: Issuer, credentials: Credentials, time: VirtualClock
) -> None:
    under = snapshot(issuer.url)
    await owner(credentials, under, token())
    for _ in range(5):
        assert await refusal(credentials, under, token(EC2)) == "unauthenticated"
    assert issuer.hits == 1
    time.advance(us(61))
    issuer.body = public(EC1, EC2).encode()
    assert await owner(credentials, under, token(EC2)) == ("acme", "jwt:app")
    assert issuer.hits == 2


async def test_while_the_issuer_is_gone_known_keys_work_and_unknown_ones_are_503(
    issuer: Issuer, credentials: Credentials, time: VirtualClock
) -> None:
    under = snapshot(issuer.url)
    await owner(credentials, under, token())
    issuer.status, issuer.body = b"500 Oops", b""
    time.advance(us(61))
    assert await refusal(credentials, under, token(EC2)) == "auth-unavailable"
    assert await refusal(credentials, under, token(EC2)) == "auth-unavailable"  # nor within the pause
    assert await owner(credentials, under, token(sub="fresh")) == ("acme", "jwt:fresh")
    assert issuer.hits == 2


async def test_garbage_never_reaches_the_issuer(issuer: Issuer, credentials: Credentials) -> None:
    under = snapshot(issuer.url)
    for bad in (token(EC2, iss="x"), token(EC2, exp=1), token(EC2, aud="x"), b"a.b.c"):
        assert await refusal(credentials, under, bad) == "unauthenticated"
    assert issuer.hits == 0


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (b"302 Found", b""),
        (b"404 Not Found", b"{}"),
        (b"200 OK", b"<html>"),
        (b"200 OK", b'{"keys": []}'),
        (b"200 OK", b'{"keys": "' + b"x" * MAX_SET + b'"}'),
    ],
)
async def test_first_fetch_that_fails_is_503(
    issuer: Issuer, credentials: Credentials, status: bytes, body: bytes
) -> None:
    issuer.status, issuer.body = status, body
    assert await refusal(credentials, snapshot(issuer.url), token()) == "auth-unavailable"


async def test_issuer_that_refuses_connections_is_503(credentials: Credentials) -> None:
    server = await asyncio.start_server(Issuer().serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    assert await refusal(credentials, snapshot(f"http://127.0.0.1:{port}/"), token()) == "auth-unavailable"


async def test_withdrawn_key_stops_working_without_anybody_asking(
    issuer: Issuer, credentials: Credentials, time: VirtualClock
) -> None:
    under = snapshot(issuer.url)
    lasting = token(exp=NOW_S + 9_000)
    await owner(credentials, under, lasting)
    issuer.body = public(EC2).encode()
    time.advance(us(601))
    await owner(credentials, under, lasting)  # its age is noticed, nobody waits for it
    async with asyncio.timeout(5):
        while await still_good(credentials, under, lasting):
            await asyncio.sleep(0)
    assert issuer.hits == 2


async def still_good(credentials: Credentials, under: Snapshot, secret: bytes) -> bool:
    with contextlib.suppress(GatewayError):
        await owner(credentials, under, secret)
        return True
    return False


async def test_fetch_is_bounded(issuer: Issuer) -> None:
    issuer.body = b"x" * (MAX_SET + 1)
    with pytest.raises(ValueError, match="octets"):
        await fetched(issuer.url)
