"""What is said about models, made from the catalogue: in the tools' schemas, the commands' help and the guide."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flux2_mcp.catalogue import Catalogue, Model, listed


@dataclass(frozen=True)
class ModelHelp:
    """One catalogue in short sentences, without their last full stop."""

    known: Catalogue

    @property
    def names(self) -> str:
        """All models, and which is the default."""
        default = self.known.default.name
        return listed((f"{default} (default)" if each.name == default else each.name for each in self._models), "or")

    @property
    def models(self) -> str:
        return "; ".join(f"{each.name}: {each.in_short}" for each in self._models)

    @property
    def ratios(self) -> tuple[str, ...]:
        """All that are made, by whatever model."""
        return tuple(dict.fromkeys(ratio for each in self._models for ratio in each.aspect_ratios))

    @property
    def ratio(self) -> str:
        first, *others = self.ratios
        return listed([f"{first} (default)", *others], "or")

    @property
    def auto(self) -> str:
        """About the ratio of a remix."""
        return f"auto (the source's){f'. {listed(self._strict)} {_needs(self._strict)} one' if self._strict else ''}"

    @property
    def resolutions(self) -> tuple[str, ...]:
        """All that are made, those of the default model first."""
        models = (self.known.default, *self._models)
        return tuple(dict.fromkeys(each for model in models for each in model.resolutions))

    @property
    def resolution(self) -> str:
        first, *others = self.resolutions
        words = listed([f"{first} (default)", *others], "or")
        return f"{words}, which {'costs' if len(others) == 1 else 'cost'} more" if others else words

    @property
    def safety(self) -> str:
        without = [each.name for each in self._models if not each.enable_safety_checker]
        return f"RunAPI's content check; not for {listed(without, 'or')}" if without else "RunAPI's content check"

    @property
    def most_sources(self) -> int:
        return max(each.most_sources for each in self._models)

    @property
    def fewer_sources(self) -> str:
        """The models that take fewer than the others, in brackets; empty when all take as many."""
        fewer = [f"{each.name}: {each.most_sources}" for each in self._models if each.most_sources < self.most_sources]
        return f" ({', '.join(fewer)})" if fewer else ""

    @property
    def for_the_guide(self) -> Mapping[str, str]:
        """What its text leaves to the catalogue."""
        most, *fewer = sorted({each.most_sources for each in self._models}, reverse=True)
        least_words, most_words = self.known.default.prompt_characters
        return {
            "models": "\n".join(f"| `{each.name}` | {each.about} |" for each in self._models),
            "characters": f"{least_words} to {most_words}",
            "sources": ", ".join([f"Up to {most} images with {self._taking(most)}", *map(self._with, fewer)]),
            "strict": f" {_code(self._strict)} {_needs(self._strict)} a ratio of its own." if self._strict else "",
            "resolutions": listed(self.resolutions, "or"),
        }

    def filled(self, schema: Mapping[str, Any]) -> dict[str, Any]:
        """A tool's schema, with the descriptions and the default that these models give it."""
        properties: Mapping[str, dict[str, Any]] = schema["properties"]
        return {**schema, "properties": {name: self._filled(name, each) for name, each in properties.items()}}

    def _filled(self, name: str, schema: dict[str, Any]) -> dict[str, Any]:
        if "anyOf" in schema:
            value, null = schema["anyOf"]
            return {**schema, "anyOf": [self._filled(name, value), null]}
        default = {"default": self.known.default.name} if name == "model" else {}
        about = {"description": schema["description"].format(models=self)} if "description" in schema else {}
        return {**default, **schema, **about}

    def _with(self, count: int) -> str:
        return f"{count} with {self._taking(count)}"

    def _taking(self, count: int) -> str:
        return _code(each.name for each in self._models if each.most_sources == count)

    @property
    def _strict(self) -> list[str]:
        return [each.name for each in self._models if each.ratio_required]

    @property
    def _models(self) -> tuple[Model, ...]:
        return self.known.models


def _code(names: Iterable[str]) -> str:
    return listed(f"`{name}`" for name in names)


def _needs(names: Sequence[str]) -> str:
    return "needs" if len(names) == 1 else "need"
