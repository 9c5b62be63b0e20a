"""Which pooling suits a study's data: what the space may hold, and what `pooling: auto` stands for.

The inspection calls it, once for each model.
"""

from collections.abc import Callable

import torch

from luthier.studies.hyperparameters import AUTO
from luthier.studies.spec import StudySpec
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData
from luthier.trials.jobs.linear_probe import MOST_CLASSES, held_out_probabilities, training_features
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.open_study import OpenStudy

SPEC_PATH = ("space", "pooling")


def choose_pooling(
    spec: StudySpec, study: OpenStudy, max_length: int, poll: Callable[[], None], log: Callable[[str], None]
) -> str | None:
    """Return what `pooling: auto` stands for with this model; None: the pooling that its class always has.

    The pooling is chosen whose vectors let a linear probe predict held-out training rows best, by their mean log
    likelihood; of equal ones the model's own.

    Args:
        spec: The study's.
        study: Data and model.
        max_length: Of the inputs.
        poll: Called before each batch.
        log: Writes a line into the inspection's log.

    Raises:
        BadData: The space asks for a pooling that the model's class does not have.
    """
    _check_space(spec, study, max_length)
    pooling, targets = study.pretrained.pooling, study.data.targets
    if pooling is None or not spec.space.offers("pooling", AUTO):
        return None
    if type(targets) is not ClassTargets or len(targets.names) > MOST_CLASSES:
        return None
    rows, found = training_features(study, max_length, poll)
    if not set(pooling.words) <= set(found):
        log(f"pooling auto is {pooling.own} for {study.name}, its own: memory does not suffice to choose")
        return None
    training = study.data.splits["train"].targets
    labels = torch.tensor([training[row] for row in rows])
    scores = {}
    for name in sorted(pooling.words, key=lambda name: name != pooling.own):
        probabilities = held_out_probabilities(found[name], labels, len(targets.names))
        scores[name] = float(probabilities.gather(1, labels[:, None]).log().mean())
    chosen = max(scores, key=lambda name: scores[name])
    told = ", ".join(f"{name} {score:.4f}" for name, score in scores.items())
    log(f"pooling auto is {chosen} for {study.name}: log likelihood of held-out labels by a linear probe: {told}")
    return chosen


def _check_space(spec: StudySpec, study: OpenStudy, max_length: int) -> None:
    """Raise BadData where the space holds a pooling that the model's class does not have."""
    for name in ("first", "mean", "last"):
        if "pooling" not in spec.space or not spec.space.offers("pooling", name):
            continue
        pooling = study.pretrained.pooling
        allowed = list(pooling.words) if pooling else [_own_pooling(study, study.encoded("validation", max_length))]
        if name not in allowed:
            kind = type(study.pretrained.model).__name__
            text = f"{study.name} cannot pool by {name!r}: {kind} has {' and '.join(allowed)} only; leave pooling out"
            text += ", or choose a model whose class has it (ModernBERT's kind has first and mean)."
            raise BadData(text, *SPEC_PATH)


def _own_pooling(study: OpenStudy, encoded: Encoded) -> str:
    """Return the pooling of a model whose class has no choice, by the tokens on which its logits depend."""
    row = max(range(len(encoded)), key=lambda i: encoded.lengths[i])
    caught: list[torch.Tensor] = []

    def watch(module: object, args: object, output: object) -> object:
        hidden = output if isinstance(output, torch.Tensor) else output[0]  # type: ignore[index]
        caught[:] = [hidden.detach().requires_grad_()]
        return caught[0] if isinstance(output, torch.Tensor) else (caught[0], *output[1:])  # type: ignore[index]

    block = study.backbone.blocks[-1]
    handle = block.register_forward_hook(watch)
    engine = Engine(study.pretrained.model.eval(), study.task, MicroBatch())  # type: ignore[no-untyped-call]
    try:
        with torch.enable_grad():
            total = engine.forward(engine.collate(encoded, [row]))["logits"].square().sum()
    finally:
        handle.remove()
    (gradient,) = torch.autograd.grad(total, caught, allow_unused=True)
    used = [] if gradient is None else gradient[0].flatten(1).any(1).nonzero()[:, 0].tolist()  # places
    return "first" if used == [0] else "last" if used == [caught[0].shape[1] - 1] else "mean"
