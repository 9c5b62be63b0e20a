"""No answer depends on the other inputs of its batch, whatever a model does with padding."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Batching, Inspection
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.exact import measure
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.neighbours import find_batching
from luthier.trials.jobs.packed_model import unpack
from luthier.trials.jobs.predictions import predict
from luthier.trials.jobs.train import fit, train
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import Trial, open_trial
from tests.support.architectures import ARCHITECTURES, Architecture, of_models, tiny_data
from tests.support.findings import about
from tests.support.peculiar import PECULIAR, USUAL, Peculiar, nystromformer, reformer
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
PARAMS = {"epochs": 2, "batch_size": 6, "learning_rate": 1e-2}
FIRST = ("reads its last place", "has no mask", "wants as many ends")
CASES = [*FIRST, *(name for name in PECULIAR if name not in FIRST)]
"""The fastest of each kind come first: padded on the left, never padded, and one that takes no batch."""

pytestmark = pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")


def work(assign: Assign, model: Path, task: str, data: Path, **fields: Any) -> Assignment:
    """Return an assignment with the newest semantics."""
    spec = {
        "task": task,
        "model": str(model),
        "dataset": {"source": str(data), "validation": 0.3, "test": 0.2},
        "semantics": 2,
    }
    params = PARAMS | fields.pop("params", {})
    return assign(fields.pop("kind", AssignmentKind.TRAIN), params=params, spec=spec, **fields)


def make(found: Peculiar | Architecture, folder: Path, assign: Assign) -> Callable[..., Assignment]:
    """Build model and data, and return a function that makes assignments over them."""
    architecture = found if isinstance(found, Architecture) else found.architecture
    model = architecture.build(folder / "model")
    data = tiny_data(found.task, folder / "data") if isinstance(found, Architecture) else found.data(folder / "data")
    return lambda **fields: work(assign, model, architecture.task, data, **fields)


def inspected(make_work: Callable[..., Assignment], folder: Path, cache: ModelCache) -> Inspection:
    """Inspect in a session of its own."""
    return inspect(make_work(kind=AssignmentKind.INSPECT), Memory(folder / "inspection"), cache)


@torch.no_grad()
def alone(trial: Trial, encoded: Encoded) -> torch.Tensor:
    """Return the likelihood of each unit's truth, from a plain forward of each example alone."""
    task = trial.study.task
    trial.model.eval()
    single = encoded.batched(Batching.SINGLE)
    found = []
    for row in range(len(single)):
        result = trial.model(**task.collate(single, [row]))
        outputs = {name: getattr(result, name) for name in task.outputs}
        answers = task.answers(outputs, task.collate_targets(single, [row]))
        found.append(likelihood(task.statistics(answers, single, [row])))
    return torch.cat(found)


