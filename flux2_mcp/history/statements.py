"""Statements that every order needs, compiled once.

SQLAlchemy builds, compares and adapts a statement at each use; that takes ten times as long as SQLite takes to run it.
Here it does so once, for each kind of database, and the driver gets the text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Delete, Dialect, Insert, SelectBase, Update
from sqlalchemy.types import TypeEngine

Convert = Callable[[Any], Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Compiled:
    """A statement as one driver takes it."""

    text: str
    names: Sequence[str] | None
    """The parameters in their order; None where the driver takes them by name."""
    to_database: Mapping[str, Convert]
    """For the parameters that the driver does not know by themselves."""
    constants: Mapping[str, object]
    """Parameters that are the same at each use."""
    columns: Sequence[tuple[str, Convert | None]]
    """What a row has, and how each is read."""

    def parameters(self, values: Mapping[str, object]) -> Sequence[object] | Mapping[str, object]:
        given = {**self.constants, **values}
        for name, convert in self.to_database.items():
            given[name] = convert(given[name])
        return given if self.names is None else [given[name] for name in self.names]

    def row(self, found: Sequence[object]) -> Row:
        return {
            name: convert(value) if convert else value
            for (name, convert), value in zip(self.columns, found, strict=True)
        }


class Statement:
    """One statement; what changes from one use to the next are its bound parameters."""

    def __init__(self, statement: SelectBase | Insert | Update | Delete) -> None:
        self._statement = statement
        self._compiled: dict[str, Compiled] = {}

    def rows(self, connection: Connection, **values: object) -> list[Row]:
        """Run it with these parameters, and give the rows by the names of their columns."""
        compiled = self.compiled(connection.dialect)
        cursor = connection.connection.cursor()
        try:
            cursor.execute(compiled.text, compiled.parameters(values))
            return [compiled.row(found) for found in cursor.fetchall()]
        finally:
            cursor.close()

    def first(self, connection: Connection, **values: object) -> Row | None:
        """Run it, and give its first row."""
        return next(iter(self.rows(connection, **values)), None)

    def scalar(self, connection: Connection, **values: object) -> Any:  # noqa: ANN401 whatever its column holds
        """Run it, and give the first column of its first row."""
        row = self.first(connection, **values)
        return None if row is None else next(iter(row.values()))

    def run(self, connection: Connection, *each: Mapping[str, object]) -> None:
        """Run it once with each of these parameters."""
        compiled = self.compiled(connection.dialect)
        cursor = connection.connection.cursor()
        try:
            for values in each:
                cursor.execute(compiled.text, compiled.parameters(values))
        finally:
            cursor.close()

    def compiled(self, dialect: Dialect) -> Compiled:
        """The statement as the driver of this dialect takes it."""
        name = f"{dialect.name}+{dialect.driver}"
        if name not in self._compiled:
            self._compiled[name] = _compile(self._statement, dialect)
        return self._compiled[name]


def _compile(statement: SelectBase | Insert | Update | Delete, dialect: Dialect) -> Compiled:
    compiled = statement.compile(dialect=dialect)
    bound = {name: parameter for parameter, name in compiled.bind_names.items()}
    to_database = {name: convert for name, each in bound.items() if (convert := _writer(each.type, dialect))}
    constants = {name: each.value for name, each in bound.items() if not each.required}
    selected = statement.selected_columns if isinstance(statement, SelectBase) else ()
    columns = [(each.name, _reader(each.type, dialect)) for each in selected]
    return Compiled(str(compiled), compiled.positiontup, to_database, constants, columns)


def _writer(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return kind.dialect_impl(dialect).bind_processor(dialect)


def _reader(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
