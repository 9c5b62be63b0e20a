"""What the terminal says of how exact a winner's scores are: at the end of `run`, in `get` and in `best`."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from luthier.service.cli.noise import noise_facts, with_error
from luthier.service.cli.progress import results
from luthier.service.cli.study_tables import studies_table, study_facts
from luthier.service.schemas import BaselineView, BestView, Counts, StudyView
from luthier.studies.protocol import StudyState
from luthier.studies.spec import StudySpec
from tests.support.specs import document

NOTE = "The gain over the baseline, trial 0, is within the noise and may be chance."
INTERVAL = {"low": 0.6, "high": 0.86, "level": 0.95, "method": "wilson"}
GAIN = {"value": 0.05, "split": "test", "examples": 1200, "p_value": 0.34, "test": "mcnemar", "is_noise": True}


def study(**best: Any) -> StudyView:
    return StudyView(
        name="s1",
        state=StudyState.COMPLETED,
        created_at=datetime.now(UTC),
        spec=StudySpec.model_validate(document()).model_dump(mode="json"),
        counts=Counts(complete=2),
        best=BestView(trial=1, value=0.8, params={}, test={"accuracy": 0.75}, **best),
        baseline=BaselineView(trial=0, value=0.7, test={"accuracy": 0.7}),
    )


MEASURED = {"standard_error": 0.0213, "interval": INTERVAL, "gain": GAIN | {"interval": INTERVAL}, "note": NOTE}


def test_it_is_told_in_rows() -> None:
    found = noise_facts(study(**MEASURED))
    assert found == {
        "interval": "accuracy on test, 95% interval 0.6000 to 0.8600",
        "baseline's test": "accuracy 0.7000",
        "gain": "+0.0500 accuracy on 1,200 test examples, 95% interval +0.6000 to +0.8600",
        "note": NOTE,
    }
    best = study(**MEASURED).best
    assert best is not None
    assert with_error(best) == "0.8000 ± 0.0213"


def test_a_study_without_has_the_rows_that_it_had() -> None:
    plain = study()
    assert plain.baseline is not None
    plain.baseline.test = None
    assert noise_facts(plain) == {"note": None}
    assert plain.best is not None
    assert with_error(plain.best) == "0.8000"
    plain.best = None
    assert noise_facts(plain) == {}
    same = study()
    assert same.best is not None
    same.best.trial = 0
    assert "baseline's test" not in noise_facts(same), "it is the winner's"


@pytest.mark.parametrize("command", ["run", "get", "best"])
def test_every_command_says_it(command: str) -> None:
    view = study(**MEASURED)
    tables = results(view, [], None) if command == "run" else [study_facts(view, only_best=command == "best")]
    console = Console(width=200)
    with console.capture() as capture:
        for one in tables:
            console.print(one)
    text = capture.get()
    assert NOTE in text
    assert "± 0.0213" in text
    assert "95% interval 0.6000 to 0.8600" in text


def test_a_list_of_studies_has_the_heads_of_their_warnings() -> None:
    warned = study().model_copy(
        update={"warnings": ["It is no better than 'a': it has 0.5. Look at it.", "A disk is full."]}
    )
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(studies_table([warned]))
    assert "It is no better than 'a'; A disk is full." in console.export_text()
    assert "Look at it." not in console.export_text()
