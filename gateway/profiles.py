"""The built-in throttling profiles, read once from the files of ``upstreams/providers``.

What they mean is ``upstreams.throttle``'s affair; ``policies.format.profiles`` reads them as it reads a profile in a
policy file.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from policies.format.findings import Finding, headline
from policies.format.profiles import parse_profile
from policies.throttling import Catalogue, Profile

SUFFIX = ".yaml"


@lru_cache(maxsize=1)
def built_in() -> Catalogue:
    """Every built-in profile. Raises ``ValueError`` when a shipped file is broken, with every complaint."""
    made: list[Profile] = []
    findings: list[Finding] = []
    folder = files("upstreams").joinpath("providers")
    for file in sorted(folder.iterdir(), key=lambda each: each.name) if folder.is_dir() else ():
        if file.name.endswith(SUFFIX):
            profile, found = parse_profile(file.name.removesuffix(SUFFIX), file.name, file.read_bytes())
            findings += found
            made += [profile] if profile is not None else []
    if findings:
        raise ValueError("\n".join(headline(finding) for finding in findings))
    return Catalogue(made)
