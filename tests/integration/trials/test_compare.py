"""Champion and challenger on the same examples: what is compared, and that it is right by recomputation."""

import csv
import gzip
import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Comparison
from luthier.studies.spec_keys import Precision as PrecisionName
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.replicates import REPLICATES
from luthier.trials.jobs.train import train
from luthier.trials.tasks.classification import by_label
from luthier.trials.training import forward_pass
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.precision import Precision
from tests.support.architectures import ARCHITECTURES, tiny_data
from tests.support.archives import unpack_tar
from tests.support.tiers import a_few
from tests.support.tiny import tiny_csv, tiny_rows
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


def packed(assign: Assign, session: Memory, warm: ModelCache | None = None, **assignment: Any) -> Path:
    """A trained model, as the service keeps it."""
    warm = warm or ModelCache()
    train(assign(**assignment), session, warm)
    evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **assignment), session, warm)
    return session.folder / "model.tar.gz"


def compared(assign: Assign, folder: Path, champion: Path, challenger: Path, **assignment: Any) -> Comparison:
    session = Memory(folder)
    refs = {}
    for name, model in (("champion", champion), ("challenger", challenger)):
        refs[name] = file_ref(Path(shutil.copy(model, folder / f"{name}.tar.gz")))
    found = compare(assign(AssignmentKind.COMPARE, **refs, **assignment), session, ModelCache())
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    return found


def said(found: Comparison, folder: Path) -> list[dict[str, str]]:
    assert file_ref(folder / found.predictions.name) == found.predictions
    with gzip.open(folder / found.predictions.name, "rt") as file:
        return list(csv.DictReader(file))


@pytest.mark.full
def test_both_are_scored_on_what_the_champion_has_not_seen(assign: Assign, tmp_path: Path) -> None:
    old, new = tiny_csv(tmp_path / "old.csv", rows=240), tmp_path / "new.csv"
    more = tiny_csv(tmp_path / "more.csv", rows=160, seed=9).read_text().partition("\n")[2]
    new.write_text(old.read_text() + more)
    before = {"spec": {"dataset": {"source": str(old)}}}
    after = {
        "spec": {"dataset": {"source": str(new)}, "semantics": 2}
    }  # drawn at random: most old rows were seen by the champion
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, **before)
    challenger = packed(assign, Memory(tmp_path / "b"), **after)
    found = compared(assign, tmp_path / "c", champion, challenger, **after)
    test = ModelCache().data(assign(**after)).splits["test"]
    seen = ModelCache().data(assign(**before)).splits
    known = {sentence for name in ("train", "validation") for sentence in seen[name].columns["text"]}
    fresh = [i for i, sentence in enumerate(test.columns["text"]) if sentence not in known]
    assert 0 < len(fresh) < len(test)
    assert (found.examples, found.excluded, found.labelled_units) == (len(fresh), len(test) - len(fresh), len(fresh))
    assert found.independent
    assert found.exchanged == found.resampled == []

    rows = said(found, tmp_path / "c")
    assert [int(row["example"]) for row in rows] == fresh
    names = ["anger", "joy"]
    assert [row["label"] for row in rows] == [names[test.targets[i]] for i in fresh]
    for side, model in (("champion", champion), ("challenger", challenger)):
        folder = tmp_path / f"unpacked-{side}"
        unpack_tar(model, folder)
        pipeline = transformers.pipeline("text-classification", str(folder), device="cpu")
        assert [p["label"] for p in pipeline([test.columns["text"][i] for i in fresh])] == [r[side] for r in rows]
        right = sum(row[side] == row["label"] for row in rows)
        assert getattr(found, side)["accuracy"] == pytest.approx(right / len(rows))
    hits = [(row["champion"] == row["label"], row["challenger"] == row["label"]) for row in rows]
    assert (found.gained, found.lost) == (hits.count((False, True)), hits.count((True, False)))


def test_rows_that_the_challenger_was_trained_on_are_left_out(assign: Assign, tmp_path: Path) -> None:
    """This month's training file has taken in some rows of the fixed test file."""
    paths = {name: tmp_path / f"{name}.csv" for name in ("old", "train", "validation", "test")}
    for seed, path in enumerate(paths.values()):
        tiny_csv(path, rows=80, seed=seed)
    _, *rows = paths["test"].read_text().splitlines()
    with paths["train"].open("a") as file:
        file.writelines(f"{row}\n" for row in rows[:30])
    before = {"spec": {"dataset": {"source": str(paths["old"])}}}
    after = {"spec": {"dataset": {"source": {name: str(paths[name]) for name in ("train", "validation", "test")}}}}
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, **before)
    challenger = packed(assign, Memory(tmp_path / "b"), params={"epochs": 1}, **after)
    found = compared(assign, tmp_path / "c", champion, challenger, **after)
    known = {row for name in ("old", "train", "validation") for row in paths[name].read_text().splitlines()}
    fresh = [i for i, row in enumerate(rows) if row not in known]
    assert [int(row["example"]) for row in said(found, tmp_path / "c")] == fresh
    assert len(fresh) <= 50


