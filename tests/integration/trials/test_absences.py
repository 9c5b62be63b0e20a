"""What a worker lacks after a good inspection is told apart from what is wrong with a configuration."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind, Reason
from luthier.studies.results import Inspection
from luthier.trials.child.__main__ import perform
from luthier.trials.child.messages import Result
from luthier.trials.errors import Away, BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.tasks.text_classification import TextClassification
from luthier.trials.training import model_cache
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.tiers import a_few
from tests.support.tiny import tiny_csv
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
Make = Callable[..., Assignment]
JOBS: dict[AssignmentKind, Any] = {
    AssignmentKind.TRAIN: train,
    AssignmentKind.CONFIRM: train,
    AssignmentKind.EVALUATE: evaluate,
    AssignmentKind.COMPARE: compare,
}


def cut(file: Path) -> None:
    """Leave a file as one that is still being copied."""
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def keep_rows(file: Path, rows: int) -> None:
    file.write_text("".join(file.read_text().splitlines(keepends=True)[: rows + 1]))


def rewrite(file: Path) -> None:
    file.write_text(file.read_text().replace("joy", "calm"))


def loop(file: Path) -> None:
    """Let a path be one that cannot be opened, whoever asks; root may read what its permissions forbid."""
    file.unlink()
    file.symlink_to(file.name)


def unmount(folder: Path) -> None:
    """Leave the empty folder that a disk was mounted at."""
    shutil.rmtree(folder)
    folder.mkdir()


FAULTS: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "the file": (lambda data, model: data.unlink(), "does not exist on this worker"),
    "its folder": (lambda data, model: shutil.rmtree(data.parent), "does not exist on this worker"),
    "unmounted": (lambda data, model: unmount(data.parent), "does not exist on this worker"),
    "not to be opened": (lambda data, model: loop(data), "cannot be opened"),
    "empty": (lambda data, model: data.write_bytes(b""), "data.csv"),
    "cut after a row": (lambda data, model: keep_rows(data, 100), "changed since the study began"),
    "cut in a row": (lambda data, model: cut(data), "data.csv"),
    "changed": (lambda data, model: rewrite(data), "changed since the study began"),
    "the model": (lambda data, model: shutil.rmtree(model), "does not exist on this worker"),
    "the model's disk": (lambda data, model: unmount(model), "holds no config.json"),
    "weights": (lambda data, model: (model / "model.safetensors").unlink(), "holds no weights"),
    "cut weights": (lambda data, model: cut(model / "model.safetensors"), "is cut off"),
    "no weights yet": (lambda data, model: (model / "model.safetensors").write_bytes(b""), "is empty"),
    "a link to weights": (lambda data, model: loop(model / "model.safetensors"), "model"),
    "half a configuration": (lambda data, model: cut(model / "config.json"), "config.json"),
    "half a tokenizer": (lambda data, model: cut(model / "tokenizer.json"), "tokenizer"),
}

SHORT = ("changed", "half a tokenizer")
"""What `make test` tries of each kind."""


@pytest.fixture
def make(assign: Assign, model: Path, tmp_path: Path) -> Make:
    """make(kind, **fields): an assignment of an inspected study over copies of model and data."""
    (tmp_path / "disk").mkdir()
    data = tiny_csv(tmp_path / "disk" / "data.csv", rows=160)
    copied = shutil.copytree(model, tmp_path / "bert")
    spec = {"model": str(copied), "dataset": {"source": str(data), "validation": 0.2, "test": 0.2}}
    inspection = found(assign(AssignmentKind.INSPECT, spec=spec), tmp_path)

    def made(kind: AssignmentKind = AssignmentKind.TRAIN, **fields: Any) -> Assignment:
        return assign(kind, **{"spec": spec, "inspection": inspection, "params": {"epochs": 1}} | fields)

    return made


def found(assignment: Assignment, tmp_path: Path) -> Inspection:
    return inspect(assignment, Memory(tmp_path / "inspected"), ModelCache())


def done(assignment: Assignment, folder: Path, cache: ModelCache | None = None) -> tuple[Result, Memory]:
    session = Memory(folder)
    result, replace = perform(JOBS[assignment.kind], assignment, session, cache or ModelCache())
    assert not replace
    return result, session


def check_away(assignment: Assignment, folder: Path, words: str, cache: ModelCache | None = None) -> None:
    """Check that the worker says that it lacks something, with the sentence, also in the trial's log."""
    result, session = done(assignment, folder, cache)
    assert (result.status, result.reason) == ("failed", Reason.AWAY), (result, session.lines)
    assert result.problem is not None
    assert words in result.problem.message
    assert "given back" in session.lines[-1]
    assert not session.reports


