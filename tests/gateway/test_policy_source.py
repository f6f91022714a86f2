from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.last_good import LastGood
from gateway.policy_source import PolicyRejected, PolicySource, Reload, fingerprint
from policies.model import PolicySet
from policies.snapshot import Snapshot
from tests.waiting import eventually

pytestmark = pytest.mark.anyio
DEADLINE_S = 20.0


@dataclass(frozen=True)
class Loaded:
    policy: PolicySet | None
    findings: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    substituted: frozenset[str] = frozenset()


class Loader:
    """Reads every ``*.txt``; a file that says ``bad`` is a mistake, ``bug`` a broken loader. Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0
        self.threads: set[int] = set()

    def __call__(self, directory: Path, *, env: Mapping[str, str], secrets_dir: Path | None) -> Loaded:
        self.calls += 1
        self.threads.add(threading.get_ident())
        if not directory.is_dir():
            return Loaded(None, (f"{directory}: no such directory",))
        text = "".join(path.read_text() for path in sorted(directory.glob("*.txt")))
        if "bug" in text:
            raise RuntimeError("the loader is broken")
        if "bad" in text or not text:
            return Loaded(None, ("p.txt:1:1: error: bad", "p.txt:2:1: error: worse"))
        return Loaded(PolicySet(version=hashlib.sha256(text.encode()).hexdigest()[:16]))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    directory = tmp_path / "policy"
    directory.mkdir()
    (directory / "p.txt").write_text("one")
    return directory


def source_of(directory: Path, load: Loader | None = None) -> PolicySource:
    return PolicySource(directory, env={}, load=load or Loader())


@asynccontextmanager
async def watched(source: PolicySource, poll_s: float = 30.0) -> AsyncIterator[None]:
    watching = asyncio.create_task(source.watch(poll_s=poll_s))
    try:
        yield
    finally:
        watching.cancel()
        await asyncio.wait((watching,), timeout=DEADLINE_S)


def test_a_cold_start_on_a_bad_set_raises_every_complaint(place: Path) -> None:
    (place / "p.txt").write_text("bad")
    with pytest.raises(PolicyRejected) as error:
        source_of(place)
    assert len(error.value.findings) == 2


async def test_a_good_edit_is_swapped_in_and_told_to_the_hooks(place: Path) -> None:
    source = source_of(place)
    changed: list[str] = []
    outcomes: list[Reload] = []
    source.on_change.append(lambda snapshot: changed.append(snapshot.version))
    source.on_reload.append(outcomes.append)
    before = source.current
    (place / "p.txt").write_text("two")
    reload = await source.reload()
    assert reload.outcome == "accepted"
    assert source.current is not before
    assert changed == [source.current.version] == [reload.version]
    assert outcomes == [reload]
    assert before.version != source.current.version, "a request that holds the old snapshot keeps it"


async def test_a_bad_edit_keeps_the_last_good_set_and_complains_once(
    place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = source_of(place)
    before = source.current
    (place / "p.txt").write_text("bad")
    for _ in range(3):
        reload = await source.reload()
        assert (reload.outcome, reload.version) == ("rejected", before.version)
    assert source.current is before
    assert source.complaints == reload.findings
    assert sum("worse" in record.getMessage() for record in caplog.records) == 1


async def test_a_repaired_set_ends_the_complaint_without_a_new_snapshot(place: Path) -> None:
    source = source_of(place)
    before = source.current
    (place / "p.txt").write_text("bad")
    await source.reload()
    (place / "p.txt").write_text("one")
    assert (await source.reload()).outcome == "unchanged"
    assert source.current is before
    assert source.complaints == ()


async def test_touching_a_file_costs_no_parse(place: Path) -> None:
    load = Loader()
    source = source_of(place, load)
    os.utime(place / "p.txt")
    assert await source.reload_if_changed() is None
    assert load.calls == 1


async def test_parsing_runs_off_the_event_loop(place: Path) -> None:
    load = Loader()
    source = source_of(place, load)
    load.threads.clear()
    await source.reload()
    assert load.threads
    assert threading.get_ident() not in load.threads


async def test_a_broken_loader_does_not_take_the_policy_away(place: Path) -> None:
    source = source_of(place)
    (place / "p.txt").write_text("bug")
    reload = await source.reload()
    assert reload.outcome == "rejected"
    assert "the loader is broken" in reload.findings[0]


async def test_content_that_vanishes_keeps_the_last_good_set_and_says_so(place: Path) -> None:
    source = source_of(place)
    before = source.current
    shutil.rmtree(place)
    reload = await source.reload()
    assert (reload.outcome, reload.version) == ("rejected", before.version)
    assert "does not exist" in reload.findings[0]


async def test_reloads_at_the_same_time_take_turns(place: Path) -> None:
    source = source_of(place)
    (place / "p.txt").write_text("two")
    outcomes = [reload.outcome for reload in await asyncio.gather(*(source.reload() for _ in range(5)))]
    assert sorted(outcomes) == ["accepted", *["unchanged"] * 4]


async def test_the_watch_sees_an_edit(place: Path) -> None:
    source = source_of(place)
    before = source.current
    async with watched(source):
        (place / "p.txt").write_text("while the watch is set up")
        await eventually(lambda: source.current is not before)
        second = source.current
        (place / "p.txt").write_text("told by an event: the poll is 30 s away")
        await eventually(lambda: source.current is not second)


async def test_the_watch_sees_a_configmap_swap(tmp_path: Path) -> None:
    place = tmp_path / "policy"
    for number in ("1", "2", "3"):
        (place / f"..rev{number}").mkdir(parents=True)
        (place / f"..rev{number}" / "p.txt").write_text(f"revision {number}")
    (place / "..data").symlink_to("..rev1")
    (place / "p.txt").symlink_to("..data/p.txt")
    source = source_of(place)
    before = source.current
    async with watched(source):
        for number in ("2", "3"):
            (place / "..data.tmp").symlink_to(f"..rev{number}")
            (place / "..data.tmp").rename(place / "..data")
            await eventually(lambda before=before: source.current is not before)
            before = source.current


async def test_the_watch_sees_a_relinked_directory(tmp_path: Path) -> None:
    for number in ("1", "2"):
        (tmp_path / number).mkdir()
        (tmp_path / number / "p.txt").write_text(number)
    place = tmp_path / "current"
    place.symlink_to("1")
    source = source_of(place)
    before = source.current
    async with watched(source):
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").rename(place)
        await eventually(lambda: source.current is not before)


async def test_the_watch_outlives_the_directory(place: Path) -> None:
    source = source_of(place)
    before = source.current
    async with watched(source):
        shutil.rmtree(place)
        await eventually(lambda: source.complaints)
        assert source.current is before
        place.mkdir()
        (place / "p.txt").write_text("back again")
        await eventually(lambda: source.current is not before)
        second = source.current
        (place / "p.txt").write_text("and followed")
        await eventually(lambda: source.current is not second)


async def test_the_poll_finds_what_no_event_told(place: Path) -> None:
    target = place.parent / "elsewhere.txt"
    target.write_text("linked from outside the watched directory")
    (place / "q.txt").symlink_to(target)
    source = source_of(place)
    before = source.current
    async with watched(source, poll_s=0.1):
        target.write_text("changed outside the watched directory")
        await eventually(lambda: source.current is not before)


def test_the_fingerprint_tells_content_names_and_secrets_apart(place: Path, tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    seen = {fingerprint(place, secrets)}
    (secrets / "token").write_text("a")
    seen.add(fingerprint(place, secrets))
    (secrets / "token").write_text("b")
    seen.add(fingerprint(place, secrets))
    (place / "p.txt").rename(place / "q.txt")
    seen.add(fingerprint(place, secrets))
    shutil.rmtree(place)
    seen.add(fingerprint(place, secrets))
    assert len(seen) == 5


def test_a_pipe_in_the_directory_is_not_waited_for(place: Path) -> None:
    os.mkfifo(place / "pipe")
    assert fingerprint(place)


class Outside(Loader):
    """Reads one file beside the directory too, as ``tenants_from`` does."""

    def __call__(self, directory: Path, *, env: Mapping[str, str], secrets_dir: Path | None) -> Loaded:
        self.calls += 1
        beside = directory / ".." / "tenants.txt"
        text = (directory / "p.txt").read_text() + beside.read_text()
        version = hashlib.sha256(text.encode()).hexdigest()[:16]
        return Loaded(PolicySet(version=version), files=(directory / "p.txt", beside))


async def test_an_edit_of_a_file_outside_the_directory_is_noticed(place: Path) -> None:
    (place.parent / "tenants.txt").write_text("acme")
    source = source_of(place, Outside())
    before = source.current
    await source.reload_if_changed()
    (place.parent / "tenants.txt").write_text("globex")
    reload = await source.reload_if_changed()
    assert reload is not None
    assert reload.outcome == "accepted"
    assert source.current is not before


def test_an_edit_behind_a_linked_folder_changes_the_fingerprint(place: Path) -> None:
    real = place.parent / "elsewhere"
    real.mkdir()
    (real / "q.txt").write_text("one")
    (place / "linked").symlink_to(real)
    (real / "loop").symlink_to(place)
    before = fingerprint(place)
    (real / "q.txt").write_text("two")
    assert fingerprint(place) != before


async def test_the_set_is_compiled_in_the_loading_thread(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []

    class Watched(Snapshot):
        def __init__(self, policy: PolicySet) -> None:
            threads.append(threading.get_ident())
            super().__init__(policy)

    source = source_of(place)
    monkeypatch.setattr("gateway.policy_source.Snapshot", Watched)
    (place / "p.txt").write_text("two")
    assert (await source.reload()).outcome == "accepted"
    assert len(threads) == 1
    assert threading.get_ident() not in threads


async def test_a_good_set_that_cannot_be_served_is_rejected(place: Path) -> None:
    refused: list[str] = []
    source = PolicySource(place, env={}, load=Loader(), objection=lambda policy: tuple(refused))
    before = source.current
    refused.append("store.url: no")
    (place / "p.txt").write_text("two")
    reload = await source.reload()
    assert (reload.outcome, reload.findings) == ("rejected", ("store.url: no",))
    assert source.current is before


def test_a_copy_is_found_by_names_also_of_secrets_behind_links(tmp_path: Path) -> None:
    policy, secrets, revision = (tmp_path / name for name in ("policy", "secrets", "secrets/..1"))
    for folder in (policy, secrets, revision):
        folder.mkdir()
    (policy / "p.txt").write_text("good")
    (tmp_path / "tenants.jsonl").write_text("acme")
    (revision / "token").write_text("s3cret")
    (secrets / "token").symlink_to("..1/token")
    kept = LastGood(tmp_path / "state", policy, secrets)
    assert kept.place() is None
    kept.keep("v1", (policy / "p.txt", policy / ".." / "tenants.jsonl", revision / "token"))
    (policy / "p.txt").write_text("bad")
    place = kept.place()
    assert place is not None
    directory, folder = place
    assert folder is not None
    assert (directory / "p.txt").read_text() == "good"
    assert (directory / ".." / "tenants.jsonl").read_text() == "acme"
    assert (folder / "token").read_text() == "s3cret"
    kept.keep("v2", (policy / "p.txt",))
    assert sorted(path.name for path in (tmp_path / "state" / "last-good").iterdir()) == ["current", "v2"]
    kept.remove()
    assert kept.place() is None
