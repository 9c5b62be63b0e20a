"""`luthier schedule ...` against a real service."""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from luthier.service.cli.schedules import sparkline
from tests.support.command_line import Luthier
from tests.support.harness import Running, running
from tests.support.nightly import BETTER, Nightly, schedule


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with a schedule that has promoted once."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        it = Nightly(house, house.worker())
        it.run("a")
        it.worker.comparison = BETTER
        it.run("b")
        yield house


@pytest.fixture
def command(luthier: Luthier, house: Running) -> Callable[..., str]:
    """The standard output of `luthier schedule ...`, which must succeed."""

    def run(*arguments: object, stdin: str = "") -> str:
        done = luthier("schedule", *arguments, stdin=stdin, LUTHIER_SERVER=house.url)
        assert done.returncode == 0, done.stderr
        return str(done.stdout)

    return run


def test_it_is_shown_with_its_runs_and_its_score_over_time(command: Callable[..., str]) -> None:
    shown = command("get", "nightly")
    assert "promoted" in shown
    assert "first" in shown
    assert "▁█ 0.7500 to 0.9000" in shown
    assert "next (UTC)" in shown
    assert json.loads(command("get", "nightly", "-o", "json"))["champion"]["test"]["accuracy"] == 0.75
    (listed,) = yaml.safe_load(command("list", "-o", "yaml"))
    assert listed["name"] == "nightly"
    assert "nightly" in command("list")
    assert [run["outcome"] for run in json.loads(command("runs", "nightly", "-o", "json"))] == ["promoted", "first"]


def test_one_is_made_changed_paused_and_deleted(command: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "weekly.yaml").write_text(yaml.safe_dump(schedule(name="weekly", cron="@weekly")))
    assert json.loads(command("create", "-f", "weekly.yaml", "-o", "json"))["state"] == "active"
    assert json.loads(command("pause", "weekly", "-o", "json"))["state"] == "paused"
    assert json.loads(command("resume", "weekly", "-o", "json"))["state"] == "active"
    changed = json.loads(command("update", "weekly", "-f", "-", "-o", "json", stdin="keep_runs: 3\n"))
    assert changed["spec"]["keep_runs"] == 3
    command("delete", "weekly")
    assert "weekly" not in command("list")


def test_the_champion_is_downloaded_and_rolled_back(command: Callable[..., str], tmp_path: Path) -> None:
    command("model", "nightly", "-o", "in-use")
    now = json.loads((tmp_path / "in-use" / "luthier.json").read_text())["study"]
    before = json.loads(command("rollback", "nightly", "-o", "json"))["champion"]["study"]
    command("model", "nightly", "-o", "before")
    assert json.loads((tmp_path / "before" / "luthier.json").read_text())["study"] == before != now


def test_one_is_triggered(luthier: Luthier, house: Running) -> None:
    def trigger() -> "subprocess.CompletedProcess[str]":
        return luthier("schedule", "trigger", "nightly", "-o", "json", LUTHIER_SERVER=house.url)

    done = trigger()
    if "try again in a second" in done.stderr:  # a due time of this schedule lies within this second
        house.move_clock(1.1)
        done = trigger()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trigger"] == "manual"


def test_what_is_wrong_is_told_with_its_path(luthier: Luthier, house: Running) -> None:
    bad = yaml.safe_dump(schedule(name="bad", cron="no", timezone="Mars/Olympus"))
    done = luthier("schedule", "create", "-f", "-", stdin=bad, LUTHIER_SERVER=house.url)
    assert done.returncode == 2
    assert "cron: " in done.stderr
    assert "timezone: " in done.stderr
    missing = luthier("schedule", "get", "nobody", LUTHIER_SERVER=house.url)
    assert missing.returncode == 1
    assert "no schedule named nobody" in missing.stderr
    none = luthier("schedule", "update", "nightly", "-f", "-", stdin="- 1", LUTHIER_SERVER=house.url)
    assert none.returncode == 2
    assert "mapping" in none.stderr


def test_its_schema_is_printed(luthier: Luthier) -> None:
    assert "cron" in json.loads(luthier("schedule", "schema").stdout)["properties"]


def test_a_sparkline() -> None:
    assert sparkline([0.5, 0.75, 1.0]) == "▁▅█"
    assert sparkline([0.7]) == "▁"
