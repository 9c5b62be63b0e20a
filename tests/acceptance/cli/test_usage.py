"""What the command line says and how it exits when nothing runs yet: help, schema, bad specs, no service."""

import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from luthier import __version__
from luthier.service.cli import app
from luthier.service.cli.examples import EXAMPLES
from luthier.service.settings import Settings
from tests.support.command_line import SPEC, Luthier

NOUNS = "run plan serve worker create list get watch wait best pause resume stop cancel delete model schema"


def test_help_lists_every_command_and_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom luthier.service.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'optuna', 'sqlalchemy', 'fastapi', 'httpx', 'pandas'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in (*NOUNS.split(), "trials", "logs", "export"):
        assert f" {command} " in done.stdout


def test_serve_help_lists_every_setting_with_its_default(luthier: Luthier) -> None:
    printed = luthier("serve", "--help").stdout
    for name, field in Settings.model_fields.items():
        assert f"LUTHIER_{name.upper()}" in printed
        assert (field.description or "") in printed
    assert "luthier-data" in printed


def test_schema_describes_the_spec(luthier: Luthier) -> None:
    schema = json.loads(luthier("schema").stdout)
    assert {"name", "task"} <= set(schema["required"])
    assert {"model", "dataset"} == set(schema["else"]["required"])  # an external study has neither
    assert "learning_rate" in json.dumps(schema)


@pytest.mark.parametrize("command", [("run",), ("plan", "-f")])
def test_a_bad_spec_is_refused_with_every_path_before_anything_starts(
    luthier: Luthier, tmp_path: Path, command: tuple[str, ...]
) -> None:
    bad = SPEC.format(name="one").replace("low: 1e-5", "low: 1").replace("budget:", "bugdet: 1\nlora_rank: 8\nbudget:")
    (tmp_path / "bad.yaml").write_text(bad)
    done = luthier(*command, "bad.yaml")
    assert done.returncode == 2
    assert "space.learning_rate.low: must be at most high (0.001)" in done.stderr
    assert "bugdet: unknown key; did you mean budget?\n" in done.stderr
    assert "lora_rank: unknown key; hyperparameters stand in space" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "luthier-data").exists()


