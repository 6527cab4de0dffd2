"""TOML, by way of tomlkit, which keeps comments and layout."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from flux2_mcp.cli.config_editors import BEYOND_US, Setting, with_line_ends_of
from flux2_mcp.errors import UnreadableConfig

if TYPE_CHECKING:
    from tomlkit import TOMLDocument
    from tomlkit.items import Table

MARK = "\ufeff"
"""What Windows programs begin a UTF-8 file with."""


class Toml:
    """TOML."""

    def read(self, text: str) -> Mapping[str, object]:
        """Everything the text says."""
        try:
            return tomllib.loads(text.removeprefix(MARK))
        except tomllib.TOMLDecodeError as error:
            msg = f"It is not valid TOML: {error}."
            raise UnreadableConfig(msg) from None
        except (ValueError, RecursionError):
            raise UnreadableConfig(BEYOND_US) from None

    def put(self, text: str, path: Sequence[str], value: Setting) -> str:
        """The text with this value at this path; new tables come last, under headers of their own."""
        document = self._document(text)
        table: MutableMapping[str, Any] = document
        for depth, key in enumerate(path[:-1]):
            if key not in table:
                # In one piece, so that a table which holds nothing but tables gets no header of its own.
                table[key] = _nested(path[depth + 1 :], value)
                return _written(document, text)
            table = _table(table[key], key)
        if path[-1] in table and _unwrapped(table[path[-1]]) == value:
            return text
        table[path[-1]] = value
        return _written(document, text)

    def drop(self, text: str, path: Sequence[str]) -> str:
        """The text without the table or key at this path."""
        document = self._document(text)
        table: MutableMapping[str, Any] = document
        for key in path[:-1]:
            if key not in table:
                return text
            table = _table(table[key], key)
        if path[-1] not in table:
            return text
        del table[path[-1]]
        return _written(document, text)

    def _document(self, text: str) -> TOMLDocument:
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        self.read(text)
        try:
            return tomlkit.parse(text.removeprefix(MARK))
        except (TOMLKitError, ValueError, RecursionError):
            raise UnreadableConfig(BEYOND_US) from None


def _written(document: TOMLDocument, old: str) -> str:
    mark = MARK if old.startswith(MARK) else ""
    return mark + with_line_ends_of(old, document.as_string())


def _nested(path: Sequence[str], value: Setting) -> Table:
    import tomlkit

    table = tomlkit.table(is_super_table=len(path) > 1 or isinstance(value, dict))
    table[path[0]] = _nested(path[1:], value) if len(path) > 1 else value
    return table


def _table(value: object, key: str) -> MutableMapping[str, Any]:
    if not isinstance(value, MutableMapping):
        msg = f'"{key}" is not a table in it.'
        raise UnreadableConfig(msg)
    return cast("MutableMapping[str, Any]", value)


def _unwrapped(value: object) -> object:
    from tomlkit.items import Item

    return value.unwrap() if isinstance(value, Item) else value
