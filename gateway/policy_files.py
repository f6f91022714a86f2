"""A policy directory on disk -> what ``policies.document`` composes: files, secrets, the tenants file, all bounded.

What the texts mean is decided on floor 0. Hidden names are skipped, so a ConfigMap's ``..data`` layout is read once.
"""

from __future__ import annotations

import gc
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from gateway.profiles import built_in
from policies.document import SourceFile, compose
from policies.format.findings import Finding, errors_of, in_order
from policies.format.substitution import LARGEST_VALUE, Lookups
from policies.format.tenants import LONGEST_LINE
from policies.format.units import ValueProblem, closest
from policies.format.yaml_tree import LARGEST_FILE
from policies.model import PolicySet

SECRETS_VARIABLE: Final = "TIERGATE_SECRETS_DIR"
LARGEST_TENANTS_FILE: Final = 512 << 20
DEEPEST_FOLDER: Final = 16
MOST_FILES: Final = 20_000
PROGRESS_LINES: Final = 5_000

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """``policy`` is None when a finding is an error. ``sources`` are texts for carets, ``files`` all that was read.

    ``policy_files`` counts those of ``files`` that are policy files, without secrets and the tenants file.
    """

    policy: PolicySet | None
    findings: tuple[Finding, ...]
    sources: Mapping[str, str]
    files: tuple[Path, ...]
    substituted: frozenset[str] = field(default=frozenset(), repr=False)
    policy_files: int = 0


def load(
    directory: Path, *, env: Mapping[str, str], secrets_dir: Path | None, progress: Progress | None = None
) -> Loaded:
    """Read, check and compile the set in ``directory``.

    Raises ``OSError`` only when the directory itself cannot be read; everything else is a finding. ``progress`` is
    called with the tenants file's name, bytes read and bytes in all.
    """
    walk = _Walk(directory)
    walk.read()
    outside = _Outside(directory, env, secrets_dir, progress)
    with _no_collection():
        composed = compose(walk.files, outside.lookups(), profiles=built_in(), partial=walk.partial)
    walk.complain_of_strays(outside.paths, secrets_dir)
    if not walk.files:
        walk.complain(
            directory,
            "TG138",
            "no policy file (*.yaml) is here",
            "tiergate check DIR takes the directory of a policy set",
        )
    findings = in_order((*composed.findings, *walk.findings))
    return Loaded(
        policy=None if errors_of(findings) else composed.policy,
        findings=findings,
        sources={**composed.sources, **outside.lines_for(findings)},
        files=(*walk.paths, *outside.paths),
        substituted=composed.substituted,
        policy_files=len(walk.files),
    )


def secrets_dir_of(env: Mapping[str, str]) -> Path | None:
    """The secrets folder that the environment names."""
    named = env.get(SECRETS_VARIABLE)
    return Path(named) if named else None


@contextmanager
def _no_collection() -> Iterator[None]:
    """A load makes a million objects and no garbage cycles; collecting in between doubles its time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _Walk:
    """Every ``*.yaml`` below a directory, in the order of names."""

    def __init__(self, top: Path) -> None:
        self._top = top
        self._seen: set[str] = set()
        self.files: list[SourceFile] = []
        self.paths: list[Path] = []
        self.findings: list[Finding] = []
        self.partial = False
        """Whether some policy file was left unread."""
        self._unread = 0
        self._strays: list[Path] = []

    def read(self) -> None:
        self._folder(self._top, 0)
        if self._unread:
            said = f"more than {MOST_FILES:_} policy files: {self._unread:_} of them are not read"
            self.complain(self._top, "TG108", said, "put many tenants into one file, or use tenants_from")

    def complain(self, path: Path, code: str, message: str, hint: str) -> None:
        self.findings.append(Finding(file=str(path), line=1, column=1, code=code, message=message, hint=hint))

    def _folder(self, folder: Path, depth: int) -> None:
        real = os.path.realpath(folder)
        if real in self._seen:
            return
        if depth > DEEPEST_FOLDER:
            said = f"folders nested deeper than {DEEPEST_FOLDER} levels are not read"
            self.partial = True
            self.complain(folder, "TG136", said, "move its files up")
            return
        self._seen.add(real)
        try:
            names = sorted(os.listdir(folder))
        except OSError as error:
            if depth == 0:
                raise
            self.partial = True
            self.complain(folder, "TG100", f"this folder cannot be read: {error.strerror}", "check its permissions")
            return
        for name in names:
            if not name.startswith("."):
                self._entry(folder / name, depth)

    def _entry(self, path: Path, depth: int) -> None:
        if path.suffix in (".yml", ".yaml") and not path.is_dir():
            if path.suffix == ".yml":
                hint = f"did you mean '{path.with_suffix('.yaml').name}'?"
                self.complain(path, "TG403", "this file is not read: policy files end in .yaml", hint)
            else:
                self._file(path)
        elif path.is_dir():
            self._folder(path, depth + 1)
        elif path.suffix in (".jsonl", ".json"):
            self._strays.append(path)

    def complain_of_strays(self, read: Sequence[Path], secrets_dir: Path | None) -> None:
        """JSON files here that nothing refers to; those of the secrets folder are nobody's business."""
        known = {os.path.realpath(path) for path in read}
        secrets = os.path.realpath(secrets_dir) + os.sep if secrets_dir else None
        for path in self._strays:
            real = os.path.realpath(path)
            if real not in known and not (secrets and real.startswith(secrets)):
                hint = "name a tenants file with tenants_from; policy files end in .yaml"
                self.complain(path, "TG403", "this file is not read: nothing refers to it", hint)

    def _file(self, path: Path) -> None:
        if len(self.files) >= MOST_FILES:
            self.partial = True
            self._unread += 1
            return
        try:
            data = _bytes_of(path, LARGEST_FILE + 1)
        except OSError as error:
            self.partial = True
            self.complain(path, "TG100", f"this file cannot be read: {error.strerror}", "check its permissions")
            return
        self.paths.append(path)
        self.files.append(SourceFile(name=path.relative_to(self._top).as_posix(), data=data, shown=str(path)))


