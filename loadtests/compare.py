"""Tiergate beside its peers: the same upstream, the same rate-limit job, interleaved rounds (DESIGN §13).

    python -m loadtests.compare [--rounds 5] [--seconds 5] [--connections 50] [--peers a,b] [--tls] [--json FILE]

Starts an nginx as upstream, then every peer that is installed, on free ports of 127.0.0.1. In each round each peer in
turn is driven closed-loop over keep-alive connections (by wrk, or by ``loadtests.closed_loop`` where wrk is not
installed), and the user and system time of its process tree is divided by the answers. Printed are medians over the
rounds; ratios to Envoy are medians of the rounds' own. Exits 0, 1 when an answer was wrong or Tiergate's records do
not add up to the requests, 3 when something could not be started.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from loadtests import command, reconcile, report
from loadtests.bare import BODY
from loadtests.command import positive
from loadtests.driver import closed_loop, drive
from loadtests.instance import NotStarted, get
from loadtests.measure import Sample, cpu_us, memory
from loadtests.peers.catalogue import PEERS, program
from loadtests.peers.peer import Peer, Place
from loadtests.peers.tiergate import REFUSED_KEY
from loadtests.report import Row
from loadtests.stage import KEY, Stage, Upstream, stage

SETTLE_S = 0.5
"""Waited before the second reading, so that logs and spans written behind fall into the round that made them."""
COUNTED_CALLS = 2_000
OWN_FIELDS = frozenset({"date", "server", "connection", "content-length", "transfer-encoding"})
"""Fields that a server adds by itself."""


class Comparison:
    """A run: what is started, the rounds, the checks at the end."""

    def __init__(self, chosen: argparse.Namespace, stage: Stage) -> None:
        self.chosen = chosen
        self.stage = stage
        self.rows: list[Row] = []
        self.missing: dict[str, str] = {}
        self.checks: list[dict[str, Any]] = []

    def start(self, say: Callable[[str], None]) -> None:
        """The upstream and every peer. Raises ``NotStarted`` when the upstream or Tiergate itself fails."""
        upstream = self.stage.nginx()
        for name in self.chosen.peers:
            peer = PEERS[name]
            if reason := peer.missing():
                self.missing[name] = reason
                continue
            for tls in (False, True) if self.chosen.tls and peer.forwards else (False,):
                say(f"starting {name}{', TLS upstream' if tls else ''}")
                self._start_peer(peer, upstream, tls=tls)
        if any(row.name == "tiergate" for row in self.rows):
            self._start_refusals(upstream)

    def _start_peer(self, peer: Peer, upstream: Upstream, *, tls: bool) -> None:
        try:
            self.rows.append(self._started(peer, upstream, tls=tls))
        except NotStarted as error:
            if peer.name == "tiergate":
                raise
            self.missing[f"{peer.name}{' (TLS upstream)' if tls else ''}"] = f"did not start: {error}"

    def _started(self, peer: Peer, upstream: Upstream, *, tls: bool) -> Row:
        place = self._place(f"{peer.name}-tls" if tls else peer.name, upstream, tls=tls)
        pid, answer = self.stage.start(peer.launch(place), place)
        if answer.body != BODY:
            raise NotStarted(f"it answers something else than the upstream: {answer.body[:200]}")
        kind = "none" if not peer.forwards else "TLS" if tls else "plain"
        return Row(name=peer.name, upstream=kind, pid=pid, place=place, key=KEY)

    def _start_refusals(self, upstream: Upstream) -> None:
        """A tenant whose limit is used up, and a bare app that answers the bytes of such a refusal."""
        gateway = self._row("tiergate", "plain")
        get(gateway.place.port, "/bench", REFUSED_KEY)
        refusal = get(gateway.place.port, "/bench", REFUSED_KEY)
        if refusal.status != 429:
            raise NotStarted(f"the tenant to be refused was answered {refusal.status}")
        self.rows.append(replace(gateway, name="refusal", upstream="none", key=REFUSED_KEY, refused=True, samples=[]))
        bare = self._place("bare-refusal", upstream, tls=False)
        answer = bare.folder / "refusal.json"
        fields = [pair for pair in refusal.headers if pair[0] not in OWN_FIELDS]
        fields.append(("content-length", str(len(refusal.body.encode()))))
        answer.write_text(json.dumps({"status": 429, "headers": fields, "body": refusal.body}))
        place = replace(bare, answer=answer)
        pid, _ = self.stage.start(PEERS["bare"].launch(place), place, status=429)
        self.rows.append(Row(name="bare-refusal", upstream="none", pid=pid, place=place, key=KEY, refused=True))

    def _place(self, name: str, upstream: Upstream, *, tls: bool) -> Place:
        if tls and upstream.tls is not None:
            return self.stage.place(name, upstream.tls, upstream.ca)
        return self.stage.place(name, upstream.plain)

    def _row(self, name: str, upstream: str) -> Row:
        return next(row for row in self.rows if (row.name, row.upstream) == (name, upstream))

    def measure(self, step: Callable[[str], None]) -> None:
        """A short warm-up of each row, then the rounds: A B C, A B C."""
        for row in self.rows:
            step(f"warm-up: {row.name}")
            row.samples.append(self._sample(row, 1))
        for number in range(self.chosen.rounds):
            for row in self.rows:
                step(f"round {number + 1}: {row.name}, {row.upstream}")
                row.samples.append(self._sample(row, self.chosen.seconds))

    def _sample(self, row: Row, seconds: int) -> Sample:
        before = cpu_us(row.pid)
        load = drive(row.place.port, row.key, self.chosen.connections, seconds)
        if not load.requests:
            raise NotStarted(f"{row.name} answers no more")
        held = memory(row.pid)
        time.sleep(SETTLE_S)
        return Sample(load=load, cpu_us=cpu_us(row.pid) - before, memory=held)

    def add_up(self) -> None:
        """Tiergate's records against the answers: over the whole run, then exactly over a counted one."""
        for row in self.rows:
            if row.name == "tiergate":
                self._add_up_run(row)
                for key in (KEY, REFUSED_KEY) if row.upstream == "plain" else (KEY,):
                    self._add_up_counted(row, key)

    def _add_up_run(self, row: Row) -> None:
        samples = [sample for one in self.rows if one.pid == row.pid for sample in one.samples]
        probes = 3 if row.upstream == "plain" else 1  # the first answer, and the two that use up the small limit
        at_least = probes + sum(sample.load.requests for sample in samples)
        at_most = at_least + len(samples) * self.chosen.connections
        found = reconcile.settled(row.place.admin, row.place.access_log, lambda counts: counts.agree(at_least, at_most))
        ok = found.agree(at_least, at_most)
        self._note(f"{row.upstream}, whole run", f"{at_least} to {at_most}", found, ok)

    def _add_up_counted(self, row: Row, key: str) -> None:
        before = reconcile.counted(row.place.admin, row.place.access_log)
        loop = closed_loop(row.place.port, key, self.chosen.connections, ("--calls", str(COUNTED_CALLS)))
        found = (
            reconcile.settled(
                row.place.admin, row.place.access_log, lambda counts: (counts - before).equal(loop.requests)
            )
            - before
        )
        ok = found.equal(loop.requests) and loop.requests == COUNTED_CALLS and not loop.failed
        self._note(f"{row.upstream}, counted, {key}", str(loop.requests), found, ok)

    def found(self) -> dict[str, Any]:
        return {
            **report.summed_up(self.rows),
            "rounds": self.chosen.rounds,
            "seconds": self.chosen.seconds,
            "connections": self.chosen.connections,
            "driver": "wrk" if program("wrk") else "loadtests.closed_loop",
            "missing": self.missing,
            "reconciled": self.checks,
        }

    def _note(self, what: str, expected: str, found: reconcile.Counts, ok: bool) -> None:
        self.checks.append({"what": what, "requests": expected, **asdict(found), "ok": ok})


