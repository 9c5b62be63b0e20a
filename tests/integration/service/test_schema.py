"""The database's schema: made once, migrated, and never touched by an older version."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.orm.attributes import flag_modified

from luthier.service.storage import access_tables, schedule_tables, service_tables, share_tables
from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.database import Database
from luthier.service.storage.earlier import EarlierWinner
from luthier.service.storage.migrations import VERSION_TABLE, NewerSchema, runner, upgrade
from luthier.service.storage.table_base import Base
from luthier.service.storage.tables import AssignmentRow, StudyRow
from luthier.studies.wire import FileRef
from tests.support.harness import spec

DECLARED = (access_tables, schedule_tables, service_tables, share_tables)  # importing them fills `Base.metadata`


@pytest.fixture
def database(empty_url: str, tmp_path: Path) -> Iterator[Database]:
    database = Database(empty_url)
    yield database
    database.dispose()


def test_the_migrations_make_what_the_code_expects(database: Database) -> None:
    database.prepare()
    with database.engine.connect() as connection:
        options = {
            "version_table": VERSION_TABLE,
            "include_name": lambda name, kind, _: kind != "table" or str(name).startswith("luthier_"),
            "compare_server_default": True,
        }
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []
        tables = set(sqlalchemy.inspect(connection).get_table_names())
    assert {"studies", "trials", "alembic_version", "luthier_study", VERSION_TABLE} <= tables
    database.dispose()


def test_a_server_that_does_not_answer_yet_is_waited_for(
    postgres_url: Callable[[], str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = sqlalchemy.make_url(postgres_url())
    later = tmp_path / "later"  # where its socket will lie
    database = Database(url.update_query_dict({"host": str(later)}).render_as_string(hide_password=False))
    began = time.monotonic()
    with pytest.raises(sqlalchemy.exc.OperationalError):
        database.wait(0)
    assert time.monotonic() - began < 5
    up = threading.Timer(0.3, lambda: later.symlink_to(str(url.query["host"])))
    up.start()
    database.wait(30)
    assert later.exists()
    assert time.monotonic() - began < 15
    assert [message.partition(" (")[0] for message in caplog.messages] == ["The database does not answer yet"]
    database.dispose()
    up.join()
    database.dispose()


def test_preparing_twice_changes_nothing(database: Database) -> None:
    database.prepare()
    with database.engine.begin() as connection:
        insert = "INSERT INTO luthier_worker (name, device, version, seen_at)"
        connection.exec_driver_sql(f"{insert} VALUES ('w', 'cpu', '', 1.0)")
    database.prepare()
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT name FROM luthier_worker").scalar() == "w"
    database.dispose()


def test_what_is_up_to_date_is_known_without_alembic(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(runner.VERSIONS.parent))
    assert ScriptDirectory.from_config(config).get_current_head() == runner.newest()
    assert not runner.is_up_to_date(database.engine)
    upgrade(database.engine, "0001")
    assert not runner.is_up_to_date(database.engine)
    database.prepare()
    assert runner.is_up_to_date(database.engine)
    database.dispose()


def test_what_an_older_version_stored_is_kept(database: Database) -> None:
    first = "0001"
    upgrade(database.engine, first)
    with database.engine.begin() as connection:
        study = "name, state, spec, parallel, transient, created_at, hurry"
        document = json.dumps(spec(), separators=(",", ":")).replace("'", "''")
        connection.exec_driver_sql(
            f"INSERT INTO luthier_study ({study}) VALUES ('s1', 'running', '{document}', 1, false, 1.0, false)"
        )
    database.prepare()
    with database.reading() as session:
        row = session.scalars(sqlalchemy.select(StudyRow)).one()
        assert row.spec.resources.gpus is None
        assert row.micro_batch is None
        assert row.spec.name == "s1"
    database.dispose()


def test_a_measured_test_split_counts_as_one_look(database: Database) -> None:
    upgrade(database.engine, "0006")
    document = json.dumps(spec(), separators=(",", ":")).replace("'", "''")
    columns = "name, state, spec, parallel, transient, created_at, hurry, test"
    with database.engine.begin() as connection:
        for name, test in (("measured", """'{"accuracy": 0.5}'"""), ("not", "NULL")):
            values = f"'{name}', 'completed', '{document}', 1, false, 1.0, false, {test}"
            connection.exec_driver_sql(f"INSERT INTO luthier_study ({columns}) VALUES ({values})")
    database.prepare()
    with database.reading() as session:
        rows = session.scalars(sqlalchemy.select(StudyRow).order_by(StudyRow.id)).all()
        assert [row.test_looks for row in rows] == [1, 0]
        assert [(row.idle_seconds, row.first_budget) for row in rows] == [(0.0, None)] * 2
    database.dispose()


def test_a_model_that_an_older_version_kept_is_its_trials(database: Database) -> None:
    """An extended study's model lies with an evaluation; which trial it is of follows from that one's configuration."""
    upgrade(database.engine, "0014")
    document = json.dumps(spec(), separators=(",", ":")).replace("'", "''")
    columns = "name, state, spec, parallel, transient, created_at, hurry, winner, model"
    needed = "study_id, kind, number, state, params, seed, created_at, attempt, losses, seconds_before, seconds, step"
    rows = [("train", 0, 1, 5), ("train", 1, 2, 5), ("train", 2, 2, 7), ("evaluate", -1, 2, 7), ("evaluate", 0, 1, 5)]
    file = f'"name": "model.tar.gz", "sha256": "{"a" * 64}", "bytes": 9'
    with database.engine.begin() as connection:
        for name, winner, assignment in (("extended", "NULL", 4), ("measured", "0", 6), ("unknown", "1", 15)):
            model = f'{{{file}, "assignment": {assignment}}}'
            values = f"'{name}', 'running', '{document}', 1, false, 1.0, false, {winner}, '{model}'"
            connection.exec_driver_sql(f"INSERT INTO luthier_study ({columns}) VALUES ({values})")
        for study, kinds in ((1, rows), (2, rows), (3, [*rows[:4], ("evaluate", -2, 3, 9)])):
            for kind, number, depth, seed in kinds:
                values = (
                    f"{study}, '{kind}', {number}, 'complete', '{{\"depth\": {depth}}}', {seed}, 1.0, 1, 0, 0, 0, 3"
                )
                connection.exec_driver_sql(
                    f"INSERT INTO luthier_assignment ({needed}, resume_step) VALUES ({values}, 3)"
                )
    database.prepare()
    with database.reading() as session:
        rows_after = session.scalars(sqlalchemy.select(StudyRow).order_by(StudyRow.id)).all()
        assert [row.earlier for row in rows_after] == [EarlierWinner(trial=2), None, EarlierWinner(trial=None)]
    database.dispose()


def _stored_files(database: Database) -> list[tuple[object, ...]]:
    """The columns that name files, as the database has them."""
    models = "SELECT CAST(model AS TEXT) FROM luthier_study"
    files = "SELECT CAST(best AS TEXT), CAST(resume AS TEXT) FROM luthier_assignment ORDER BY number"
    with database.engine.connect() as connection:
        return [tuple(row) for query in (models, files) for row in connection.exec_driver_sql(query)]


def test_files_stay_stored_as_they_were(database: Database) -> None:
    """Rows written before the columns had a type are read with one, and written in the same bytes."""
    database.prepare()
    digest = "a" * 64
    best = f'{{"name": "best-2", "sha256": "{digest}", "bytes": 5}}'
    resume = f'{{"name": "resume-3", "sha256": "{digest}", "bytes": 7}}'
    model = f'{{"name": "model.tar.gz", "sha256": "{digest}", "bytes": 9, "assignment": 1}}'
    document = json.dumps(spec(), separators=(",", ":")).replace("'", "''")
    study = "name, state, spec, parallel, transient, created_at, hurry, model"
    assignment = (
        "study_id, kind, number, state, params, seed, created_at, attempt, losses, seconds_before, seconds, step,"
        " resume_step, best, resume"
    )
    with database.engine.begin() as connection:
        connection.exec_driver_sql(
            f"INSERT INTO luthier_study ({study})"
            f" VALUES ('s1', 'running', '{document}', 1, false, 1.0, false, '{model}')"
        )
        for number, files in enumerate((f"'{best}', '{resume}'", "NULL, NULL")):
            connection.exec_driver_sql(
                f"INSERT INTO luthier_assignment ({assignment})"
                f" VALUES (1, 'train', {number}, 'complete', '{{}}', 1, 1.0, 1, 0, 0, 0, 3, 3, {files})"
            )

    before = _stored_files(database)
    assert before == [(model,), (best, resume), (None, None)]
    with database.transaction() as session:
        row = session.scalars(sqlalchemy.select(StudyRow)).one()
        assert row.model == StoredModel(name="model.tar.gz", sha256=digest, bytes=9, assignment=1)
        assert row.model.file == FileRef(name="model.tar.gz", sha256=digest, bytes=9)
        first, second = session.scalars(sqlalchemy.select(AssignmentRow).order_by(AssignmentRow.number))
        assert first.best == FileRef(name="best-2", sha256=digest, bytes=5)
        assert first.resume == FileRef(name="resume-3", sha256=digest, bytes=7)
        assert second.best is None
        assert second.resume is None
        for changed, name in ((row, "model"), (first, "best"), (first, "resume"), (second, "best")):
            flag_modified(changed, name)
    assert _stored_files(database) == before
    refused = pytest.raises(sqlalchemy.exc.StatementError, match="holds FileRef, not StoredModel")
    with refused, database.transaction() as session:
        session.get_one(AssignmentRow, 1).best = row.model
    database.dispose()


def test_many_may_prepare_at_once(empty_url: str) -> None:
    errors: list[BaseException] = []

    def prepare() -> None:
        database = Database(empty_url)
        try:
            database.prepare()
        except BaseException as error:
            errors.append(error)
        finally:
            database.dispose()

    threads = [threading.Thread(target=prepare) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_newer_schema_is_left_alone(database: Database) -> None:
    database.prepare()
    with database.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(NewerSchema, match=r"schema 9999.*newer one wrote it"):
        database.prepare()
    with database.engine.connect() as connection:
        assert connection.exec_driver_sql(f"SELECT version_num FROM {VERSION_TABLE}").scalar() == "9999"
    database.dispose()
