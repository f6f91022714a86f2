"""Which route groups stand for an upstream when its failures are to be excused (spec X1).

Counters are kept by group and know no upstream. So an upstream is told apart only where a group is served by it alone.
"""

from __future__ import annotations

from collections.abc import Mapping


def groups_served_by(upstream: str, groups: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
    """The groups that ``upstream`` serves alone. Raises ``ValueError`` where it serves none, or one with others."""
    served = {group: upstreams for group, upstreams in groups.items() if upstream in upstreams}
    if not served:
        known = ", ".join(sorted({each for upstreams in groups.values() for each in upstreams})) or "none"
        raise ValueError(f"no route group is served by upstream {upstream}; there are {known}")
    mixed = {group: [each for each in served[group] if each != upstream] for group in served if len(served[group]) > 1}
    if mixed:
        said = "; ".join(f"{group} also by {', '.join(others)}" for group, others in sorted(mixed.items()))
        raise ValueError(
            f"what {upstream} did cannot be told apart, because its groups have other upstreams: {said}; give the "
            "upstream a group of its own, or name the groups that were affected as a whole"
        )
    return tuple(sorted(served))


def named_parts(name: str, groups: tuple[str, ...]) -> dict[str, str | None]:
    """The id of each part of an exclusion and its group; without groups it is one and of everything."""
    return {f"{name}/{group}": group for group in groups} if groups else {name: None}
