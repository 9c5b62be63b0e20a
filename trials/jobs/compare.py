"""A schedule's champion and its challenger on the same test examples: what a promotion is decided by.

Both are packed models. Examples that either of them was trained or chosen on are left out for both: splits that a user
made, and rows that repeat, may have the challenger's own among them. Where the metric is no mean over examples, it is
computed on resamples, too.
"""

import csv
import gzip
import io
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from luthier.studies.promotion import ACCURACIES
from luthier.studies.protocol import Assignment, Comparison, Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Data, Split
from luthier.trials.data.row_digests import row_digests, split_digests
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.packed_model import SEEN, unpack
from luthier.trials.session import Session
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache

PREDICTIONS = "predictions.csv.gz"
REPLICATES = 1_000
UNKNOWN = 1e4  # below a model's lowest logit: a label that it does not know
POLL_REPLICATES = 50


def compare(assignment: Assignment, session: Session, warm: ModelCache) -> Comparison:
    """Score `assignment.champion` and `assignment.challenger`, in that order, on the test split.

    Raises BadData, session.Ended, torch.OutOfMemoryError.
    """
    for left in session.folder.glob(".rival-*"):  # of an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    data = warm.data(assignment)
    test = data.splits.get("test")
    if test is None or assignment.champion is None or assignment.challenger is None:
        raise BadData("There is no test split to compare models on; give dataset.test.", "dataset", "test")
    work = Path(tempfile.mkdtemp(prefix=".rival-", dir=session.folder))
    try:
        folders = [unpack(session.folder, ref, work) for ref in (assignment.champion, assignment.challenger)]
        kept = _unseen(test, folders)
        sides = [_Side.of(folder, test.take(kept), data, assignment, session, warm) for folder in folders if kept]
    finally:
        shutil.rmtree(work, ignore_errors=True)
    session.log(f"compared on {len(kept)} of {len(test)} test examples; a model has seen the others")
    return _comparison(assignment, session, data, test, kept, sides)


@dataclass(frozen=True)
class _Side:
    """What a model says of each unit: logits (units, classes of today's data), float32 on the CPU."""

    task: TaskCode
    encoded: Encoded
    logits: torch.Tensor

    @classmethod
    def of(
        cls, folder: Path, examples: Split, data: Data, assignment: Assignment, session: Session, warm: ModelCache
    ) -> "_Side":
        task = task_code(assignment.spec.task)
        about = json.loads((folder / "luthier.json").read_text(encoding="utf-8"))
        task.check(folder, folder.name)
        pretrained = task.load(folder, folder.name, about["label_names"])
        encoded = task.encode(pretrained, examples, int(about["params"]["max_length"]))
        found = Engine(pretrained.model, task, warm, precision="float32").predict(encoded, session.poll)
        return cls(task, encoded, by_label(found, about["label_names"], data.label_names))

    @property
    def right(self) -> torch.Tensor:
        """(units,) whether the highest logit is the label's."""
        return self.logits.argmax(1) == self.encoded.labels

    @property
    def sentence_offsets(self) -> Sequence[int]:
        """The index into `labels` of each example's first unit, and last the number of units."""
        return self.encoded.example_offsets

    def scores(
        self, label_names: Sequence[str], rows: Sequence[int] | None = None, logits: torch.Tensor | None = None
    ) -> Metrics:
        """Every metric of the task; of some of the examples, also of the same one twice, or of other `logits`."""
        if rows is None:
            return self.task.scores(self.logits if logits is None else logits, self.encoded, label_names)
        units, sample = self.encoded.labels_of(rows)
        return self.task.scores(self.logits[units], sample, label_names)


def by_label(logits: torch.Tensor, own: Sequence[str], names: Sequence[str]) -> torch.Tensor:
    """Logits (units, own) as (units, names): labels are matched by name. One that the model does not know is its last
    choice; one that is not among `names` any more it does not get to choose."""
    lowest = logits.min(1).values - UNKNOWN
    columns = dict(zip(own, logits.unbind(1), strict=True))
    return torch.stack([columns.get(name, lowest) for name in names], 1)


def _unseen(test: Split, models: Sequence[Path]) -> list[int]:
    """The test examples that none of the models was trained or chosen on."""
    seen = set[bytes]().union(
        *(split_digests((model / SEEN).read_bytes()) for model in models if (model / SEEN).is_file())
    )
    return [i for i, mark in enumerate(row_digests(test.columns)) if mark not in seen]


