"""The contract of a task as a test class, which runs with every architecture of the task.

A new task subclasses it:

    class TestMyTask(TaskContract):
        task = "my-task"
        auto_model, auto_processor = hf.AutoModelForMyTask, hf.AutoTokenizer

`tests.support.architectures` must have an architecture and `tiny_data` for the task.
"""

import json
import random
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch

from luthier.studies.protocol import AssignmentKind, Checkpoint
from luthier.studies.tasks import TASKS
from luthier.studies.wire import Metrics
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.packed_model import NAME
from luthier.trials.tasks.base import TaskCode
from luthier.trials.tasks.registry import task_code
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, TIMM, in_turn
from tests.support.archives import unpack_tar
from tests.support.task_study import Assign, Study, make_study
from tests.support.trials import Memory


class TaskContract:
    """Every promise of `TaskCode`: it opens, encodes, trains at any depth, repeats itself, and is kept.

    Attributes:
        task: The task's name.
        auto_model: The transformers class that loads its models.
        auto_processor: The transformers class that loads its processors.
        labels: The labels of its tiny data; 0 where nothing is classified.
        has_constant: It has a constant answer, whose scores the inspection tells.
        largest_statistic: The most numbers that a statistic keeps of a unit or an example.
    """

    task: ClassVar[str]
    auto_model: ClassVar[Any]
    auto_processor: ClassVar[Any]
    labels: ClassVar[int] = 2
    has_constant: ClassVar[bool] = True
    largest_statistic: ClassVar[int] = 4

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run the tests that ask for a study with each of the task's architectures."""
        if "study" in metafunc.fixturenames:
            names = [name for name, found in (ARCHITECTURES | TIMM).items() if found.task == self.task]
            metafunc.parametrize("study", in_turn(names), indirect=True)

    @pytest.fixture
    def study(self, request: pytest.FixtureRequest, tmp_path: Path, assign: Assign) -> Study:
        """A study of one of the task's architectures."""
        return make_study(request.param, tmp_path, assign)

    def is_right(self, truth: str, said: str) -> bool:
        """Return whether an answer is the true one, both as people read them."""
        return truth == said

    def auto(self, folder: Path) -> Any:
        """Return the transformers class that loads a winner; a task with several overrides this method."""
        return self.auto_model

    def test_its_code_is_found_by_its_name(self) -> None:
        assert task_code(self.task).name == self.task

    # torch warns of how transformers' WavLM calls it.
    @pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
    def test_the_contract(self, study: Study, tmp_path: Path) -> None:
        self._it_is_inspected(study, tmp_path)
        self._every_unit_is_encoded_once(study)
        self._an_augmentation_is_drawn_or_refused(study)
        deepest = study.architecture.blocks
        scores = {depth: self._scores(study, depth) for depth in (0, deepest // 2, deepest)}
        assert study.trial(0).metrics == scores[0], "a warm trial repeats the first one"
        assert study.trial(deepest, ModelCache()).metrics == scores[deepest], "a cold one does"
        self._the_winner_is_a_model_people_can_use(study, deepest // 2)

    def _it_is_inspected(self, study: Study, tmp_path: Path) -> None:
        found = inspect(study.work(0, AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), study.warm)
        assert len(found.blocks) == study.architecture.blocks
        assert all(block.parameters > 0 for block in found.blocks)
        assert all(above < below for below, above in pairwise(found.trainable_parameters))
        assert found.trainable_parameters[-1] > 0
        assert len(found.label_names) == self.labels
        assert min(found.rows.values()) > 0
        assert found.estimates is not None
        promised = {metric.name for metric in TASKS[self.task].metrics}
        if not self.has_constant:
            assert found.majority is None
            return
        assert found.majority is not None
        assert not self.labels or self.is_constant(found.majority.label, found.label_names)
        assert set(found.majority.validation) == set(found.majority.test or {}) == promised

    def _every_unit_is_encoded_once(self, study: Study) -> None:
        opened = study.warm.open(study.work(0))
        examples = opened.data.splits["train"]
        encoded = opened.encoded("train", 64)
        units = encoded.unit_offsets[-1]
        assert encoded.units(range(len(encoded))).tolist() == list(range(units))
        assert len(encoded.example_offsets) == len(examples) + 1
        self._a_batch_weighs_as_much_as_its_pieces(study, encoded)
        self._some_examples_can_be_scored(study, encoded)

        rows = [1, 0, 1]
        batch, again = (opened.task.collate(encoded, rows) for _ in range(2))
        assert batch.keys() == again.keys()
        for name, values in batch.items():
            assert values.device.type == "cpu"
            assert len(values) == len(rows)
            assert torch.equal(values, again[name])
            assert torch.equal(values[0], values[2])

    def _a_batch_weighs_as_much_as_its_pieces(self, study: Study, encoded: Encoded) -> None:
        """So the gradient of a batch is the same in pieces; and a piece's loss is the sum that it says."""
        opened = study.warm.open(study.work(0))
        loss = opened.loss(encoded, study.work(0).params)
        model = opened.pretrained.model.eval()  # type: ignore[no-untyped-call]
        totals, weights = [], []
        for rows in ([0, 1, 2], [0], [1, 2]):
            targets = opened.task.collate_targets(encoded, rows)
            with torch.no_grad():
                result = model(**opened.task.collate(encoded, rows))
            outputs = {name: getattr(result, name) for name in opened.task.outputs}
            totals.append(float(loss.total(outputs, targets)))
            weights.append(float(loss.weight(targets)))
        assert 0 < weights[0] == pytest.approx(weights[1] + weights[2])
        assert totals[0] == pytest.approx(totals[1] + totals[2], rel=1e-3)

    def _some_examples_can_be_scored(self, study: Study, encoded: Encoded) -> None:
        opened = study.warm.open(study.work(0))
        task, targets = opened.task, opened.data.targets
        engine = Engine(opened.pretrained.model, task, MicroBatch())
        found = engine.evaluate(encoded, targets)
        assert len(found) == len(encoded.example_offsets) - 1
        assert (
            max(values[0].numel() for values in (*found.units.values(), *found.examples.values()))
            <= self.largest_statistic
        )
        whole = task.scores(found, targets)
        assert set(whole) == {metric.name for metric in TASKS[self.task].metrics}
        assert task.scores(found.take(torch.arange(len(found))), targets) == whole
        few, other = torch.tensor([2, 0, 2]), torch.tensor([1])
        sample = found.take(few)
        assert len(sample) == 3
        assert set(task.scores(sample, targets)) == set(whole)
        both = found.joined(sample)  # as the examples of a champion and a challenger
        assert task.scores(both.take(few), targets) == task.scores(sample, targets)
        assert task.scores(both.take(other + len(found)), targets) == task.scores(found.take(few[other]), targets)
        right = task.right(found, targets)
        truths, said = (list(say(found, encoded, targets)) for say in (task.truths, task.said))
        assert len(truths) == len(said) == found.unit_count
        if right is not None:
            assert right.tolist() == [self.is_right(one, two) for one, two in zip(truths, said, strict=True)]
        assert type(targets).restore(json.loads(json.dumps(targets.about))) == self.restored(targets)
        self._a_sample_of_rows_is_a_split(task, encoded)

    def is_constant(self, said: str, names: list[str]) -> bool:
        """Return whether the constant answer is one over the labels of these names."""
        return said in names

    def restored(self, targets: Any) -> Any:
        """Return targets as they are restored from a packed model that has learned them."""
        return targets

    def _a_sample_of_rows_is_a_split(self, task: TaskCode[Any], encoded: Encoded) -> None:
        sample = encoded.sample([2, 0])
        targets, expected = task.collate_targets(sample, [1, 0]), task.collate_targets(encoded, [0, 2])
        assert targets.keys() == expected.keys()
        assert all(torch.equal(values, expected[name]) for name, values in targets.items())
        assert sample.unit_offsets[-1] == sample.example_offsets[-1] == len(encoded.units([2, 0]))

    def _an_augmentation_is_drawn_or_refused(self, study: Study) -> None:
        opened = study.warm.open(study.work(0))
        task, examples = opened.task, opened.data.splits["train"]
        names = TASKS[self.task].augmentation_names
        if not names:
            with pytest.raises(ValueError, match="augmentation"):
                study.assign(spec=study.spec | {"augmentation": "noise"})
        for name in names:
            try:
                encoded = task.encode_augmented(opened.pretrained, examples, name, 64)
            except BadData as error:
                if error.path != ["augmentation"]:
                    raise
                continue  # the model has no mask token, or hears no spectra
            assert encoded.augmented
            batches = []
            for seed in (1, 1, *range(2, 12)):
                random.seed(seed)
                drawn, rows = encoded.drawn([0, 1])
                batches.append(str(task.collate_augmented(drawn, rows)))
            assert batches[0] == batches[1]
            assert len(set(batches)) > 1, name

    def _scores(self, study: Study, depth: int) -> list[Metrics]:
        session = study.trial(depth)
        promised = {metric.name: metric for metric in TASKS[self.task].metrics}
        (metrics,) = session.metrics
        assert metrics.keys() == promised.keys()
        writes = promised[study.work(depth).spec.objective.metric].generated
        assert all((metrics[name] is None) == (m.generated and not writes) for name, m in promised.items())
        return session.metrics

    def _the_winner_is_a_model_people_can_use(self, study: Study, depth: int) -> None:
        session = study.trial(depth)
        work = study.work(depth, AssignmentKind.EVALUATE, checkpoint=Checkpoint(best=file_ref(session.named("best"))))
        evaluation = evaluate(work, session, study.warm)
        assert evaluation.test is not None
        assert evaluation.model is not None
        folder = session.folder / "winner"
        unpack_tar(session.folder / NAME, folder)

        model, processor = self.auto(folder).from_pretrained(folder).eval(), self.auto_processor.from_pretrained(folder)
        opened = study.warm.open(work)
        assert not self.labels or model.config.id2label == dict(enumerate(opened.data.label_names))
        assert type(processor) is type(opened.pretrained.processor)
        encoded = opened.encoded("test", 64)
        inputs = opened.task.collate(encoded, range(len(encoded)))
        with torch.no_grad():
            mine, theirs = opened.pretrained.model.eval()(**inputs), model(**inputs)
        for name in opened.task.outputs:
            assert torch.allclose(mine[name], theirs[name], rtol=1e-4, atol=1e-5)