def likelihood(statistics: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the first statistic that is a number with decimals."""
    return next(values for values in statistics.values() if values.is_floating_point() and values.ndim == 1)


def difference(trial: Trial) -> float:
    """Return by how much the answers of the engine differ the most from those of each example alone."""
    worst = 0.0
    for encoded in (trial.training, trial.validation):
        statistics = trial.engine.evaluate(encoded, trial.study.data.targets).units
        if trial.study.task.outputs != ("logits",):
            found, expected = statistics["loss"], losses_alone(trial, encoded)
        else:
            found, expected = likelihood(statistics), alone(trial, encoded)
        worst = max(worst, float((found - expected).abs().max()))
    return worst


def losses_alone(trial: Trial, encoded: Encoded) -> torch.Tensor:
    """Return the loss of each example, with its rows computed alone."""
    single, study = encoded.batched(Batching.SINGLE), trial.study
    return measure(trial.model, study.task, MicroBatch(), single, study.data.targets, lambda: None).units["loss"]


def trained(job: Assignment, folder: Path, cache: ModelCache) -> tuple[float, list[Any]]:
    """Train, and return the largest difference of answers, and the metrics."""
    session = Memory(folder)
    with open_trial(job, session, cache) as trial:
        assert fit(trial).status == "complete"
        return difference(trial), session.metrics


@pytest.mark.parametrize("name", a_few(2, CASES))
def test_answers_are_those_that_each_example_gets_alone(name: str, tmp_path: Path, assign: Assign) -> None:
    peculiar, cache = PECULIAR[name], ModelCache()
    job = make(peculiar, tmp_path, assign)
    found = inspected(job, tmp_path, cache)
    assert found.batching is peculiar.batching
    assert about(found, "padding-matters")
    assert trained(job(inspection=found), tmp_path / "0", cache)[0] < 1e-5
    padded = found.model_copy(update={"batching": Batching.RIGHT})
    if peculiar.batching is not Batching.SINGLE:  # such a model takes no batch at all
        assert trained(job(inspection=padded), tmp_path / "1", cache)[0] > 1e-4, "as it was before"


@pytest.mark.parametrize("name", a_few(1, CASES))
def test_a_frozen_part_gives_the_same_scores(name: str, tmp_path: Path, assign: Assign) -> None:
    """With the frozen-prefix cache where there is one."""
    peculiar, cache = PECULIAR[name], ModelCache()
    job = make(peculiar, tmp_path, assign)
    found = inspected(job, tmp_path, cache)
    depth = len(found.blocks)
    for freeze in (depth - 1, depth):
        train = job(inspection=found, params={"freeze_depth": freeze})
        worst, metrics = trained(train, tmp_path / f"{freeze}", cache)
        assert worst < 1e-5
        assert trained(train, tmp_path / f"{freeze} cold", ModelCache())[1] == metrics


@pytest.mark.parametrize(
    "name",
    [*of_models(timm=False), *a_few(0, USUAL)],
)
def test_most_models_are_padded_as_before(name: str, tmp_path: Path, assign: Assign) -> None:
    found = (ARCHITECTURES | USUAL)[name]
    job, cache = make(found, tmp_path, assign), ModelCache()
    result = inspected(job, tmp_path, cache)
    if name.partition("-")[0] in ("wav2vec2", "wavlm"):
        assert result.batching is Batching.EQUAL
        return
    assert result.batching is Batching.RIGHT
    assert not about(result, "padding-matters")
    scores = [trained(job(inspection=known), tmp_path / str(known is None), cache)[1] for known in (None, result)]
    assert scores[0] == scores[1]


def test_words_are_found_behind_padding_on_the_left(tmp_path: Path, assign: Assign) -> None:
    """This model may be padded on both sides."""
    architecture = replace(PECULIAR["reads its last place"].architecture, task="token-classification")
    job, cache = make(architecture, tmp_path, assign), ModelCache()
    found = inspected(job, tmp_path, cache)
    assert found.batching is Batching.RIGHT
    left = found.model_copy(update={"batching": Batching.LEFT})
    assert trained(job(inspection=left), tmp_path / "left", cache)[0] < 1e-5


@pytest.mark.parametrize("name", a_few(1, ["reads its last place", "has no mask", "normalises over time"]))
def test_a_winner_is_compared_as_it_was_scored(name: str, tmp_path: Path, assign: Assign) -> None:
    peculiar, cache, session = PECULIAR[name], ModelCache(), Memory(tmp_path / "trial")
    job = make(peculiar, tmp_path, assign)
    found = inspected(job, tmp_path, cache)
    train(job(inspection=found), session, cache)
    winner = job(kind=AssignmentKind.EVALUATE, inspection=found, checkpoint=session.checkpoint())
    test = evaluate(winner, session, cache).test
    study = cache.open(winner)
    ref = file_ref(session.folder / "model.tar.gz")
    (tmp_path / "unpacked").mkdir()
    packed = unpack(session.folder, ref, tmp_path / "unpacked", peculiar.architecture.task)
    assert packed.batching is peculiar.batching
    examples, targets = study.data.splits["test"], study.data.targets
    again = predict(packed, examples, targets, winner.spec, session, cache.micro_batch)
    assert again.scores() == pytest.approx(test, abs=1e-5)


def test_studies_that_exist_are_padded_as_they_were(tmp_path: Path, assign: Assign) -> None:
    job, cache = make(PECULIAR["reads its last place"], tmp_path, assign), ModelCache()
    first = job(kind=AssignmentKind.INSPECT)
    older = first.model_copy(update={"spec": first.spec.with_semantics(1)})
    found = inspect(older, Memory(tmp_path / "older"), cache)
    assert found.batching is Batching.RIGHT
    assert not about(found, "padding-matters")


def test_a_frozen_part_is_kept_without_padding(tmp_path: Path, assign: Assign) -> None:
    cache, session = ModelCache(), Memory(tmp_path / "trial")
    job = make(PECULIAR["has no mask"], tmp_path, assign)
    found = inspected(job, tmp_path, cache)
    train(job(inspection=found, params={"freeze_depth": 2}), session, cache)
    assert any("frozen prefix of depth 2" in line for line in session.lines)


def test_a_model_that_takes_no_example_alone_is_refused(tmp_path: Path, assign: Assign) -> None:
    """It cuts each input into segments of a length that these inputs are no multiples of."""
    study = ModelCache().open(make(nystromformer(), tmp_path, assign)(kind=AssignmentKind.INSPECT))
    with pytest.raises(BadData, match=r"cannot take one example alone: .* Choose another model") as refusal:
        find_batching(study, 64)
    assert refusal.value.path == ["model"]


def test_a_model_that_draws_at_random_is_refused(tmp_path: Path, assign: Assign) -> None:
    with pytest.raises(BadData, match="answers the same example differently each time") as refusal:
        inspected(make(reformer(), tmp_path, assign), tmp_path, ModelCache())
    assert refusal.value.path == ["model"]
