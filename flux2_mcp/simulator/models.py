"""Which models there are, what each takes and costs; the data is in `models.json`, by RunAPI's full names."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

Action = Literal["text_to_image", "remix_image"]


class Model(BaseModel):
    """The contract of one model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    aspect_ratio: tuple[str, ...]
    ratio_required: bool = False
    output_resolution: tuple[str, ...]
    """The first is made when none is named."""
    most_sources: int = 0
    takes: tuple[str, ...] = ()
    """Which of the fields that not every model takes; the others are refused."""
    cents: Mapping[str, int] | None = None
    """Per picture, by resolution; None where the price list names no price."""


Models = Mapping[str, Model]
_MODELS: TypeAdapter[Models] = TypeAdapter(dict[str, Model])


def models_of(data: str | bytes) -> Models:
    """Models from JSON."""
    return _MODELS.validate_json(data)


PUBLISHED = models_of(files(__package__ or "").joinpath("models.json").read_bytes())
"""Those that RunAPI has; read at import, as a simulator is often made in an event loop."""


def slugs(models: Models, action: Action) -> tuple[str, ...]:
    """The models that an action knows."""
    return tuple(slug for slug, model in models.items() if model.action == action)
