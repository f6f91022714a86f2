"""What every measurement stands on: one temporary folder, and in it the upstream and the instances in front of it.

Everything listens on free ports of 127.0.0.1 and is ended with the stage.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from loadtests import certificate
from loadtests.bare import BODY
from loadtests.instance import Answer, NotStarted, await_answer, free_ports, running
from loadtests.peers.catalogue import program
from loadtests.peers.peer import Launch, Place, rendered

KEY = "bench-key"
"""The key of the one tenant of ``loadtests/policies/bench``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """The ports of the fixed answer; ``tls`` and ``ca`` are None where only plaintext is spoken."""

    plain: int
    tls: int | None = None
    ca: Path | None = None


class Stage:
    """``held`` ends what was started."""

    def __init__(self, folder: Path, held: contextlib.ExitStack) -> None:
        self._folder = folder
        self._held = held

    def folder(self, name: str) -> Path:
        made = self._folder / name
        made.mkdir()
        return made

    def place(self, name: str, upstream: int, ca: Path | None = None) -> Place:
        """A folder and ports for one instance in front of the port ``upstream``."""
        port, admin = free_ports(2)
        return Place(folder=self.folder(name), port=port, admin=admin, upstream=upstream, ca=ca)

    def start(self, launch: Launch, place: Place, *, key: str = KEY, status: int = 200) -> tuple[int, Answer]:
        """Run ``launch`` until the end of the stage; its process id and first answer. Raises ``NotStarted``."""
        pid = self._held.enter_context(running(launch, place.folder))
        return pid, await_answer(pid, place.port, "/bench", key, status, place.folder)

    def nginx(self) -> Upstream:
        """The upstream of a comparison, over plaintext and TLS. Raises ``NotStarted``."""
        nginx = program("nginx")
        if nginx is None:
            raise NotStarted("the upstream is nginx, which is not on PATH (Debian: apt-get install nginx-light)")
        folder = self.folder("upstream")
        identity = certificate.make(folder)
        plain, tls = free_ports(2)
        text = rendered(
            "upstream.conf",
            folder=folder,
            port=plain,
            tls_port=tls,
            certificate=identity.certificate,
            key=identity.key,
            body=BODY,
        )
        (folder / "upstream.conf").write_text(text)
        command = (nginx, "-e", f"{folder}/error.log", "-c", f"{folder}/upstream.conf")
        pid = self._held.enter_context(running(Launch(command=command), folder))
        await_answer(pid, plain, "/bench", KEY, 200, folder)
        return Upstream(plain=plain, tls=tls, ca=identity.ca)

    def upstream(self) -> Upstream:
        """nginx, or where it is not installed the bare app: good enough where only the gateway is measured."""
        if program("nginx"):
            return self.nginx()
        place = self.place("upstream", 0)
        command = (sys.executable, "-m", "loadtests.bare", "--port", str(place.port))
        self.start(Launch(command=command), place)
        return Upstream(plain=place.port)


@contextlib.contextmanager
def stage(name: str) -> Iterator[Stage]:
    """A stage in a temporary folder whose name begins with ``name``."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as folder, contextlib.ExitStack() as held:
        os.chmod(folder, 0o755)  # nginx's worker is another user when its master is root
        yield Stage(Path(folder), held)
