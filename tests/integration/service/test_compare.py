"""`luthier compare` puts studies and trials side by side, in each form that lists have."""

import csv
import io
import json
from collections.abc import Callable, Iterator

import pytest

from luthier.service.cli import app
from luthier.service.cli.connect import CommandError
from luthier.service.client import ServiceError
from tests.support.harness import Running, running

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with two studies that have ended, and one without a trial."""
    with running(tmp_path_factory.mktemp("home"), None) as house:
        house.finished("one", budget={"trials": 2})
        house.finished("two", budget={"trials": 1}, seed=7)
        house.create("new")
        yield house


@pytest.fixture
def printed(house: Running, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def compare(*arguments: str) -> str:
        app(["compare", *arguments, "--server", house.url], standalone_mode=False)
        return capsys.readouterr().out

    return compare


def rows(text: str) -> dict[str, list[str]]:
    """Return a printed table's rows by their first cells; cells are two spaces or more apart."""
    lines = [[cell for cell in line.split("  ") if cell.strip()] for line in text.splitlines() if line.strip()]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_studies_are_compared_by_their_best_trials(house: Running, printed: Callable[..., str]) -> None:
    told = rows(printed("one", "two"))
    best = house.study("one")["best"], house.study("two")["best"]
    assert told["state"] == ["completed", "completed"]
    assert told["trial"] == [str(one["trial"]) for one in best]
    assert told["accuracy on validation"] == [f"{one['value']:.4f}" for one in best]
    assert told["seed"] == ["0", "7"]
    assert told["budget.trials"] == ["2", "1"]
    assert "task" not in told
    assert rows(printed("one", "two", "--all"))["task"] == ["text-classification"] * 2


def test_trials_of_a_study_are_compared(house: Running, printed: Callable[..., str]) -> None:
    told = rows(printed("one/0", "one/1"))
    params = [trial["params"] for trial in house.trials("one")]
    assert told["trial"] == ["0", "1"]
    assert told["learning_rate"] == [f"{values['learning_rate']:.4g}" for values in params]
    assert "budget.trials" not in told


def test_a_comparison_is_printed_for_programs(house: Running, printed: Callable[..., str]) -> None:
    both = ("one", "two/0")
    assert printed(*both, "-o", "name").split() == ["one", "two/0"]
    sides = json.loads(printed(*both, "-o", "json"))
    assert printed(*both, "-o", "value").split() == [repr(side["value"]) for side in sides]
    for form, separator in (("csv", ","), ("tsv", "\t")):
        read = list(csv.DictReader(io.StringIO(printed(*both, "-o", form)), delimiter=separator))
        assert [(row["name"], row["trial"], row["spec.seed"]) for row in read] == [
            ("one", str(sides[0]["trial"]), "0"),
            ("two/0", "0", "7"),
        ]
        assert [float(row["params.learning_rate"]) for row in read] == [s["params"]["learning_rate"] for s in sides]


def test_a_study_without_a_score_has_empty_cells(printed: Callable[..., str]) -> None:
    told = rows(printed("new", "one"))
    assert (told["state"], told["trial"][0]) == (["queued", "completed"], "-")


@pytest.mark.parametrize(
    ("names", "said"),
    [(["one"], "Name two or more"), (["one", "one"], "Name two or more"), (["one", "two/x"], "two/x: a trial is")],
)
def test_what_cannot_be_compared_is_a_sentence(names: list[str], said: str) -> None:
    with pytest.raises(CommandError, match=f"^{said}") as refused:
        app(["compare", *names], standalone_mode=False)
    assert refused.value.code == 2


def test_an_unknown_study_or_trial_is_told(printed: Callable[..., str]) -> None:
    for name in ("onne", "one/99"):
        with pytest.raises(ServiceError) as refused:
            printed("two", name)
        assert refused.value.status == 404
