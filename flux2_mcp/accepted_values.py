"""What a JSON schema accepts, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_KINDS = {"string": "text", "integer": "a whole number", "number": "a number", "array": "a list", "object": "an object"}


def accepted(schema: Mapping[str, Any]) -> str:
    """What may be given: "a whole number from 1 to 8", "'on' or 'off'". Leaving it out is not mentioned."""
    words = [each for choice in schema.get("anyOf", [schema]) for each in _choices(choice)]
    return " or ".join(part for part in (", ".join(words[:-1]), *words[-1:]) if part) or "another value"


def _choices(schema: Mapping[str, Any]) -> list[str]:
    if "enum" in schema:
        return [repr(each) for each in schema["enum"]]
    kind = schema.get("type", "null")
    if kind == "null":
        return []
    if kind == "boolean":
        return ["true", "false"]
    items = " of texts" if schema.get("items", {}).get("type") == "string" else ""
    return [_KINDS[kind] + items + _range(schema)]


def _range(schema: Mapping[str, Any]) -> str:
    least, most = schema.get("minimum"), schema.get("maximum")
    if least is None:
        return "" if most is None else f" up to {_plain(most)}"
    return f" from {_plain(least)} on" if most is None else f" from {_plain(least)} to {_plain(most)}"


def _plain(number: float) -> str:
    """Whole numbers without a point, which a schema for floats has."""
    return str(int(number)) if number == int(number) else str(number)
