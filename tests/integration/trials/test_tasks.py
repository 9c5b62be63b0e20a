"""What every task promises, over every architecture: it opens, trains at any depth, repeats itself, and is kept."""

import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.studies.tasks import TASKS
from luthier.studies.wire import Metrics
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.packed_model import NAME
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, TIMM, Architecture, tiny_data
from tests.support.trials import Memory

AUTO: dict[str, tuple[Any, Any]] = {  # task -> what loads its model and its processor
    "text-classification": (hf.AutoModelForSequenceClassification, hf.AutoTokenizer),
    "token-classification": (hf.AutoModelForTokenClassification, hf.AutoTokenizer),
    "audio-classification": (hf.AutoModelForAudioClassification, hf.AutoFeatureExtractor),
    "image-classification": (hf.AutoModelForImageClassification, hf.AutoImageProcessor),
}


@dataclass
class Study:
    """A tiny model of an architecture, data for it, and what has been computed with both."""

    architecture: Architecture
    spec: dict[str, Any]
    folder: Path
    assign: Callable[..., Assignment]
    warm: ModelCache

    def trial(self, depth: int, warm: ModelCache | None = None) -> Memory:
        """A trial of one epoch, in a folder of its own."""
        session = Memory(self.folder / f"{len(list(self.folder.iterdir()))}")
        assert train(self.work(depth), session, warm or self.warm).status == "complete"
        return session

    def work(self, depth: int, kind: AssignmentKind = AssignmentKind.TRAIN, **fields: Any) -> Assignment:
        params = {"freeze_depth": depth, "epochs": 1, "batch_size": 6, "learning_rate": 1e-3}
        return self.assign(kind, params=params, spec=self.spec, **fields)


def _timm_problem() -> str | None:
    try:
        import timm  # noqa: F401
        import torchvision  # noqa: F401
    except Exception as problem:  # a torchvision for another torch fails in ways of its own
        return str(problem)
    return None


@pytest.fixture(params=[*ARCHITECTURES, *TIMM])
def study(request: pytest.FixtureRequest, tmp_path: Path, assign: Callable[..., Assignment]) -> Study:
    if request.param in TIMM and (problem := _timm_problem()):
        pytest.skip(f"timm's models cannot be tested here: {problem}")
    architecture = (ARCHITECTURES | TIMM)[request.param]
    spec = {
        "task": architecture.task,
        "model": str(architecture.build(tmp_path / "model")),
        "dataset": {"source": str(tiny_data(architecture.task, tmp_path / "data")), "validation": 0.2, "test": 0.2},
    }
    (tmp_path / "trials").mkdir()
    return Study(architecture, spec, tmp_path / "trials", assign, ModelCache())


def test_every_task_is_tested_with_an_architecture() -> None:
    assert {architecture.task for architecture in ARCHITECTURES.values()} == set(TASKS) == set(AUTO)


# torch warns of how transformers' WavLM calls it.
@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
def test_the_contract(study: Study, tmp_path: Path) -> None:
    _it_is_inspected(study, tmp_path)
    deepest = study.architecture.blocks
    scores = {depth: _scores(study, depth) for depth in (0, deepest // 2, deepest)}
    assert study.trial(0).metrics == scores[0], "a warm trial repeats the first one"
    assert study.trial(deepest, ModelCache()).metrics == scores[deepest], "a cold one does"
    _the_winner_is_a_model_people_can_use(study, deepest // 2)


def _it_is_inspected(study: Study, tmp_path: Path) -> None:
    found = inspect(study.work(0, AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), study.warm)
    assert len(found.blocks) == study.architecture.blocks
    assert all(block.parameters > 0 for block in found.blocks)
    assert all(above < below for below, above in pairwise(found.trainable_parameters))
    assert found.trainable_parameters[-1] > 0
    assert len(found.label_names) == 2 and min(found.rows.values()) > 0
    assert found.estimates is not None


def _scores(study: Study, depth: int) -> list[Metrics]:
    session = study.trial(depth)
    promised = {metric.name for metric in TASKS[study.architecture.task].metrics}
    (metrics,) = session.metrics
    assert set(metrics) == promised and None not in metrics.values()
    return session.metrics


def _the_winner_is_a_model_people_can_use(study: Study, depth: int) -> None:
    session = study.trial(depth)
    work = study.work(depth, AssignmentKind.EVALUATE, checkpoint=Checkpoint(best=file_ref(session.named("best"))))
    evaluation = evaluate(work, session, study.warm)
    assert evaluation.test is not None and evaluation.model is not None
    folder = session.folder / "winner"
    with tarfile.open(session.folder / NAME) as tar:
        tar.extractall(folder, filter="data")

    auto_model, auto_processor = AUTO[study.architecture.task]
    model, processor = auto_model.from_pretrained(folder).eval(), auto_processor.from_pretrained(folder)
    opened = study.warm.open(work)
    assert model.config.id2label == dict(enumerate(opened.data.label_names))
    assert type(processor) is type(opened.pretrained.processor)
    encoded = opened.encoded("test", 64)
    inputs = opened.task.collate(encoded, range(len(encoded)))
    with torch.no_grad():
        mine, theirs = opened.pretrained.model.eval()(**inputs).logits, model(**inputs).logits
    assert torch.allclose(mine, theirs, rtol=1e-4, atol=1e-5)