@pytest.mark.parametrize("fault", a_few(2, sorted(FAULTS, key=lambda fault: fault not in SHORT)))
def test_a_fault_of_data_or_model_is_the_workers(make: Make, tmp_path: Path, fault: str) -> None:
    """In a child that begins, and in a warm one; once all is back the same warm child trains as if nothing was."""
    harm, words = FAULTS[fault]
    trial, warm = make(), ModelCache()
    first, plain = done(trial, tmp_path / "first", warm)
    assert first.status == "complete"
    kept = shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-kept", symlinks=True)
    harm(Path(str(trial.spec.dataset.source)), Path(trial.model))
    check_away(trial, tmp_path / "cold", words)
    check_away(trial, tmp_path / "warm", words, warm)
    for name in ("disk", "bert"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        shutil.copytree(kept / name, tmp_path / name)
    again, session = done(trial, tmp_path / "again", warm)
    assert again.status == "complete"
    assert session.metrics == plain.metrics
    result, _ = done(trial.model_copy(update={"inspection": None}), tmp_path / "uninspected")
    assert result.status == "complete"


@pytest.mark.parametrize("kind", list(JOBS))
def test_all_work_after_the_inspection_says_so(make: Make, tmp_path: Path, kind: AssignmentKind) -> None:
    _, session = done(make(), tmp_path / "trained")
    work = make(kind, checkpoint=session.checkpoint()) if kind is AssignmentKind.EVALUATE else make(kind)
    Path(str(work.spec.dataset.source)).unlink()
    check_away(work, tmp_path / "work", "does not exist on this worker")


def test_an_inspection_says_bad_data(make: Make, tmp_path: Path) -> None:
    """Nothing was found good before: the study fails with the sentence."""
    work = make(AssignmentKind.INSPECT, inspection=None)
    Path(str(work.spec.dataset.source)).unlink()
    result, _ = perform(inspect, work, Memory(tmp_path / "s"), ModelCache())
    assert result.reason is Reason.BAD_DATA


def test_a_folder_outside_the_workers_data_roots(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial, warm = make(), ModelCache()
    assert done(trial, tmp_path / "first", warm)[0].status == "complete"
    monkeypatch.setenv("LUTHIER_DATA_ROOTS", str(tmp_path / "elsewhere"))
    check_away(trial, tmp_path / "cold", "outside the folders data may be read from")
    check_away(trial, tmp_path / "warm", "outside the folders data may be read from", warm)


@pytest.mark.parametrize("part", ["model", "data"])
def test_what_the_hub_does_not_give_any_more(make: Make, assign: Assign, tmp_path: Path, part: str) -> None:
    """Its cache is gone, and there is no network."""
    trial = make()
    spec: dict[str, Any] = {"model": trial.model, "dataset": {"source": str(trial.spec.dataset.source)}}
    spec |= {"model": "nobody/bert"} if part == "model" else {"dataset": {"source": "nobody/rows"}}
    check_away(assign(spec=spec, inspection=trial.inspection), tmp_path / "s", "nobody/")


@pytest.mark.full
def test_one_of_several_models(make: Make, assign: Assign, tmp_path: Path) -> None:
    trial = make()
    other = shutil.copytree(trial.model, tmp_path / "other")
    spec = {"model": [trial.model, str(other)], "dataset": {"source": str(trial.spec.dataset.source)}}
    inspection = found(assign(AssignmentKind.INSPECT, spec=spec), tmp_path)
    shutil.rmtree(other)
    lacking = assign(spec=spec, inspection=inspection, params={"model": str(other), "epochs": 1})
    check_away(lacking, tmp_path / "other-trial", "does not exist on this worker")
    there = assign(spec=spec, inspection=inspection, params={"model": trial.model, "epochs": 1})
    assert done(there, tmp_path / "there")[0].status == "complete"


@pytest.mark.parametrize("listed", [False, True])
def test_one_image_of_many(assign: Assign, tmp_path: Path, listed: bool) -> None:
    """In a folder for each class, and in a table, whose own file stays as it is."""
    source = tiny_data("image-classification", tmp_path / "data")
    images = sorted(source.parent.glob("*.png"))
    if not listed:
        source = tmp_path / "classes"
        for i, image in enumerate(images):
            (source / f"class{i % 2}").mkdir(parents=True, exist_ok=True)
            images[i] = image.rename(source / f"class{i % 2}" / image.name)
    model = ARCHITECTURES["vit"].build(tmp_path / "model")
    spec = {"task": "image-classification", "model": str(model), "dataset": {"source": str(source)}}
    inspection = found(assign(AssignmentKind.INSPECT, spec=spec), tmp_path)
    trial, warm = assign(spec=spec, inspection=inspection, params={"epochs": 1}), ModelCache()
    assert not warm.open(trial)._encoded, "the rows are known, no image is decoded yet"
    content = images[3].read_bytes()
    images[3].unlink()
    check_away(trial, tmp_path / "cold", "")
    check_away(trial, tmp_path / "warm", "", warm)
    images[3].write_bytes(content)
    assert done(trial, tmp_path / "again", warm)[0].status == "complete"


@pytest.mark.full
def test_a_library_that_this_worker_lacks(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    check_away(make(params={"epochs": 1, "strategy": "lora"}), tmp_path / "s", "peft")


def test_a_configurations_own_fault_is_bad_data(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised once data and model are open: another worker could do no better."""

    def encode(*_: Any) -> Any:
        raise BadData("The model cannot take 4096 tokens; lower max_length.", "space", "max_length")

    monkeypatch.setattr(TextClassification, "encode", encode)
    result, _ = done(make(), tmp_path / "s")
    assert result.reason is Reason.BAD_DATA
    assert result.problem is not None
    assert result.problem.path == ["space", "max_length"]


def test_a_file_that_goes_while_it_is_read(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library raises what it likes then; the log has its traceback."""

    def read(*_: Any) -> Any:
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr(model_cache, "load_data", read)
    result, session = done(make(), tmp_path / "s")
    assert result.reason is Reason.AWAY
    assert result.problem is not None
    assert "Stale file handle" in result.problem.message
    assert "Traceback" in "".join(session.lines)


@pytest.mark.parametrize("error", [MemoryError(), OSError(28, "No space left on device")])
def test_memory_and_room_are_no_part_of_it(make: Make, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(model_cache, "load_data", read)
    with pytest.raises(type(error)) as raised:
        ModelCache().open(make())
    assert raised.value is error
    assert not isinstance(raised.value, Away)


def test_a_damaged_model_of_a_comparison_is_no_workers_fault(make: Make, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    refs = {}
    for name in ("champion", "challenger"):
        (folder / f"{name}.tar.gz").write_bytes(b"no archive")
        refs[name] = file_ref(folder / f"{name}.tar.gz")
    result, _ = done(make(AssignmentKind.COMPARE, **refs), folder)
    assert result.reason is Reason.BAD_DATA
