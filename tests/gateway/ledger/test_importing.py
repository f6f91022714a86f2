"""Evidence that others counted, from a file or a request into the ledger: recorded as an act, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from gateway.admin import Posting, create_admin
from gateway.cli import app
from gateway.ledger.acts import links
from gateway.ledger.database import Database
from gateway.ledger.store import Store
from gateway.settings import Settings
from gateway.sla import importing, recording
from gateway.sla.importing import Offer, Receipt, taken
from gateway.sla.posting import FOLDER, create_posting, taker
from policies.model import Address
from policies.sla.chain import Link
from policies.sla.export import Unreadable
from policies.sla.imports import MOST_BYTES
from policies.sla.register import IMPORT, register
from tests.gateway.ledger.recording import NOON_S
from tests.gateway.ledger.test_store import EVER
from tests.gateway.test_admin import Shown

ROOT = Path(__file__).resolve().parents[3]
NAMES = ({"acme"}, {"crm"})
LATER_S = NOON_S + 3_600
EDGE = b"minute,tenant,group,failed\n2026-09-24T20:00:00Z,acme,crm,5\n"
TOKEN = "import-token-of-more-than-32-letters"
POLICY = """
tiers: {basic: {limits: {minute: 60/min}}}
upstreams: {crm: {url: "http://127.0.0.1:1"}}
routes: {crm: {match: {path: "/crm/{rest:path}"}, upstream: crm, group: crm}}
tenants: {acme: {tier: basic}}
"""


def offer(data: bytes = EDGE, *, what: Any = "edge", source: str = "lb") -> Offer:
    return Offer(what=what, source=source, data=data)


@pytest.fixture
def ledger(store: Store) -> Database:
    return store.database


def into(database: Database) -> importing.Record:
    return lambda content: recording.append(database, [(IMPORT, content)], "on-call", lambda: LATER_S)[-1]


def acts(database: Database) -> list[Mapping[str, object]]:
    return [link.act.content for link in links(database) if isinstance(link, Link)]


def failed(database: Database) -> list[int]:
    return [each[1] for _, _, each in Store(database).cells("acme", *EVER)]


def test_an_import_is_an_act_that_says_what_was_taken(ledger: Database) -> None:
    receipt = taken(ledger, offer(), NAMES, into(ledger), LATER_S)
    assert receipt == Receipt(offer=offer(), lines=1, from_s=NOON_S, to_s=NOON_S + 60, act=1)
    assert failed(ledger) == [5]
    assert acts(ledger) == [{
        "what": "edge", "source": "lb", "sha256": hashlib.sha256(EDGE).hexdigest(), "lines": 1,
        "from": "2026-09-24T20:00:00Z", "to": "2026-09-24T20:01:00Z",
    }]  # fmt: skip
    register(links(ledger))


def test_the_later_import_of_a_source_holds_and_other_sources_add(ledger: Database) -> None:
    for data, source in ((EDGE, "lb"), (EDGE.replace(b",5", b",2"), "lb"), (EDGE, "lb-us")):
        taken(ledger, offer(data, source=source), NAMES, into(ledger), LATER_S)
    assert failed(ledger) == [7]
    assert len(acts(ledger)) == 3


def test_one_wrong_line_takes_nothing_and_records_nothing(ledger: Database) -> None:
    with pytest.raises(Unreadable, match="line 3: tenant 'globex' is not known"):
        taken(ledger, offer(EDGE + b"2026-09-24T20:01:00Z,globex,crm,5\n"), NAMES, into(ledger), LATER_S)
    assert (failed(ledger), acts(ledger)) == ([], [])


def test_a_tenant_that_has_left_is_known_as_long_as_it_has_minutes(ledger: Database) -> None:
    taken(ledger, offer(), NAMES, into(ledger), LATER_S)
    assert taken(ledger, offer(), ((), {"crm"}), into(ledger), LATER_S).act == 2


def test_a_ticket_of_another_tenant_is_seen_before_anything_is_recorded(ledger: Database) -> None:
    line = (
        '{"id": "e%d", "ticket": "T", "tenant": "%s", "at": "2026-09-24T20:00:00Z", "kind": "ack", "actor": "staff"}\n'
    )
    both = ({"acme", "globex"}, ())
    taken(ledger, offer((line % (1, "acme")).encode(), what="support"), both, into(ledger), LATER_S)
    with pytest.raises(ValueError, match="belongs to 'acme', not"):
        taken(ledger, offer((line % (2, "globex")).encode(), what="support"), both, into(ledger), LATER_S)
    assert len(acts(ledger)) == 1


def test_an_import_that_was_not_recorded_is_not_taken(ledger: Database) -> None:
    def refusing(content: Mapping[str, object]) -> Link:
        raise recording.NotRecorded("nobody is there")

    with pytest.raises(recording.NotRecorded):
        taken(ledger, offer(), NAMES, refusing, LATER_S)
    assert failed(ledger) == []


def test_an_import_that_broke_off_behind_its_act_is_repeated(ledger: Database) -> None:
    into(ledger)(Receipt(offer=offer(), lines=1, from_s=NOON_S, to_s=NOON_S + 60).content)
    assert failed(ledger) == []
    assert taken(ledger, offer(), NAMES, into(ledger), LATER_S).act == 2
    assert failed(ledger) == [5]


def test_to_look_only_changes_nothing(ledger: Database) -> None:
    assert taken(ledger, offer(), NAMES, None, LATER_S).act is None
    assert (failed(ledger), acts(ledger)) == ([], [])


def test_probes_arrive_with_their_points(ledger: Database) -> None:
    line = b'{"vantage_point": "fra", "from": "2026-09-24T20:00:00Z", "to": "2026-09-24T20:00:30Z", "ok": false}\n'
    taken(ledger, offer(line, what="probes"), NAMES, into(ledger), LATER_S)
    assert Store(ledger).probes(*EVER).failing == {"lb/fra": ((NOON_S, NOON_S + 30),)}


# --- over HTTP ------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "policy").mkdir()
    (tmp_path / "policy" / "policy.yaml").write_text(POLICY)
    (tmp_path / "state").mkdir()
    return Settings(policies=tmp_path / "policy", state_dir=tmp_path / "state")


@pytest.fixture
def client(settings: Settings) -> TestClient:
    return listener(create_posting(taker(settings, {}), MOST_BYTES))


def listener(app: Any, read_token: bytes | None = None) -> TestClient:
    posting = Posting(app=app, folder=FOLDER, token_digest=hashlib.sha256(TOKEN.encode()).digest())
    admin = create_admin(Shown(), Address(host="127.0.0.1", port=9900), read_token, posting)
    return TestClient(admin, base_url="http://127.0.0.1:9900", headers={"authorization": f"Bearer {TOKEN}"})


def minute_ago() -> bytes:
    from gateway.clock import SystemClock
    from policies.sla.instants import written

    minute_s = (SystemClock().wall_us() // 60_000_000 - 1) * 60
    return f"minute,tenant,failed\n{written(minute_s)},acme,5\n".encode()


def test_a_post_is_taken_as_an_act_of_its_source(client: TestClient, settings: Settings) -> None:
    data = minute_ago()
    answer = client.post("/ledger/edge?source=lb", content=data)
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["act"], said["lines"], said["sha256"]) == (1, 1, hashlib.sha256(data).hexdigest())
    database = recording.opened(settings)
    (link,) = links(database)
    assert (link.act.actor, link.act.kind) == ("import:lb", "import")  # type: ignore[union-attr]
    assert failed(database) == [5]
    database.close()


@pytest.mark.parametrize(
    ("path", "data", "status", "said"),
    [
        ("/ledger/edge?source=lb", b"minute,failed\n2026-02-31T12:00:00Z,5\n", 422, "line 2: minute"),
        ("/ledger/edge?source=lb", b"", 422, "no lines"),
        ("/ledger/edges?source=lb", b"", 404, "edge, probes and support are"),
        ("/ledger/edge?source=a/b", b"", 400, "no name of a source"),
        ("/ledger/edge", b"", 400, "name one source"),
        ("/ledger/edge?source=a&source=b", b"", 400, "name one source"),
        ("/ledger/edge?source=a&tenant=b", b"", 400, "name one source"),
        ("/ledger/edge?source=lb", b"x" * (MOST_BYTES + 1), 413, "larger than 16 MiB"),
    ],
)
def test_what_is_not_to_be_taken_is_answered_with_the_reason(
    client: TestClient, path: str, data: bytes, status: int, said: str
) -> None:
    answer = client.post(path, content=data)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


def test_a_body_without_a_length_is_bounded_too() -> None:
    client = listener(create_posting(lambda what, source, data: (200, {"bytes": len(data)}), 1_000_000))
    assert client.post("/ledger/edge?source=lb", content=iter([b"x" * 500_000] * 2)).json() == {"bytes": 1_000_000}
    assert client.post("/ledger/edge?source=lb", content=iter([b"x" * 500_000] * 3)).status_code == 413


def test_a_ledger_that_is_away_is_503_and_worth_another_try(settings: Settings) -> None:
    away = Settings(policies=settings.policies, state_dir=settings.state_dir, ledger_url="postgresql://h@127.0.0.1:1/x")
    answer = listener(create_posting(taker(away, {}), MOST_BYTES)).post("/ledger/edge?source=lb", content=EDGE)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_policies_with_mistakes_are_503_until_they_are_mended(client: TestClient, settings: Settings) -> None:
    (settings.policies / "policy.yaml").write_text("tiers: [")
    answer = client.post("/ledger/edge?source=lb", content=minute_ago())
    assert (answer.status_code, "tiergate check" in answer.text) == (503, True)


def test_each_token_opens_its_own_and_the_host_is_looked_at_first() -> None:
    reading = "a token for reading"
    client = listener(create_posting(lambda *_: (200, {}), 9), hashlib.sha256(reading.encode()).digest())
    post: Callable[..., Any] = lambda **headers: client.post("/ledger/edge?source=lb", headers=headers)  # noqa: E731 - one line each
    assert post().status_code == 200
    assert post(authorization=f"Bearer {reading}").status_code == 401
    assert post(authorization="").status_code == 401
    assert post(host="evil.example").status_code == 421
    assert client.get("/ledger/edge?source=lb").status_code == 405
    assert client.get("/metrics").status_code == 401, "the token for imports reads nothing"
    assert client.post("/metrics").status_code == 401


def test_without_a_token_for_imports_there_is_no_such_place() -> None:
    admin = create_admin(Shown(), Address(host="127.0.0.1", port=9900), None)
    client = TestClient(admin, base_url="http://127.0.0.1:9900")
    assert client.get("/ledger/edge").status_code == 404
    refused = client.post("/ledger/edge?source=lb", content=EDGE)
    assert refused.status_code == 405, "the listener is read-only"
    assert "TIERGATE_IMPORT_TOKEN" in refused.text


# --- as a command ---------------------------------------------------------------------------------------------------


def arguments_of(settings: Settings, *arguments: str) -> list[str]:
    where = ("--policies", str(settings.policies), "--state-dir", str(settings.state_dir))
    return ["sla", "import", *arguments, *where]


def command(settings: Settings, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("TIERGATE_")}
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli", *arguments_of(settings, *arguments)],
        env={**clean, "PYTHONPATH": str(ROOT), "NO_COLOR": "1"}, input=data,
        capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


def within(settings: Settings, *arguments: str, data: bytes = b"") -> tuple[int, str]:
    """The same in this process: its exit code, and all that it says."""
    done = CliRunner().invoke(app, arguments_of(settings, *arguments), input=data)
    return done.exit_code, done.stdout + done.stderr


def test_the_command_takes_from_standard_input_and_says_what(settings: Settings) -> None:
    recording.opened(settings, make=True).close()
    code, said = within(settings, "edge", "-", "--source", "lb", "--dry-run", data=minute_ago())
    assert (code, "1 line of edge from lb" in said, "would be taken" in said) == (0, True, True), said
    done = command(settings, "edge", "-", "--source", "lb", "--output", "json", "--actor", "on-call", data=minute_ago())
    assert (done.returncode, json.loads(done.stdout)["act"]) == (0, 1), done.stderr
    database = recording.opened(settings)
    assert failed(database) == [5]
    database.close()


def test_the_command_says_what_is_wrong_and_exits_accordingly(settings: Settings, tmp_path: Path) -> None:
    code, said = within(settings, "edge", "-", "--source", "lb", data=EDGE)
    assert (code, "no ledger is there" in said) == (3, True), said
    recording.opened(settings, make=True).close()
    code, said = within(settings, "edge", "-", "--source", "lb", data=minute_ago() + b"x\n")
    assert (code, "line 3: it has 1 columns" in said, "nothing was taken" in said) == (1, True, True), said
    assert within(settings, "edge", str(tmp_path / "none"), "--source", "lb")[0] == 3
    assert command(settings, "edge", "-", "--source", "a b", data=EDGE).returncode == 64
    assert command(settings, "cases", "-", "--source", "lb").returncode == 64
