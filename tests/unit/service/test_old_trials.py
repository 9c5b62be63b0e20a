"""Csv files of old trials, as they become a part of a spec."""

from pathlib import Path
from typing import Any

import pytest

from luthier.service.client.old_trials import BadTrials, read_trials, with_file_read
from luthier.service.client.rows import sheet
from luthier.service.schemas import StepView, TrialView
from luthier.studies.origin import MOST_GIVEN
from luthier.studies.protocol import TrialState


def written(folder: Path, text: str) -> Path:
    file = folder / "trials.csv"
    file.write_text(text, encoding="utf-8")
    return file


def test_what_export_writes_is_read_the_best_first(tmp_path: Path) -> None:
    params: list[dict[str, Any]] = [
        {"learning_rate": 1e-05, "batch_size": 8, "optimizer": "sgd"},
        {"learning_rate": 0.0003, "batch_size": 16, "lora_targets": "q_lin,v_lin"},
        {"learning_rate": 1.0, "batch_size": 32},
        {"learning_rate": 2.0, "batch_size": 32},
    ]
    ends = [(TrialState.COMPLETE, 0.5), (TrialState.COMPLETE, 0.7), (TrialState.PRUNED, 0.9), (TrialState.FAILED, None)]
    trials = [
        TrialView(number=i, state=state, value=value, params=p, values=[StepView(step=1, metrics={"accuracy": value})])
        for i, (p, (state, value)) in enumerate(zip(params, ends, strict=True))
    ]
    file = written(tmp_path, sheet(trials, "csv"))
    assert read_trials(file) == [{"params": params[1], "value": 0.7}, {"params": params[0], "value": 0.5}]
    assert [row["value"] for row in read_trials(file, minimize=True)] == [0.5, 0.7]


def test_a_plain_csv_has_a_column_for_each_hyperparameter(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufeffrun,learning_rate,epochs,model,note\na,1e-4,3,models/bert,\nb,2e-4,,,x\n,,,,\n")
    assert read_trials(file) == [
        {"params": {"learning_rate": 1e-4, "epochs": 3, "model": "models/bert"}, "value": None},
        {"params": {"learning_rate": 2e-4}, "value": None},
    ]


def test_of_many_the_best_are_sent(tmp_path: Path) -> None:
    rows = "".join(f"{i + 1},{i}\n" for i in range(1_000))
    spec = {
        "task": "text-classification",
        "from": {"file": str(written(tmp_path, f"batch_size,value\n{rows}")), "top": 3},
    }
    origin = with_file_read(spec)["from"]
    assert set(origin) == {"trials", "top"}
    assert len(origin["trials"]) == MOST_GIVEN
    assert origin["trials"][0] == {"params": {"batch_size": 1_000}, "value": 999.0}
    spec |= {"name": "a", "model": "m", "dataset": {"source": "x"}, "space": {}, "objective": {"metric": "loss"}}
    assert with_file_read(spec)["from"]["trials"][0]["value"] == 0.0, "less is better"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no column of a hyperparameter"),
        ("lr,bs\n1,2\n", "Its columns: lr, bs."),
        ("params.lr,value\n1,2\n", "the column params.lr is no hyperparameter here"),
        ("learning_rate\nfast\n", "line 2, column learning_rate: 'fast' is no number"),
        ("learning_rate,value\n1,2\n1e-3,nan\n", "line 3, column value: 'nan' is no number"),
        ("learning_rate,value\n1,2,3\n", "line 2 has more cells than the header"),
        ('learning_rate,value\n"1,2\n', "a quote is not closed"),
        ("learning_rate,state\n1,failed\n", "no row of a trial that ran to its end"),
        (
            "learning_rate,value\n" + "9" * 200_000,
            "trials.csv",
        ),  # a cell too long, or no number
    ],
)
def test_what_is_no_csv_of_trials_is_told(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadTrials) as refused:
        read_trials(written(tmp_path, text))
    assert said in str(refused.value)
    assert "trials.csv" in str(refused.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_bytes(b"learning_rate\n\xff\n")
    with pytest.raises(BadTrials, match=r"not UTF-8 text \(byte 14\)"):
        read_trials(tmp_path / "trials.csv")


@pytest.mark.parametrize("prefix", ["", "params."])
def test_the_names_and_words_of_an_external_study_are_its_own(tmp_path: Path, prefix: str) -> None:
    names = ("lr", "layers", "nesterov", "size")
    header = ",".join(f"{prefix}{name}" for name in names)
    file = written(tmp_path, f"number,value,{header}\n0,0.5,0.01,3,True,8\n1,0.9,1e-3,2.0,false,16\n")
    space = {"lr": {"low": 1e-3, "high": 0.1}, "layers": [1, 2, 3], "nesterov": [True, False], "size": ["8", "16"]}
    spec = {"task": "external", "space": space, "from": {"file": str(file)}}
    assert with_file_read(spec)["from"]["trials"] == [
        {"params": {"lr": 0.001, "layers": 2.0, "nesterov": False, "size": "16"}, "value": 0.9},
        {"params": {"lr": 0.01, "layers": 3, "nesterov": True, "size": "8"}, "value": 0.5},
    ]
