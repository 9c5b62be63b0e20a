"""Names for the shell's completion (`luthier show <TAB>`): those of the service, or of this home; or nothing.

A shell waits for it at each TAB. So nothing slow is imported, it takes LIMIT_SECONDS at most, and each failure is
silent. It only reads. `--server` or LUTHIER_SERVER is asked; without one the database of LUTHIER_HOME, and where there
is none the service at the usual address.
"""

import json
import os
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import typer

from luthier.service.caller import DEFAULT_PROJECT

LIMIT_SECONDS = 0.4
MOST = 100  # names that are shown
MOST_BYTES = 2**23  # of an answer
HOME = "luthier-data"  # as the settings have it, which are imported later
USUAL = "http://127.0.0.1:8000"
SQLITE = "sqlite:///"


def study_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the studies whose names begin so, the newest first."""
    sql = "SELECT name FROM luthier_study WHERE project = ? AND NOT transient AND name LIKE ? || '%' "
    sql += "ORDER BY id DESC LIMIT ?"
    path = f"/v1/studies?limit={MOST}&search={quote(incomplete)}"
    return _names(ctx, incomplete, path, "name", sql, (_project(ctx) or DEFAULT_PROJECT, incomplete))


def trial_numbers(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the numbers of a study's trials that begin so, the newest first."""
    return _trial_numbers(ctx, str(ctx.params.get("name") or ""), incomplete)


def _trial_numbers(ctx: typer.Context, study: str, incomplete: str) -> list[str]:
    path = f"/v1/studies/{quote(study, safe='')}/trials?sort=-number&limit={MOST}"
    sql = (
        "SELECT number FROM luthier_assignment WHERE kind = 'train' AND NOT deleted AND number LIKE ? || '%' "
        "AND study_id = (SELECT id FROM luthier_study WHERE project = ? AND name = ?) ORDER BY number DESC LIMIT ?"
    )
    return _names(ctx, incomplete, path, "number", sql, (incomplete, _project(ctx) or DEFAULT_PROJECT, study))


def study_or_trial(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the studies whose names begin so; behind a slash the numbers of the study's trials."""
    study, slash, number = incomplete.partition("/")
    if not slash:
        return study_names(ctx, incomplete)
    return [f"{study}/{found}" for found in _trial_numbers(ctx, study, number)]


def schedule_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the schedules whose names begin so."""
    sql = "SELECT name FROM luthier_schedule WHERE project = ? AND name LIKE ? || '%' ORDER BY name LIMIT ?"
    values = (_project(ctx) or DEFAULT_PROJECT, incomplete)
    return _names(ctx, incomplete, f"/v1/schedules?limit={MOST}", "name", sql, values)


def project_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the projects whose names begin so."""
    sql = "SELECT name FROM luthier_project WHERE name LIKE ? || '%' ORDER BY name LIMIT ?"
    return _names(ctx, incomplete, f"/v1/projects?limit={MOST}", "name", sql, (incomplete,))


def dataset_ids(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the ids of the uploaded data sets that begin so."""
    sql = "SELECT digest FROM luthier_dataset WHERE project = ? AND digest LIKE ? || '%' LIMIT ?"
    values = (_project(ctx) or DEFAULT_PROJECT, incomplete)
    return _names(ctx, incomplete, f"/v1/datasets?limit={MOST}", "id", sql, values)


def _project(ctx: typer.Context) -> str | None:
    """Return the project that the command line, or else the environment, names."""
    return ctx.params.get("project") or os.environ.get("LUTHIER_PROJECT")


def _names(ctx: typer.Context, incomplete: str, path: str, field: str, sql: str, values: tuple[str, ...]) -> list[str]:
    """Return names by the route of a service, or by a query of this home's database."""
    server = ctx.params.get("server") or os.environ.get("LUTHIER_SERVER")
    token = ctx.params.get("token") or os.environ.get("LUTHIER_TOKEN")
    project = _project(ctx)
    database = None if server else _database()
    if project:
        path += f"{'&' if '?' in path else '?'}project={quote(project)}"
    found = _in_time(
        lambda: _asked(server or USUAL, token, path, field) if database is None else _read(database, sql, values)
    )
    return [name for name in found if name.startswith(incomplete)]


def _in_time(look: Callable[[], list[str]]) -> list[str]:
    """Return what a look finds; nothing where it fails or takes too long."""
    found: list[str] = []

    def run() -> None:
        try:
            found.extend(look())
        except Exception:  # whatever is wrong, the shell shows no names
            return

    thread = threading.Thread(target=run, name="completion", daemon=True)
    thread.start()
    thread.join(LIMIT_SECONDS)
    return list(found)


def _database() -> Path | None:
    """Return the file of this home's database; None where there is none, or it is Postgres."""
    url = os.environ.get("LUTHIER_DATABASE_URL")
    if url:
        file = Path(url.removeprefix(SQLITE)) if url.startswith(SQLITE) else None
    else:
        file = Path(os.environ.get("LUTHIER_HOME") or HOME, "luthier.db")
    return file if file is not None and file.is_file() else None


def _read(database: Path, sql: str, values: tuple[str, ...]) -> list[str]:
    import sqlite3

    uri = f"file:{quote(str(database.absolute()))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=LIMIT_SECONDS / 2)) as connection:
        return [str(name) for (name,) in connection.execute(sql, (*values, MOST))]


def _asked(server: str, token: str | None, path: str, field: str) -> list[str]:
    import http.client

    url = urlsplit(server)
    if url.scheme == "https":
        from luthier.studies.reach import Way

        tls = Way.to(server).tls()
        connection: Any = http.client.HTTPSConnection(url.netloc, timeout=LIMIT_SECONDS, context=tls)
    else:
        connection = http.client.HTTPConnection(url.netloc, timeout=LIMIT_SECONDS)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with closing(connection):
        connection.request("GET", f"{url.path.rstrip('/')}{path}", headers=headers)
        answer: Any = json.loads(connection.getresponse().read(MOST_BYTES))
    return [str(item[field]) for item in answer["items"]]
