"""Secrets planted in a real service are found nowhere but where they belong: no log, row, file, answer or process."""

import gzip
import io
import json
import os
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy

from tests.support.command_line import command_in
from tests.support.served import Served, descendants, environment, serving, spec
from tests.support.waiting import until

SECRETS = {
    "LUTHIER_TOKEN": "planted-user-token-7f31c9",
    "LUTHIER_WORKER_TOKEN": "planted-worker-token-8a42d0",
    "LUTHIER_WEBHOOK_SECRET": "planted-webhook-secret-9b53e1",
    "LUTHIER_WEBHOOK_URL": "http://hook-user:planted-hook-password-0c64f2@127.0.0.1:9/planted-hook-path-1d7503",
    "PGPASSWORD": "planted-pg-variable-2e8614",
    "HF_TOKEN": "hf_planted3f9725aaaaaaaaaaaaaaaaaaaaaaaa",
    "SOME_SERVICE_API_KEY": "planted-own-key-4a0836",
}
PASSWORD = "planted-database-password-5b1947"
WRONG = "planted-wrong-token-6c2a58"
PARTS = [
    *(value for name, value in SECRETS.items() if name != "LUTHIER_WEBHOOK_URL"),
    "planted-hook-password-0c64f2",
    "planted-hook-path-1d7503",
    PASSWORD,
]
INHERITED = ("HF_TOKEN", "SOME_SERVICE_API_KEY")  # of the user's environment: models of a hub need the one
Look = Callable[[str, bytes], None]