@contextlib.contextmanager
def progress(total: Callable[[], int]) -> Iterator[Callable[[str], None]]:
    """A bar on standard error, on a terminal only; what it gives is called at the start of each step."""
    if not sys.stderr.isatty():
        yield lambda text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<40}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total())
        yield lambda text: bar.update(task, description=text, advance=1, total=total())


def peers_of(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in names if name not in PEERS]
    if strange or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(strange) or 'nothing'} is none of {', '.join(PEERS)}")
    return sorted(set(names), key=list(PEERS).index)


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=positive, default=5, help="of one round of one peer")
    parser.add_argument("--connections", type=positive, default=50)
    parser.add_argument("--peers", type=peers_of, default=list(PEERS), help=f"some of {','.join(PEERS)}")
    parser.add_argument("--tls", action="store_true", help="measure a TLS upstream as well")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    return parser


def compare(chosen: argparse.Namespace) -> dict[str, Any]:
    """Run the comparison. Raises ``NotStarted`` and ``subprocess.SubprocessError``."""
    with stage("compare") as made:
        run = Comparison(chosen, made)
        with progress(lambda: len(chosen.peers) + len(run.rows) * (chosen.rounds + 1) + 1) as step:
            run.start(step)
            run.measure(step)
            step("adding up")
            run.add_up()
        return run.found()


def wrong(found: dict[str, Any]) -> bool:
    return any(row["wrong_answers"] for row in found["rows"]) or not all(check["ok"] for check in found["reconciled"])


def main() -> int:
    return command.run(compare, arguments().parse_args(), text=report.table, wrong=wrong)


if __name__ == "__main__":
    sys.exit(main())