@pytest.mark.full
@pytest.mark.parametrize(("semantics", "unseen"), a_few(1, [(2, 15), (1, 20)]))
def test_a_row_that_was_seen_is_known_by_its_words(assign: Assign, tmp_path: Path, semantics: int, unseen: int) -> None:
    """White space is no difference, for a champion that was packed before that was so either."""
    rows = [(f"{text} {i}", label) for i, (text, label) in enumerate(tiny_rows(160))]
    test = [(text.replace(" ", "  ") if i % 2 else f" {text}", label) for i, (text, label) in enumerate(rows[120:])]
    paths = {name: tmp_path / f"{name}.csv" for name in ("old", "train", "validation", "test")}
    parts = (rows[:55] + rows[120:125], rows[:60] + test[5:25], rows[60:120], test)
    for path, part in zip(paths.values(), parts, strict=True):
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([("text", "label"), *part])
    part = {"dataset": {"source": {name: str(paths[name]) for name in ("train", "validation", "test")}}}
    old = {"source": {"train": str(paths["old"]), "validation": str(paths["validation"])}, "test": 0}
    before = {"spec": {"dataset": old, "semantics": 1}}
    after = {"spec": part | {"semantics": semantics}}
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, **before)
    challenger = packed(assign, Memory(tmp_path / "b"), params={"epochs": 1}, **after)
    found = compared(assign, tmp_path / "c", champion, challenger, **after)
    assert (found.examples, found.excluded) == (unseen, 40 - unseen)


@pytest.mark.parametrize(("semantics", "independent"), [(2, False), (1, True)])
@pytest.mark.full
def test_copies_of_an_example_are_one_piece_of_evidence(
    assign: Assign, tmp_path: Path, semantics: int, independent: bool
) -> None:
    paths = {
        name: tiny_csv(tmp_path / f"{name}.csv", rows=40, seed=i) for i, name in enumerate(("train", "validation"))
    }
    rows = [(f"{text} {i}", label) for i, (text, label) in enumerate(tiny_rows(8, seed=3))] * 6
    paths["test"] = tmp_path / "test.csv"
    with paths["test"].open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    source = {name: str(path) for name, path in paths.items()}
    spec = {"dataset": {"source": source}, "semantics": semantics}
    models = [packed(assign, Memory(tmp_path / f"{n}"), params={"epochs": n}, spec=spec) for n in (1, 3)]
    found = compared(assign, tmp_path / "c", *models, spec=spec)
    assert (found.examples, found.independent) == (48, independent)
    assert len(found.exchanged) == (0 if independent else REPLICATES)
    assert all((8 * difference).is_integer() for difference in found.exchanged), "six copies are exchanged, or none"


@pytest.mark.full
def test_a_metric_that_is_no_mean_is_resampled(assign: Assign, tmp_path: Path) -> None:
    spec = {"objective": {"metric": "macro_f1"}}
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, spec=spec)
    challenger = packed(assign, Memory(tmp_path / "b"), spec=spec)
    found, again = (compared(assign, tmp_path / name, champion, challenger, spec=spec) for name in "cd")
    assert len(found.exchanged) == len(found.resampled) == REPLICATES
    assert found == again
    mean = sum(found.resampled) / REPLICATES
    assert abs(sum(found.exchanged) / REPLICATES) < 0.01  # as if both were equally good
    champions, challengers = found.champion["macro_f1"], found.challenger["macro_f1"]
    assert champions is not None
    assert challengers is not None
    assert mean == pytest.approx(challengers - champions, abs=0.03)


@pytest.mark.full
def test_words_are_resampled_by_sentence(assign: Assign, tmp_path: Path) -> None:
    task = "token-classification"
    model = next(model for model in ARCHITECTURES.values() if model.task == task)
    spec = {
        "task": task,
        "model": str(model.build(tmp_path / "model")),
        "dataset": {"source": str(tiny_data(task, tmp_path / "data")), "validation": 0.25, "test": 0.25},
    }
    params = {"epochs": 1, "batch_size": 8}
    champion = packed(assign, Memory(tmp_path / "a"), spec=spec, params=params)
    found = compared(assign, tmp_path / "c", champion, champion, spec=spec, params=params)
    assert not found.independent
    assert found.labelled_units > found.examples > 0
    assert set(found.resampled) == set(found.exchanged) == {0.0}
    assert (found.gained, found.lost) == (0, 0)
    assert len(said(found, tmp_path / "c")) == found.labelled_units


