"""Files of the working directory are data: none is imported by `serve`, `run`, `plan`, `worker` or what they start."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import COMMAND
from tests.support.external_workers import external_worker
from tests.support.served import Served, environment, spec

# Modules of the standard library, of the packages that a service or a worker uses, and names that users give.
STANDARD = ("random", "json", "csv", "typing_extensions", "sitecustomize", "usercustomize")
WORKERS = ("torch", "numpy", "datasets", "transformers", "tokenizers", "safetensors", "evaluate")
SERVICES = ("optuna", "uvicorn", "fastapi", "httpx", "pydantic", "sqlalchemy", "alembic")
OWN = ("service", "studies", "trials")


@pytest.fixture
def hostile(tmp_path: Path, tiny: Path) -> Path:
    """A working directory full of modules that say that they were imported, with a spec."""
    folder = tmp_path / "work"
    folder.mkdir()
    imported = f"open({str(folder / 'IMPORTED')!r}, 'a').write(__name__ + ' ')\nraise SystemExit('hostile')\n"
    for name in (*STANDARD, *WORKERS, *SERVICES, *OWN, "luthier"):
        (folder / f"{name}.py").write_text(imported)
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(imported)
    (folder / "study.json").write_text(json.dumps(spec(tiny, "amid", budget={"trials": 2})))
    return folder


def test_run_and_plan_import_none(hostile: Path, tmp_path: Path, tiny: Path) -> None:
    for arguments in (["plan", "-f", "study.json"], ["run", "study.json", "--json"]):
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=hostile,
            env=environment(tmp_path / "home", tiny),
            capture_output=True,
            text=True,
            timeout=110,
        )
        assert done.returncode == 0, done.stderr
    assert not (hostile / "IMPORTED").exists()


def test_serve_and_worker_import_none(hostile: Path, tmp_path: Path, tiny: Path) -> None:
    served = Served(environment(tmp_path / "home", tiny, LUTHIER_FLEET="none"), cwd=hostile)
    served.start()
    try:
        with external_worker(served, hostile):
            served.client.post("/v1/studies", content=(hostile / "study.json").read_bytes()).raise_for_status()
            assert served.ended("amid")["state"] == "completed"
    finally:
        served.kill()
        served.client.close()
    assert not (hostile / "IMPORTED").exists()


def test_a_script_beside_folders_of_ones_own_imports_the_client(tmp_path: Path) -> None:
    for name in OWN:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("MINE = True\n")
    (tmp_path / "mine.py").write_text(
        "import service, studies, trials\n"
        "from luthier import Client, ServiceError\n"
        "assert service.MINE and studies.MINE and trials.MINE\n"
        "try:\n    Client('http://127.0.0.1:9').get('s')\n"
        "except ServiceError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "mine.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No service can be reached at http://127.0.0.1:9")
