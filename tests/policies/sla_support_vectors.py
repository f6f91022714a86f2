"""The kinds of case about versions, layers, alerts and support: their shapes, and how each runs."""

from __future__ import annotations

from collections.abc import Mapping

from tests.policies.vector_shapes import Kind

KINDS: Mapping[str, Kind] = {}
