"""The recipe for recommendation: its code ranks the items of users whom the winner has not seen."""

import contextlib
import csv
import io
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.spec import parse_spec
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.paths import ROOT
from tests.support.tiny import FILLERS, LABELS, tiny_rows
from tests.support.trials import Memory


def write(path: Path, users: range) -> None:
    """Write ratings of twelve items by each user: 5 for joyful ones, else 1, and the users differ in nothing else."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("user", "profile", "item", "label"))
        for user in users:
            draw = random.Random(user)
            profile = " ".join(draw.choices(FILLERS, k=3))
            for text, label in tiny_rows(12, seed=user + 1):
                writer.writerow((f"u{user}", profile, text, 5 if label == LABELS[0] else 1))


@pytest.mark.full
def test_the_recipe_ranks_items(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (section,) = re.findall(
        r"^## Recommend items to users\n(.*?)(?=^## |\Z)",
        (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8"),
        flags=re.DOTALL | re.MULTILINE,
    )
    shown, code = (re.findall(rf"^```{kind}\n(.*?)^```$", section, re.DOTALL | re.M)[0] for kind in ("yaml", "python"))
    columns = parse_spec(shown).dataset.columns
    write(tmp_path / "ratings.csv", range(15))
    write(tmp_path / "test.csv", range(15, 20))
    source = {"train": str(tmp_path / "ratings.csv"), "test": str(tmp_path / "test.csv")}
    spec = {
        "task": "text-regression",
        "dataset": {"source": source, "columns": columns},
        "semantics": NEWEST_SEMANTICS,
    }
    given = {"spec": spec, "params": {"epochs": 4}}
    session, warm = Memory(tmp_path / "session"), ModelCache()
    assert train(assign(**given), session, warm).status == "complete"
    evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **given), session, warm)
    unpack_tar(session.folder / "model.tar.gz", tmp_path / "winner")

    monkeypatch.chdir(tmp_path)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "docs/recipes.md", "exec"), {"__name__": "recipe"})
    found = dict(re.findall(r"(\w+): ([\d.]+) over 5 users", said.getvalue()))
    assert found.keys() == {"NDCG", "recall", "MRR"}
    assert float(found["NDCG"]) > 0.9
    assert float(found["MRR"]) > 0.8