@pytest.mark.full
def test_groups_are_resampled_whole(assign: Assign, tmp_path: Path) -> None:
    path = tmp_path / "grouped.csv"
    with tiny_csv(tmp_path / "plain.csv", rows=240).open() as plain, path.open("w", newline="") as file:
        header, *rows = csv.reader(plain)
        csv.writer(file).writerows([[*header, "group"], *([*row, f"g{i // 8}"] for i, row in enumerate(rows))])
    spec = {"dataset": {"source": str(path), "columns": {"group": "group"}, "draw": "stable", "test": 0.3}}
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, spec=spec)
    found = compared(assign, tmp_path / "c", champion, champion, spec=spec)
    assert not found.independent
    assert len(found.resampled) == len(found.exchanged) == REPLICATES


def test_labels_are_matched_by_their_names() -> None:
    logits = torch.tensor([[1.0, 3.0, 2.0], [5.0, 0.0, 1.0]])
    matched = by_label(logits, ["c", "a", "b"], ["a", "b", "d"])
    assert matched[:, :2].tolist() == [[3.0, 2.0], [0.0, 1.0]]
    assert (matched[:, 2] < -1_000).all()
    assert torch.isfinite(matched).all()
    assert (by_label(logits, ["Pos", "neg", "none"], ["pos", "neg", "none"])[:, 0] < -1_000).all(), "as older schedules"
    assert torch.equal(by_label(logits, ["a", "A", "b"], ["A", "b", "a"]), logits[:, [1, 2, 0]])


@pytest.mark.full
def test_a_label_the_champion_does_not_know_is_one_it_gets_wrong(assign: Assign, tmp_path: Path) -> None:
    two = {"spec": {"dataset": {"source": str(tiny_csv(tmp_path / "two.csv", rows=120))}}}
    three = {"spec": {"dataset": {"source": str(tiny_csv(tmp_path / "three.csv", rows=180, classes=3, seed=4))}}}
    champion = packed(assign, Memory(tmp_path / "a"), **two)
    challenger = packed(assign, Memory(tmp_path / "b"), **three)
    found = compared(assign, tmp_path / "c", champion, challenger, **three)
    rows = said(found, tmp_path / "c")
    assert {row["champion"] for row in rows} <= {"anger", "joy"}
    assert "fear" in {row["label"] for row in rows}
    about = json.loads(_member(champion, "luthier.json"))
    assert about["label_names"] == ["anger", "joy"]


def _member(archive: Path, name: str) -> bytes:
    with tarfile.open(archive) as tar:
        file = tar.extractfile(name)
        assert file is not None
        return file.read()


def test_a_champion_that_has_seen_everything_leaves_nothing_to_compare_on(assign: Assign, tmp_path: Path) -> None:
    source = str(tiny_csv(tmp_path / "data.csv", rows=80))
    first = {"spec": {"dataset": {"source": {"train": source, "validation": source, "test": source}}}}
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, **first)
    found = compared(assign, tmp_path / "c", champion, champion, **first)
    assert (found.examples, found.excluded) == (0, 80)
    assert found.champion == {}


@pytest.mark.parametrize(
    "damage", a_few(1, ["half a file", "no luthier.json", "no archive", "a link", "broken luthier.json"])
)
def test_a_damaged_model_is_refused_with_a_sentence(assign: Assign, tmp_path: Path, damage: str) -> None:
    good = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1})
    bad = tmp_path / "bad.tar.gz"
    if damage == "half a file":
        bad.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    elif damage == "no archive":
        bad.write_bytes(b"nothing")
    else:
        with tarfile.open(bad, "w:gz") as tar:
            if damage == "a link":
                link = tarfile.TarInfo("config.json")
                link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(link)
            elif damage == "broken luthier.json":
                member = tarfile.TarInfo("luthier.json")
                member.size = 9
                tar.addfile(member, io.BytesIO(b"[1, 2, 3]"))
    with pytest.raises(BadData, match=r"challenger\.tar\.gz cannot be used: .*\. Store the model again"):
        compared(assign, tmp_path / "c", good, bad)
    assert [path.name for path in (tmp_path / "c").iterdir() if path.name.startswith(".")] == []


def test_both_models_are_computed_in_plain_float32(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the spec's precision: on a GPU that means without TF32 (test_precision)."""
    spec = {"precision": "bfloat16"}
    champion = packed(assign, Memory(tmp_path / "a"), params={"epochs": 1}, spec=spec)
    names: list[str] = []

    class Recorded(Precision):
        def __init__(self, name: PrecisionName, device: torch.device) -> None:
            names.append(name)
            super().__init__(name, device)

    monkeypatch.setattr(forward_pass, "Precision", Recorded)
    compared(assign, tmp_path / "c", champion, champion, spec=spec)
    assert names == ["float32", "float32"]