def _comparison(
    assignment: Assignment, session: Session, data: Data, test: Split, kept: list[int], sides: list[_Side]
) -> Comparison:
    known: dict[str, Any] = {"examples": len(kept), "left_out": len(test) - len(kept)}
    predictions = session.folder / PREDICTIONS
    _write(predictions, data, kept, sides)
    known["predictions"] = file_ref(predictions)
    if not sides:
        return Comparison(units=0, independent=False, champion={}, challenger={}, gained=0, lost=0, **known)
    champion, challenger = sides
    single = test.groups is None and isinstance(champion.sentence_offsets, range)
    replicates = {}
    if not (single and assignment.spec.objective.metric in ACCURACIES):
        groups = None if test.groups is None else [test.groups[i] for i in kept]
        replicates = _Replicates(assignment, session, data.label_names, champion, challenger, groups).drawn()
    return Comparison(
        units=len(champion.encoded.labels),
        independent=single,
        champion=champion.scores(data.label_names),
        challenger=challenger.scores(data.label_names),
        gained=int((challenger.right & ~champion.right).sum()),
        lost=int((champion.right & ~challenger.right).sum()),
        **replicates,
        **known,
    )


@dataclass(frozen=True)
class _Replicates:
    """Differences of the objective, challenger minus champion and more is better, as they might have come out: by
    `groups` of examples where some are related. Those for which the metric is undefined are left out."""

    assignment: Assignment
    session: Session
    label_names: Sequence[str]
    champion: _Side
    challenger: _Side
    groups: Sequence[str] | None

    def drawn(self) -> dict[str, list[float]]:
        draw, clusters = torch.Generator().manual_seed(self.assignment.seed), self._clusters()
        exchanged, resampled = list[float](), list[float]()
        for i in range(REPLICATES):
            if i % POLL_REPLICATES == 0:
                self.session.poll()
            exchanged += self._exchanged(clusters, draw)
            resampled += self._resampled(clusters, draw)
        return {"exchanged": exchanged, "resampled": resampled}

    def _clusters(self) -> list[list[int]]:
        """Examples that belong together."""
        members: dict[str, list[int]] = {}
        for i in range(len(self.champion.sentence_offsets) - 1):
            members.setdefault(str(i) if self.groups is None else self.groups[i], []).append(i)
        return list(members.values())

    def _resampled(self, clusters: list[list[int]], draw: torch.Generator) -> list[float]:
        drawn = torch.randint(len(clusters), (len(clusters),), generator=draw).tolist()
        rows = [row for cluster in drawn for row in clusters[cluster]]
        sides = (side.scores(self.label_names, rows) for side in (self.champion, self.challenger))
        return self._difference(*sides)

    def _exchanged(self, clusters: list[list[int]], draw: torch.Generator) -> list[float]:
        coins, starts = torch.randint(2, (len(clusters),), generator=draw).tolist(), self.champion.sentence_offsets
        swapped = torch.zeros(len(self.champion.logits), 1, dtype=torch.bool)  # (units, 1)
        for cluster, coin in zip(clusters, coins, strict=True):
            for i in cluster if coin else ():
                swapped[starts[i] : starts[i + 1]] = True
        first, second = self.champion.logits, self.challenger.logits
        return self._difference(
            self.champion.scores(self.label_names, logits=torch.where(swapped, second, first)),
            self.challenger.scores(self.label_names, logits=torch.where(swapped, first, second)),
        )

    def _difference(self, champion: Metrics, challenger: Metrics) -> list[float]:
        spec = self.assignment.spec
        before, after = (scores[spec.objective.metric] for scores in (champion, challenger))
        return [] if before is None or after is None else [(after - before) * (1 if spec.maximize else -1)]


def _write(path: Path, data: Data, kept: list[int], sides: list[_Side]) -> None:
    """A line a unit: the example's place in the test split, its label, and what each model says."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(("example", "label", "champion", "challenger"))
    names = data.label_names
    if sides:
        starts, labels = sides[0].sentence_offsets, sides[0].encoded.labels.tolist()
        said = [side.logits.argmax(1).tolist() for side in sides]
        for example, place in enumerate(kept):
            for unit in range(starts[example], starts[example + 1]):
                writer.writerow((place, names[labels[unit]], *(names[side[unit]] for side in said)))
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(gzip.compress(lines.getvalue().encode(), mtime=0))
    part.replace(path)
