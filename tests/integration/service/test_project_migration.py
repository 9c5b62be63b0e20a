"""The migration to names within projects: every row stays, also where it is cut off."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy

from luthier.service.storage.database import Database
from luthier.service.storage.migrations import VERSION_TABLE, upgrade
from luthier.studies.search.storage import init_storage


@pytest.fixture
def database(empty_url: str) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.dispose()


def _filled(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """Put three rows into each of the service's tables, as they are now, and return all of them."""
    metadata = sqlalchemy.MetaData()
    metadata.reflect(database.engine, only=lambda name, _: name.startswith("luthier_") and name != VERSION_TABLE)
    with database.engine.begin() as connection:
        for table in metadata.sorted_tables:
            for number in (1, 2, 3):
                values = {
                    column.name: number if column.foreign_keys else _value(column, number)
                    for column in table.columns
                    if not (column.primary_key and isinstance(column.type, sqlalchemy.Integer) and column.name == "id")
                }
                connection.execute(table.insert().values(values))
        connection.exec_driver_sql("DELETE FROM luthier_study WHERE id = 3")
    return _rows(database, metadata)


def _value(column: sqlalchemy.Column[Any], number: int) -> object:
    kind = column.type
    if isinstance(kind, sqlalchemy.Boolean):
        return number == 2
    if isinstance(kind, sqlalchemy.Integer | sqlalchemy.Numeric | sqlalchemy.Float):
        return number
    return {"n": number} if isinstance(kind, sqlalchemy.JSON) else f"{column.name[:8]}-{number}"


def _rows(database: Database, metadata: sqlalchemy.MetaData) -> dict[str, list[tuple[object, ...]]]:
    """All rows of the service's tables, with the columns that they had when `metadata` was read."""
    with database.engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(sqlalchemy.select(table))), key=repr)
            for table in metadata.sorted_tables
        }


def test_names_become_unique_within_a_project_and_every_row_stays(database: Database) -> None:
    upgrade(database.engine, "0016")
    before = _filled(database)
    assert len(before) > 15
    assert len(before["luthier_report"]) == 2, "the third went with its study"
    metadata = sqlalchemy.MetaData()
    metadata.reflect(database.engine, only=lambda name, _: name in before)
    database.prepare()
    assert _rows(database, metadata) == before
    insert = sqlalchemy.text(
        "INSERT INTO luthier_study (name, project, state, spec, parallel, transient, created_at, hurry)"
        " VALUES ('name-1', :project, 'failed', '{}', 1, false, 1.0, false) RETURNING id"
    )
    with database.engine.begin() as connection:
        assert connection.scalar(insert, {"project": "other"}) == 4, "no id is given twice"
        connection.exec_driver_sql("DELETE FROM luthier_study WHERE id = 1")
        assert connection.exec_driver_sql("SELECT count(*) FROM luthier_assignment WHERE study_id = 1").scalar() == 0
    with pytest.raises(sqlalchemy.exc.IntegrityError), database.engine.begin() as connection:
        connection.execute(insert, {"project": "other"})
    database.dispose()


@pytest.mark.full
@pytest.mark.parametrize("at", ["DROP TABLE luthier_study", "ALTER TABLE _alembic_tmp_luthier_dataset RENAME"])
def test_a_migration_that_is_cut_off_has_changed_nothing(tmp_path: Path, at: str) -> None:
    """The files are copied in the middle: what a killed process, or a power cut, leaves."""
    home, left = tmp_path / "home", tmp_path / "left"
    database = Database(f"sqlite:///{home}/luthier.db")
    home.mkdir()
    init_storage(database.url)
    upgrade(database.engine, "0016")
    before = _filled(database)
    metadata = sqlalchemy.MetaData()
    metadata.reflect(database.engine, only=lambda name, _: name in before)

    def copy(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if statement.strip().startswith(at):
            shutil.copytree(home, left)

    sqlalchemy.event.listen(database.engine, "after_cursor_execute", copy)
    upgrade(database.engine)
    cut_off = Database(f"sqlite:///{left}/luthier.db")
    with cut_off.engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == "0016"
    assert _rows(cut_off, metadata) == before
    cut_off.prepare()
    assert _rows(cut_off, metadata) == before == _rows(database, metadata)
    cut_off.dispose()
    database.dispose()
