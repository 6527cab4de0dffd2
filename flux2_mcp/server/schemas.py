"""The schemas that tools show: without what tells a model nothing, and in the forms that hosts take."""

from __future__ import annotations

from typing import Any, cast

Json = dict[str, Any]  # a JSON schema, as the SDK types it
NULL: Json = {"type": "null"}


def arguments_schema(schema: Json) -> Json:
    """The schema of a call: null stays with what has no other word for "left out", as some hosts require everything."""
    trimmed: Json = {**trimmed_schema(schema), "additionalProperties": False}
    properties: dict[str, Json] = schema["properties"]
    for name in (name for name, each in properties.items() if NULL in each.get("anyOf", [])):
        # Vertex AI takes nothing else beside anyOf, and Gemini's API takes no list of types.
        trimmed["properties"][name] = {"anyOf": [trimmed["properties"][name], NULL]}
    return trimmed


def trimmed_schema(schema: Json) -> Json:
    """The same schema without what tells a model nothing: titles, formats, and the defaults that say "nothing"."""
    trimmed = {key: _trimmed_part(key, part) for key, part in schema.items() if key not in {"title", "format"}}
    return {key: part for key, part in trimmed.items() if key != "description" or "properties" not in schema}


def _trimmed_part(key: str, part: object) -> object:
    if key in {"properties", "$defs"}:
        return {name: _trimmed_property(schema) for name, schema in cast("dict[str, Json]", part).items()}
    return _trimmed_property(cast("Json", part)) if key == "items" else part


def _trimmed_property(schema: Json) -> Json:
    choices: list[Json] = schema.get("anyOf", [])
    real = [choice for choice in choices if choice != NULL]
    merged = {**real[0], **schema} if len(real) == 1 else dict(schema)
    if len(real) == 1:
        del merged["anyOf"]
    default = merged.get("default", "unset")
    if default in (None, "", []) or default is False:
        del merged["default"]
    return trimmed_schema(merged)