def _bytes_of(path: Path, most: int) -> bytes:
    """At most ``most`` bytes of a regular file; a pipe or device would block or never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(0, "not a regular file")
        return file.read(most)


class _Outside:
    """The look-ups of one load: environment, secrets folder, tenants file."""

    def __init__(
        self, directory: Path, env: Mapping[str, str], secrets_dir: Path | None, progress: Progress | None
    ) -> None:
        self._directory = directory
        self._env = env
        self._secrets_dir = secrets_dir
        self._progress = progress
        self._tenants: dict[str, Path] = {}
        self.paths: list[Path] = []

    def lookups(self) -> Lookups:
        return Lookups(
            variable=self._env.get, secret=self._secret, lines=self._lines, variables=tuple(self._env),
            shown=lambda name: str(self._directory / name),
        )  # fmt: skip

    def _secret(self, name: str) -> str:
        path = self._secret_path(name)
        try:
            data = _bytes_of(path, LARGEST_VALUE + 1)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "its name is not a file's"
            hint = self._near_secret(name)
            raise ValueProblem("TG132", f"secret file '{name[:80]}' cannot be read: {reason}", hint) from None
        self.paths.append(path)
        try:
            return data.decode()
        except UnicodeDecodeError:
            raise ValueProblem(
                "TG132", f"secret file '{name[:80]}' is not UTF-8 text", "encode it, as PEM or base64"
            ) from None

    def _secret_path(self, name: str) -> Path:
        if self._secrets_dir is None:
            hint = f"set {SECRETS_VARIABLE} to the secrets folder"
            raise ValueProblem("TG132", f"there is no secrets folder for '{name[:80]}'", hint)
        if name.startswith("/") or ".." in name.split("/") or "\\" in name or "\x00" in name or not name:
            hint = "name a file of the secrets folder, without '..' and '/' in front"
            raise ValueProblem("TG133", f"'{name[:80]}' is outside the secrets folder", hint)
        folder, real = os.path.realpath(self._secrets_dir), os.path.realpath(self._secrets_dir / name)
        if os.path.commonpath((folder, real)) != folder:
            raise ValueProblem(
                "TG133", f"'{name[:80]}' leads outside the secrets folder", "a link points out of it; copy the file"
            )
        return Path(real)

    def _near_secret(self, name: str) -> str:
        try:
            names = [entry for entry in os.listdir(self._secrets_dir) if not entry.startswith(".")]
        except OSError:
            return f"{SECRETS_VARIABLE} names a folder that cannot be read"
        return closest(name, names) or f"put it into the folder that {SECRETS_VARIABLE} names"

    def _lines(self, name: str) -> Iterator[bytes]:
        path = self._directory / name
        try:
            size = self._size_of(path, name)
            with path.open("rb") as file:
                self.paths.append(path)
                self._tenants[str(path)] = path
                for number, line in enumerate(_bounded_lines(file), 1):
                    if self._progress is not None and number % PROGRESS_LINES == 0:
                        self._progress(name, file.tell(), size)
                    yield line
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "its name is not a file's"
            raise ValueProblem(
                "TG100", f"'{name[:80]}' cannot be read: {reason}", "the path is relative to the policy directory"
            ) from None
        if self._progress is not None:
            self._progress(name, size, size)

    def _size_of(self, path: Path, name: str) -> int:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise ValueProblem("TG100", f"'{name[:80]}' is not a regular file", "export tenants to a file")
        if status.st_size > LARGEST_TENANTS_FILE:
            raise ValueProblem("TG108", f"'{name[:80]}' is larger than 512 MiB", "split the set over several gateways")
        return status.st_size

    def lines_for(self, findings: tuple[Finding, ...]) -> dict[str, str]:
        """Of each tenants file the lines that findings point at; all others are empty."""
        made = {}
        for shown, path in self._tenants.items():
            wanted = {finding.line for finding in findings if finding.file == shown}
            if wanted:
                made[shown] = _sparse(path, wanted)
        return made


def _bounded_lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines without their end; one that is too long comes cut, one byte over the bound, and its rest is skipped."""
    readline = file.readline
    first = True
    while line := readline(LONGEST_LINE + 1):
        if first:
            line, first = line.removeprefix(b"\xef\xbb\xbf"), False
        if len(line) > LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := readline(1 << 16)) and not rest.endswith(b"\n"):
                continue
        yield line


def _sparse(path: Path, wanted: set[int]) -> str:
    lines: list[str] = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(_bounded_lines(file), 1):
                text = line.decode("utf-8", "replace").strip("\r\n") if number in wanted else ""
                lines.append(" ".join(text.splitlines()))
                if number >= max(wanted):
                    break
    except OSError:
        return ""
    return "\n".join(lines)
