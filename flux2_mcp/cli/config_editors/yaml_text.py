"""YAML, by way of ruamel.yaml, which keeps comments and order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping, Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any, cast

from flux2_mcp.cli.config_editors import BEYOND_US, Setting, with_line_ends_of
from flux2_mcp.errors import UnreadableConfig

if TYPE_CHECKING:
    from ruamel.yaml import YAML


class Yaml:
    """YAML."""

    def read(self, text: str) -> Mapping[str, object]:
        """Everything the text says."""
        return _loaded(text, _yaml("safe"))

    def put(self, text: str, path: Sequence[str], value: Setting) -> str:
        """The text with this value at this path."""
        yaml = _yaml("rt")
        document = _loaded(text, yaml)
        mapping = document
        for key in path[:-1]:
            if mapping.get(key) is None:
                mapping[key] = {}
            mapping = _mapping(mapping[key], key)
        if path[-1] in mapping and mapping[path[-1]] == value:
            return text
        mapping[path[-1]] = value
        return with_line_ends_of(text, _dumped(document, yaml))

    def drop(self, text: str, path: Sequence[str]) -> str:
        """The text without the key at this path."""
        yaml = _yaml("rt")
        document = _loaded(text, yaml)
        mapping = document
        for key in path[:-1]:
            if mapping.get(key) is None:
                return text
            mapping = _mapping(mapping[key], key)
        if path[-1] not in mapping:
            return text
        del mapping[path[-1]]
        return with_line_ends_of(text, _dumped(document, yaml))


def _yaml(kind: str) -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML(typ=kind, pure=True)
    yaml.preserve_quotes = True
    yaml.width = 10_000  # or it would fold other people's long lines
    return yaml


def _loaded(text: str, yaml: YAML) -> MutableMapping[str, Any]:
    from ruamel.yaml.error import ReusedAnchorWarning, YAMLError

    try:
        with warnings.catch_warnings(action="ignore", category=ReusedAnchorWarning):
            loaded: object = yaml.load(text)  # pyright: ignore[reportUnknownMemberType] ruamel's own signature is untyped
    except YAMLError as error:
        msg = f"It is not valid YAML: {str(error).splitlines()[0]}."
        raise UnreadableConfig(msg) from None
    except (ValueError, RecursionError):
        raise UnreadableConfig(BEYOND_US) from None
    return {} if loaded is None else _mapping(loaded, "the whole file")


def _mapping(value: object, key: str) -> MutableMapping[str, Any]:
    if not isinstance(value, MutableMapping):
        msg = f'"{key}" is not a mapping in it.'
        raise UnreadableConfig(msg)
    return cast("MutableMapping[str, Any]", value)


def _dumped(document: object, yaml: YAML) -> str:
    written = StringIO()
    yaml.dump(document, written)  # pyright: ignore[reportUnknownMemberType] as above
    return written.getvalue()
