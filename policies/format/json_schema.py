"""The JSON Schema of a policy file (draft-07, which editors' YAML language servers read), and which keys fit where."""

from __future__ import annotations

from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, Tag

from policies.format.report import TAG
from policies.schema import PolicyFile

DRAFT = "http://json-schema.org/draft-07/schema#"
_REFERENCE = {"$ref": "#/definitions/Reference"}
_SCALARS = ("integer", "number", "boolean", "null")


def policy_schema() -> dict[str, Any]:
    """The schema of one file; every scalar may also be a text with a ``${...}`` reference."""
    made = PolicyFile.model_json_schema(ref_template="#/definitions/{model}")
    definitions = {name: _opened(part) for name, part in made.pop("$defs").items()}
    definitions["Reference"] = {"type": "string", "pattern": r"\$\{[^{}]+\}", "description": "From outside the file"}
    return {"$schema": DRAFT, **_opened(made), "title": "Tiergate policy file", "definitions": definitions}


def _opened(part: Any) -> Any:
    """``part`` with a reference allowed for every scalar, and sections allowed to be empty."""
    if isinstance(part, list):
        return [_opened(item) for item in part]
    if not isinstance(part, dict):
        return part
    if _is_scalar(part):
        about = {key: part[key] for key in ("description", "title", "default") if key in part}
        bare = {key: value for key, value in part.items() if key not in about}
        return {**about, "anyOf": [bare, _REFERENCE]}
    made = {key: value if key in ("default", "examples") else _opened(value) for key, value in part.items()}
    return _without_titles(made)


def _is_scalar(part: dict[str, Any]) -> bool:
    kind = part.get("type")
    restricted = "pattern" in part or "enum" in part or "const" in part
    return kind in _SCALARS[:3] or (restricted and kind in (None, "string", "integer"))


def _without_titles(part: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in part.items() if key != "title" or isinstance(value, dict)}


def keys_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[str, ...]:
    """The keys that the map at ``loc`` (as pydantic reports it, tags included) may have."""
    kind: Any = model
    for part in loc:
        kind = _member(kind, part)
    found = _model_of(kind)
    return tuple(field.alias or name for name, field in found.model_fields.items()) if found else ()


def _member(kind: Any, part: str | int) -> Any:
    if isinstance(part, str) and part.startswith(TAG):
        return next((arm for arm in _arms(kind) if Tag(part) in getattr(arm, "__metadata__", ())), kind)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        field = next((f for name, f in kind.model_fields.items() if part in (name, f.alias)), None)
        return field.annotation if field else None
    if get_origin(kind) is Annotated:
        return _member(get_args(kind)[0], part)
    if get_origin(kind) is tuple:
        return get_args(kind)[0]
    if get_origin(kind) in (dict, list):
        return get_args(kind)[-1]
    arms = _arms(kind)
    return None if arms == (kind,) else next((found for arm in arms if (found := _member(arm, part))), None)


def _arms(kind: Any) -> tuple[Any, ...]:
    """The members of a union, those of unions inside it included; anything else is its own only member."""
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(inner) not in (Union, UnionType):
        return (kind,)
    return tuple(arm for part in get_args(inner) if part is not type(None) for arm in _arms(part))


def _model_of(kind: Any) -> type[BaseModel] | None:
    if isinstance(kind, type):
        return kind if issubclass(kind, BaseModel) else None
    arms = _arms(get_args(kind)[0] if get_origin(kind) is Annotated else kind)
    return None if arms == (kind,) else next((found for arm in arms if (found := _model_of(arm))), None)
