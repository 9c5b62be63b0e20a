"""A statement that fails shows its values nowhere: not in the error, not in the log, not in the answer."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
import pytest
import sqlalchemy
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from luthier.studies.search.storage import close_storage, engine_of, open_storage
from tests.support.harness import Running, problem, spec

pytestmark = pytest.mark.both_databases
SECRET = "hunter2-hunter2"


def whole(error: BaseException) -> str:
    """All that a log shows of an error, with its causes."""
    return "".join(traceback.format_exception(error)) + repr(error)


@pytest.mark.parametrize("owner", ["ours", "optuna"])
def test_an_error_shows_the_statement_without_its_values(house: Running, owner: str) -> None:
    storage = open_storage(house.settings.sqlalchemy_url)
    engine: sqlalchemy.Engine = house.core.database.engine if owner == "ours" else engine_of(storage)
    values = {"name": SECRET, "long": SECRET * 50}
    try:
        for statement in (
            "INSERT INTO studies (study_id, study_name) VALUES (NULL, CAST(NULL AS VARCHAR) || :name || :long)",
            "INSERT INTO trials (trial_id, state) VALUES (NULL, :name || :long)",
            "INSERT INTO nowhere (a, b) VALUES (:name, :long)",
        ):
            with pytest.raises(SQLAlchemyError) as failed, engine.begin() as connection:
                connection.execute(text(statement), values)
                connection.execute(text("INSERT INTO studies (study_name) VALUES (NULL)"))
                connection.execute(text("INSERT INTO nowhere (a, b) VALUES (:name, :long)"), values)
            assert SECRET not in whole(failed.value)
            assert "INSERT INTO" in whole(failed.value)
    finally:
        close_storage(storage)


def test_a_row_that_is_refused_is_not_quoted(house: Running) -> None:
    house.create()
    with pytest.raises(SQLAlchemyError) as failed, house.core.database.transaction() as session:
        session.execute(text("UPDATE luthier_study SET name = :name, state = NULL"), {"name": SECRET})
    assert SECRET not in whole(failed.value)
    assert "state" in whole(failed.value)


@contextmanager
def renamed(house: Running, statement: str, before: str, after: str) -> Iterator[None]:
    """Rename something of the database for the block; other tests use the same tables."""
    engine = house.core.database.engine
    with engine.begin() as connection:
        connection.execute(text(statement.format(before, after)))
    yield
    with engine.begin() as connection:
        connection.execute(text(statement.format(after, before)))


def test_a_request_that_fails_on_its_statement_logs_no_values(house: Running, caplog: pytest.LogCaptureFixture) -> None:
    with renamed(house, "ALTER TABLE {} RENAME TO {}", "luthier_study", "elsewhere"):
        answer = house.client.post("/v1/studies", json=spec(SECRET, model=f"models/{SECRET}"))
    assert answer.status_code >= 500
    problem(answer, answer.status_code)
    assert SECRET not in answer.text
    assert "database" in caplog.text
    assert SECRET not in caplog.text


def test_optunas_own_errors_show_no_values(house: Running, caplog: pytest.LogCaptureFixture) -> None:
    storage = open_storage(house.settings.sqlalchemy_url)
    with renamed(house, "ALTER TABLE studies RENAME COLUMN {} TO {}", "study_name", "other_name"):
        with pytest.raises(Exception) as failed:  # noqa: PT011 - whatever Optuna makes of it
            optuna.create_study(study_name=SECRET, storage=storage)
        assert SECRET not in whole(failed.value)
        assert SECRET not in caplog.text
    close_storage(storage)
