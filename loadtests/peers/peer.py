"""What the comparison must know of a gateway: whether it is installed, and how one instance is started.

Starts nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where one instance works: its own ``folder`` and ports, all on 127.0.0.1.

    ``upstream`` is the upstream's port; ``ca`` the file that its certificate is checked against, None over plaintext.
    ``answer`` is a file that ``loadtests.bare`` reads.
    """

    folder: Path
    port: int
    admin: int
    upstream: int
    ca: Path | None
    answer: Path | None = None

    @property
    def scheme(self) -> str:
        return "http" if self.ca is None else "https"

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A command and what it wants added to the environment. Its standard output goes to a file of its place."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """``missing`` says why it cannot run here, or None. ``forwards``: it calls the upstream, so TLS is a case."""

    name: str
    missing: Callable[[], str | None]
    launch: Callable[[Place], Launch]
    forwards: bool = True


def rendered(template: str, **values: object) -> str:
    """The text of ``template`` in this folder with each ``@NAME@`` replaced."""
    text = (FOLDER / template).read_text()
    for name, value in values.items():
        text = text.replace(f"@{name.upper()}@", str(value))
    return text


def configured(place: Place, template: str, **values: object) -> Path:
    """``template`` rendered for ``place``; the file's path."""
    path = place.folder / template
    path.write_text(
        rendered(
            template,
            folder=place.folder,
            port=place.port,
            upstream=place.upstream,
            scheme=place.scheme,
            **values,
        )
    )
    return path
