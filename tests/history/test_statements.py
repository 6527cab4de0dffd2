from __future__ import annotations

import re

import pytest
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from flux2_mcp.history import queries
from flux2_mcp.history.statements import Statement

STATEMENTS = {name: each for name, each in vars(queries).items() if isinstance(each, Statement)}


@pytest.mark.parametrize("name", STATEMENTS)
def test_a_statement_takes_the_same_parameters_on_every_database(name: str) -> None:
    """By name on PostgreSQL, and in their order on SQLite; what is the same at each use is known beforehand."""
    statement = STATEMENTS[name]
    here = statement.compiled(SQLiteDialect_pysqlite())
    there = statement.compiled(PGDialect_psycopg())

    named = set(re.findall(r"%\((\w+)\)s", there.text))
    assert here.names is not None
    assert there.names is None
    assert here.text.count("?") == len(here.names)
    assert set(here.names) >= here.constants.keys()
    assert named >= there.constants.keys()
    assert set(here.names) - here.constants.keys() == named - there.constants.keys()