def test_a_data_set_that_does_not_exist_is_told_before_a_service_is_asked(luthier: Luthier) -> None:
    done = luthier("dataset", "upload", "nowhere.csv")
    assert (done.returncode, done.stderr) == (2, "nowhere.csv does not exist.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("retry", "one", "x"), "'N': must be a whole number"),
        (("extend", "one", "--trials", "0"), "'--trials': must be at least 1"),
        (("plot", "one", "pie", "-o", "a.png"), "'KIND': 'pie' is not one of 'history'"),
        (("schedule", "runs", "one", "-o", "pie"), "'pie' is not one of 'table'"),
    ],
)
def test_a_wrong_option_is_told_in_words_for_people(luthier: Luthier, arguments: tuple[str, ...], said: str) -> None:
    done = luthier(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not re.search("Input should|Value error", done.stderr)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "spec.yaml does not exist"),
        (
            b"name: [",
            "not valid YAML or JSON: line 2, column 1: a value is missing here, or a bracket is not",
        ),
        (b"name: \xe9t\xe9", "not UTF-8"),
        (b"just words", "a spec is a mapping"),
    ],
)
def test_a_file_that_is_no_spec_is_told_in_a_sentence(
    luthier: Luthier, tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "spec.yaml").write_bytes(content)
    done = luthier("run", "spec.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


WRONG = {
    "both columns": ("text: x, label: y", ("no columns 'x' for text and 'y' for label; its columns are a, b",)),
    "one column": ("text: a, label: y", ("dataset.columns.label: ", "no column 'y' for label")),
    "paths": (
        "",
        ("model: models/none is neither a folder on this worker nor", "dataset.source: data/none.csv does not exist"),
    ),
}


@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("command", [("run",), ("plan", "-f")])
def test_wrong_paths_and_columns_are_told_before_any_worker_starts(
    luthier: Luthier, tmp_path: Path, command: tuple[str, ...], fault: str
) -> None:
    columns, said = WRONG[fault]
    spec = SPEC.format(name="one")
    if columns:
        (tmp_path / "models" / "none").mkdir(parents=True)
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "none.csv").write_text("a,b\nlovely,joy\nawful,anger\n")
        spec = spec.replace("none.csv}", f"none.csv, columns: {{{columns}}}}}")
    (tmp_path / "spec.yaml").write_text(spec)
    done = luthier(*command, "spec.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    for part in said:
        assert part in done.stderr
    assert len(done.stderr.splitlines()) == (2 if fault == "paths" else 1)
    assert not (tmp_path / "luthier-data").exists()  # no service was started, and so no worker


def test_a_full_model_directory_is_refused_before_the_search(luthier: Luthier, tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(SPEC.format(name="one"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    done = luthier("run", "spec.yaml", "--model-dir", "mine")
    assert done.returncode == 2
    assert "mine exists and is not an empty directory" in done.stderr
    assert (tmp_path / "mine" / "thesis.txt").exists()
    assert not (tmp_path / "luthier-data").exists()


def test_no_service_is_a_sentence_with_the_url_and_the_cure(luthier: Luthier) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = luthier("list", "--server", url)
    assert done.returncode == 1
    assert done.stdout == ""
    assert url in done.stderr
    assert "luthier serve" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "http://[::1"])
def test_a_wrong_url_is_a_sentence(luthier: Luthier, url: str) -> None:
    done = luthier("list", "--server", url)
    assert done.returncode == 1
    assert url in done.stderr
    assert "Traceback" not in done.stderr


def test_the_version_is_told(luthier: Luthier) -> None:
    done = luthier("--version")
    assert (done.returncode, done.stdout.strip()) == (0, f"luthier {__version__}")


def test_each_command_shows_examples_that_it_would_take() -> None:
    command = typer.main.get_command(app)
    for name, lines in EXAMPLES.items():
        found: Any = command
        for word in name.split():
            found = found.commands[word]
        assert lines
        for line in lines:
            assert f"luthier {name}" in line
            assert line in found.epilog
            options = {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}
            arguments = line.partition(f"luthier {name}")[2].partition(" | ")[0].partition(" > ")[0].split()
            used = {word for word in arguments if re.fullmatch("--?[a-z][a-z-]*", word)}
            assert used <= options | {"--help"} or name == "worker", line


def test_wrong_usage_exits_2(luthier: Luthier) -> None:
    assert luthier("get").returncode == 2
    assert luthier("list", "-o", "xml").returncode == 2
    assert luthier("frobnicate").returncode == 2


def test_wrong_settings_are_told_by_their_variable(luthier: Luthier) -> None:
    done = luthier("serve", LUTHIER_PORT="many")
    assert done.returncode == 2
    assert "LUTHIER_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_serve_refuses_other_machines_without_a_token(luthier: Luthier) -> None:
    done = luthier("serve", "--host", "0.0.0.0", "--port", 0)
    assert done.returncode == 2
    assert "LUTHIER_TOKEN" in done.stderr
    assert "Traceback" not in done.stderr


def test_worker_becomes_the_workers_own_program(luthier: Luthier) -> None:
    done = luthier("worker", "--server", "nonsense")
    assert done.returncode == 2
    assert "python -m luthier.trials" in done.stderr
    assert "nonsense is not a URL" in done.stderr


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("mysql://me:hidden-word@host/db", "LUTHIER_DATABASE_URL: must be postgresql://"),
        ("postgresql://me:hidden-word@127.0.0.1:1/db", "me:***@127.0.0.1:1/db cannot be used: connection failed"),
        ("sqlite:////proc/none/luthier.db", "sqlite:////proc/none/luthier.db cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_told_in_a_sentence(luthier: Luthier, url: str, words: str) -> None:
    done = luthier("serve", "--port", "0", LUTHIER_DATABASE_URL=url)
    assert done.returncode == 2
    assert words in done.stderr
    assert "hidden-word" not in done.stderr
    assert "Traceback" not in done.stderr
