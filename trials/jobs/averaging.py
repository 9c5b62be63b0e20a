"""The greedy mean of a winner's weights over its repetitions, each taken where the score on validation gets better.

`evaluate` calls it before it measures anything else (Wortsman et al. 2022, "Model soups", recipe 1). The test split has
no part in it.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from luthier.studies.averages import Average, AverageMember
from luthier.studies.protocol import Assignment, Checkpoint
from luthier.studies.spec import is_better
from luthier.trials.errors import DamagedFile
from luthier.trials.session import Session

Tensors = Mapping[str, torch.Tensor]


def average(
    assignment: Assignment,
    session: Session,
    model: nn.Module,
    restore: Callable[[Assignment], None],
    score: Callable[[], float | None],
) -> Average | None:
    """Give a model the mean of the winner's weights and those of its repetitions that make it better.

    Weights are averaged as people get them, adapters merged, in float32; running statistics of batch norms too. What is
    no number with a fraction (a counter) is the winner's.

    Args:
        assignment: The winner's; its members are tried in their order.
        session: Its log says which members were taken.
        model: Has the winner's weights, and afterwards the mean.
        restore: Gives the model the weights of an assignment's checkpoint, adapters merged. It raises DamagedFile.
        score: Returns the objective of the model on validation.

    Returns:
        What was tried; None without members.
    """
    if not assignment.members:
        return None
    maximize = assignment.spec.maximize
    total = _weights(model)
    alone = best = score()
    count, value = 1, assignment.checkpoint.best_value
    tried = [AverageMember(repetition=assignment.number or 0, value=value, score=best, taken=True)]
    for member in assignment.members:
        changes = {"seed": member.seed, "checkpoint": Checkpoint(best=member.weights)}
        try:
            restore(assignment.model_copy(update=changes))
        except DamagedFile as damage:
            session.log(f"Repetition {member.repetition} is no part of the average: {damage}")
            continue
        together = _sum(total, _weights(model))
        _load(model, together, count + 1)
        found = score()
        taken = found is not None and (best is None or is_better(found, best, maximize))
        tried.append(AverageMember(repetition=member.repetition, value=member.value, score=found, taken=taken))
        if taken:
            total, best, count = together, found, count + 1
    _load(model, total, count)
    told = ", ".join(f"{one.repetition} ({_shown(one.score)}{'' if one.taken else ', left out'})" for one in tried)
    session.log(f"average of repetitions, {assignment.spec.objective.metric} on validation with each: {told}")
    return Average(taken=count > 1, alone=alone, score=best, members=tried)


def _weights(model: nn.Module) -> Tensors:
    """Return a copy of a model's parameters and buffers, on the CPU; those with fractions in float32."""
    return {
        name: tensor.detach().to("cpu", torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in model.state_dict().items()
    }


def _sum(a: Tensors, b: Tensors) -> Tensors:
    return {name: tensor + b[name] if tensor.is_floating_point() else tensor for name, tensor in a.items()}


@torch.no_grad()
def _load(model: nn.Module, total: Tensors, count: int) -> None:
    """Give a model the mean of the weights of which `total` is the sum."""
    for name, tensor in model.state_dict().items():
        tensor.copy_(total[name] / count if total[name].is_floating_point() else total[name])


def _shown(score: float | None) -> str:
    return "undefined" if score is None else f"{score:.4f}"