def unpacked(name: str, content: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield a file, and what is packed in it."""
    yield name, content
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
        yield f"{name} unpacked", content
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            for member in packed.namelist():
                yield f"{name}/{member}", packed.read(member)


def check(where: str, content: bytes, wanted: list[str]) -> None:
    for name, part in unpacked(where, content):
        found = [secret for secret in wanted if secret.encode() in part]
        assert not found, f"{name} holds {found}"


def check_files(folder: Path, *more: str) -> int:
    """Look at every file of a folder, hidden ones and the journals of databases too; return how many there were."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    for path in files:
        check(str(path), path.read_bytes(), [*PARTS, WRONG, *more])
    return len(files)


def check_rows(url: str) -> None:
    """Look at every row of every table of a database."""
    engine = sqlalchemy.create_engine(url)
    with engine.connect() as connection:
        tables = sqlalchemy.inspect(engine).get_table_names()
        assert "luthier_study" in tables
        for table in tables:
            rows = connection.exec_driver_sql(f'SELECT t::text FROM "{table}" t').scalars()
            check(table, "\n".join(rows).encode(), [*PARTS, WRONG])
    engine.dispose()


def check_processes(served: Served) -> None:
    """No command line holds a secret; no child that trains has the service's in its environment."""
    assert served.process is not None
    children = 0
    for pid, line in descendants(served.process.pid):
        check(f"command line of {pid}", line.encode(), PARTS)
        variables = Path(f"/proc/{pid}/environ").read_bytes()
        allowed = [SECRETS[name] for name in INHERITED]
        check(f"environment of {pid}", variables, [part for part in PARTS if part not in allowed])
        children += "luthier.trials.child" in line
    assert children, "no child was looked at"


@pytest.fixture
def guarded(tmp_path: Path, tiny: Path, postgres_url: Callable[[], str]) -> Iterator[Served]:
    """A service with a local worker on Postgres, whose URL holds a password."""
    url = sqlalchemy.make_url(postgres_url()).set(password=PASSWORD)
    more = SECRETS | {"LUTHIER_DATABASE_URL": url.set(drivername="postgresql").render_as_string(hide_password=False)}
    served = Served(environment(tmp_path / "home", tiny, **more))
    served.client.headers["Authorization"] = f"Bearer {SECRETS['LUTHIER_TOKEN']}"
    served.start()
    yield served
    assert served.process is not None
    if served.process.poll() is None:
        served.kill(signal.SIGTERM)
    served.client.close()


def wrong_tokens(served: Served) -> None:
    """Present a wrong token in every place where one could be."""
    for headers in ({"Authorization": f"Bearer {WRONG}"}, {"Authorization": WRONG}, {"Cookie": f"luthier={WRONG}"}):
        for path in ("/v1/studies", f"/v1/studies?token={WRONG}", f"/{WRONG}", f"/v1/worker/claim?t={WRONG}"):
            answer = served.client.get(path, headers={"Authorization": ""} | headers)
            assert answer.status_code in (401, 404, 405)
            assert WRONG not in answer.text
    for token in (WRONG, SECRETS["LUTHIER_WORKER_TOKEN"]):
        assert served.client.post("/login", data={"token": token}).status_code == 401
    assert served.client.get(f"/v1/studies?token={SECRETS['LUTHIER_TOKEN']}").status_code == 422


@pytest.mark.full
@pytest.mark.timeout(240)
def test_planted_secrets_are_found_nowhere(
    guarded: Served, tiny: Path, tmp_path: Path, postgres_url: Callable[[], str]
) -> None:
    wrong_tokens(guarded)
    guarded.client.post("/v1/studies", json=spec(tiny, "good", budget={"trials": 1})).raise_for_status()
    bad = spec(tiny, "bad", dataset={"source": str(tiny / "data.csv"), "columns": {"text": "none"}})
    guarded.client.post("/v1/studies", json=bad).raise_for_status()
    until(lambda: any("luthier.trials.child" in line for _, line in guarded.processes()), 60)
    check_processes(guarded)
    until(lambda: any(trial["values"] for trial in guarded.trials("good")), 90)
    for pid, line in guarded.processes():
        if "luthier.trials.child" in line:
            os.kill(pid, signal.SIGKILL)  # what its worker says of that is in a log
    assert guarded.ended("good")["state"] == "completed"
    assert guarded.ended("bad")["state"] == "failed"
    paths = ("", "/trials", "/trials/0", "/trials/0/logs", "/report", "/bundle", "/model", "/results")
    for path in ("/openapi.json", "/metrics", "/readyz", "/v1/workers", *(f"/v1/studies/good{path}" for path in paths)):
        answer = guarded.client.get(path)
        assert answer.is_success, (path, answer.text)
        check(path, answer.content, PARTS)
    for path in ("/", "/workers", "/studies/good", "/studies/bad", "/login"):
        check(path, guarded.client.get(path, headers={"Accept": "text/html"}).content, PARTS)
    assert check_files(tmp_path) > 5
    check_rows(guarded.environment["LUTHIER_DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://"))
    guarded.kill(signal.SIGTERM)
    assert check_files(tmp_path) > 5


@pytest.mark.full
@pytest.mark.timeout(180)
def test_a_run_and_a_back_up_hold_no_secret(tiny: Path, tmp_path: Path) -> None:
    """What `luthier run` prints and leaves, and a back-up of its home, with a token of a person made meanwhile."""
    home, target = tmp_path / "home", tmp_path / "backup"
    kept = {name: value for name, value in SECRETS.items() if name != "LUTHIER_TOKEN"}
    variables = environment(home, tiny, **kept)
    luthier = command_in(tmp_path)
    short = {"learning_rate": 1e-3, "epochs": 1}
    (tmp_path / "spec.yaml").write_text(json.dumps(spec(tiny, "run", space=short, budget={"trials": 1})))
    done = luthier("run", "spec.yaml", **variables)
    assert done.returncode == 0, done.stderr
    with serving(variables | SECRETS, SECRETS["LUTHIER_TOKEN"]) as served:
        token = served.client.post("/v1/tokens", json={"name": "anna", "scopes": ["read"]}).json()["secret"]
        saved = luthier("backup", target, **variables)
    assert saved.returncode == 0, saved.stderr
    check("output", (done.stdout + done.stderr + saved.stdout + saved.stderr).encode(), [*PARTS, token])
    assert check_files(tmp_path, token) > check_files(target, token) > 3


def test_commands_that_fail_print_no_secret(tmp_path: Path) -> None:
    """The database is away, the port is no port, the server is none: each is told without what is secret."""
    luthier = command_in(tmp_path)
    away = f"postgresql://luthier:{PASSWORD}@127.0.0.1:9/luthier"
    for arguments, changes in (
        (("serve", "--port", "0"), {"LUTHIER_DATABASE_URL": away}),
        (("serve", "--port", "0"), {"LUTHIER_DATABASE_URL": f"mysql://luthier:{PASSWORD}@127.0.0.1/x"}),
        (("list",), {"LUTHIER_SERVER": f"http://user:{PASSWORD}@127.0.0.1:9"}),
    ):
        done = luthier(*arguments, **{**SECRETS, **changes})
        assert done.returncode != 0
        check(" ".join(arguments), (done.stdout + done.stderr).encode(), PARTS)
    assert check_files(tmp_path) >= 0
