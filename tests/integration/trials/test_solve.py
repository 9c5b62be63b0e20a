"""Trials with `strategy: probe`: the head's last layer is solved for the pretrained features, in one evaluation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import load_file
from sklearn.linear_model import LogisticRegression

from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.packed_model import NAME
from luthier.trials.jobs.train import train
from luthier.trials.training.linear_layer import solved_layer
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.task_study import make_study
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
PROBE = {"strategy": "probe"}


def solved(work: Assignment, session: Memory, cache: ModelCache | None = None) -> Memory:
    finished = train(work, session, cache or ModelCache())
    assert (finished.status, finished.reason) == ("complete", None)
    return session


def test_a_trial_has_one_evaluation_and_changes_one_layer(assign: Assign, tmp_path: Path) -> None:
    session = solved(assign(params=PROBE), Memory(tmp_path / "one"))
    (told,) = session.reports
    assert (told["step"], told["resume"]) == (1, None)
    assert told["metrics"]["accuracy"] > 0.9, "the labels of the tiny data are told by words"
    weights = {name for name in load_file(told["best"]) if "classifier" in name or "pooler" in name}
    assert weights == {"classifier.weight", "classifier.bias"}
    assert any("penalty" in line and "chosen on a fifth of the training rows" in line for line in session.lines)
    # Whatever else a configuration says, with the cache and without it, it is the same trial.
    other = assign(params=PROBE | {"learning_rate": 0.1, "epochs": 9, "freeze_depth": 1, "batch_size": 3})
    again = solved(other, Memory(tmp_path / "again"))
    assert again.metrics == session.metrics


def test_the_layer_is_the_logistic_regression_of_what_goes_into_it(assign: Assign, tmp_path: Path) -> None:
    work, cache = assign(params=PROBE), ModelCache()
    session = solved(work, Memory(tmp_path / "one"), cache)
    study = cache.open(work)
    model, layer = study.pretrained.model, solved_layer(study)
    training = study.encoded("train", 128)
    caught: list[torch.Tensor] = []
    layer.register_forward_hook(lambda module, args, output: caught.append(args[0]))
    with torch.no_grad():
        for row in range(len(training)):
            model(**study.task.collate(training, [row]))
    features = torch.cat(caught).double()
    penalty = float(next(line for line in session.lines if "penalty" in line).split("penalty ")[1].split(",")[0])
    mean, deviation = features.mean(0), features.std(0, unbiased=False)
    labels = study.data.splits["train"].targets
    reference = LogisticRegression(C=1 / penalty, tol=1e-10, max_iter=1_000, solver="newton-cholesky")
    reference.fit(((features - mean) / deviation).numpy(), labels)
    ours = layer(features.float()).double().softmax(1).detach()
    assert ours.numpy() == pytest.approx(reference.predict_proba(((features - mean) / deviation).numpy()), abs=1e-3)


def test_the_packed_winner_is_the_trial(assign: Assign, tmp_path: Path) -> None:
    session = solved(assign(params=PROBE, spec={"semantics": NEWEST_SEMANTICS}), Memory(tmp_path / "one"))
    work = assign(
        AssignmentKind.EVALUATE,
        params=PROBE,
        spec={"semantics": NEWEST_SEMANTICS},
        checkpoint=Checkpoint(best=file_ref(session.named("best"))),
    )
    found = evaluate(work, session, ModelCache())
    assert found.results is not None
    assert found.results.validation is not None
    assert found.results.validation.metrics == pytest.approx(session.metrics[0], abs=1e-5)
    unpack_tar(session.folder / NAME, tmp_path / "packed")
    model = hf.AutoModelForSequenceClassification.from_pretrained(tmp_path / "packed")
    stored = load_file(session.named("best"))
    assert torch.equal(model.classifier.weight, stored["classifier.weight"])


@pytest.mark.parametrize(
    "name", a_few(2, ["bert", "gpt2", "distilbert", "roberta", "vit", "resnet", "mobilenet-v2", "wav2vec2"])
)
def test_models_of_other_kinds_are_solved(name: str, assign: Assign, tmp_path: Path) -> None:
    study = make_study(name, tmp_path, assign)
    work = assign(params=complete(PROBE | {"max_length": 64}), spec=study.spec)
    session = solved(work, Memory(tmp_path / "solved"))
    assert session.metrics[0]["loss"] is not None
    space = {"strategy": ["full", "probe"], "epochs": 1, "learning_rate": 1e-3}
    spec = study.spec | {"space": space, "semantics": NEWEST_SEMANTICS}
    inspect(assign(AssignmentKind.INSPECT, spec=spec), Memory(tmp_path / "inspected"), ModelCache())


def test_a_model_without_such_a_layer_is_refused(assign: Assign, session: Memory, monkeypatch: Any) -> None:
    forward = hf.BertForSequenceClassification.forward

    def bent(self: Any, *args: Any, **options: Any) -> Any:
        output = forward(self, *args, **options)
        output["logits"] = output["logits"].tanh()
        return output

    monkeypatch.setattr(hf.BertForSequenceClassification, "forward", bent)
    spec = {"space": {"strategy": "probe"}, "semantics": NEWEST_SEMANTICS}
    with pytest.raises(BadData, match="the answers of BertForSequenceClassification are not one linear layer") as error:
        inspect(assign(AssignmentKind.INSPECT, spec=spec), session, ModelCache())
    assert error.value.path == ["space", "strategy"]
