"""Text that every wire can carry."""

from __future__ import annotations

from typing import Any, cast

from pydantic import BaseModel


def sendable(value: Any) -> Any:  # noqa: ANN401 whatever a result may hold
    """The same with texts that can be written as UTF-8: the name of a file may be any bytes, a wire ends at them."""
    if isinstance(value, str):
        return value.encode("utf-8", errors="replace").decode()
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: sendable(each) for name, each in value})
    if isinstance(value, dict):
        return {name: sendable(each) for name, each in cast("dict[str, Any]", value).items()}
    return [sendable(each) for each in cast("list[object]", value)] if isinstance(value, list) else value
