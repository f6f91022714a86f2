"""Which term of an SLA stands, and who said so: service < tier < customer < department (spec V4).

Layers are merged field by field and the most specific one wins, also where its term is worse; there is no best of.
A value is taken whole, so bands, causes and calendars are replaced and never joined. What a field means is not
known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

KINDS: Final = ("service", "tier", "customer", "department")
"""Least specific first. A department is a part of a customer with terms of its own."""
UNSAID: Final = "default"
"""The provenance of a field that no layer names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """``name`` is ``service``, or a kind and whose it is: ``tier:premium``, ``customer:acme``.

    A field that is absent says nothing; one that is None says so ("no target").
    """

    name: str
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """``provenance`` names, for each field of ``fields``, the layer that it comes from."""

    fields: Mapping[str, object]
    provenance: Mapping[str, str]

    def origin_of(self, field: str) -> str:
        return self.provenance.get(field, UNSAID)


def resolve(layers: Iterable[Layer]) -> Resolved:
    """The terms that stand. Raises ``ValueError`` for a layer of no known kind and for two of one kind.

    A customer's department may itself have departments: of several, each later one is the more specific.
    """
    ordered = sorted(layers, key=_rank)
    single = [_kind(layer) for layer in ordered if _kind(layer) != "department"]
    if len(single) != len(set(single)):
        raise ValueError(f"two layers of one kind: {', '.join(layer.name for layer in ordered)}")
    fields: dict[str, object] = {}
    provenance: dict[str, str] = {}
    for layer in ordered:
        fields.update(layer.fields)
        provenance.update(dict.fromkeys(layer.fields, layer.name))
    return Resolved(fields=MappingProxyType(fields), provenance=MappingProxyType(provenance))


def _kind(layer: Layer) -> str:
    return layer.name.partition(":")[0]


def _rank(layer: Layer) -> int:
    kind, _, whose = layer.name.partition(":")
    if kind not in KINDS or (kind == "service") != (not whose):
        raise ValueError(f"{layer.name!r} is no layer: service, tier:NAME, customer:NAME or department:NAME")
    return KINDS.index(kind)
