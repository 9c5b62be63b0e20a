"""The rows of a service's database, for tests that nothing changed."""

from typing import Any

from tests.support.harness import Running


def rows(house: Running, table: str) -> list[Any]:
    """Return a table's rows in the order of their first column."""
    with house.core.database.engine.connect() as connection:
        return list(connection.exec_driver_sql(f"SELECT * FROM {table} ORDER BY 1").mappings())


def everything(house: Running) -> list[Any]:
    """Return the rows of all studies, assignments and reports."""
    return [rows(house, name) for name in ("luthier_study", "luthier_assignment", "luthier_report")]
