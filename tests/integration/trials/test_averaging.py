"""The winner's weights are the mean of its repetitions' weights, as far as that is better on validation."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from luthier.studies.averages import Average, MemberWeights
from luthier.studies.protocol import Assignment, AssignmentKind, Checkpoint
from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.trials.files import file_ref
from luthier.trials.jobs import averaging
from luthier.trials.jobs.averaging import average
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.packed_model import ABOUT, NAME
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.archives import unpack_tar
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
SPEC = {"semantics": NEWEST_SEMANTICS, "confirm": {"average": True}}


class Scripted(torch.nn.Module):
    """A layer, a batch norm and a counter, whose weights are all one number."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.norm = torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)

    def be(self, number: float) -> None:
        for tensor in self.state_dict().values():
            tensor.fill_(number)


@pytest.mark.parametrize(
    ("maximize", "taken", "mean"), [(True, [True, True, False], 3.0), (False, [True, False, True], 1.5)]
)
def test_a_member_is_taken_where_the_score_gets_better(
    assign: Assign, session: Memory, maximize: bool, taken: list[bool], mean: float
) -> None:
    """The score is the weight itself. Members: 2 with 4 is 3, and with 1 less; less is better: 2 with 1 is 1.5."""
    metric = {"metric": "accuracy" if maximize else "loss"}
    ref = {"name": "x", "bytes": 1, "sha256": "0" * 64}
    members = [MemberWeights(repetition=n, seed=number, value=0.5, weights=ref) for n, number in ((5, 4), (6, 1))]
    work = assign(
        AssignmentKind.EVALUATE,
        spec=SPEC | {"objective": metric},
        members=members,
        number=4,
        checkpoint=Checkpoint(best_value=0.6),
    )
    model = Scripted()
    model.be(2)
    score: Callable[[], float] = lambda: float(model.layer.weight.detach()[0, 0])  # noqa: E731
    found = average(work, session, model, lambda member: model.be(member.seed), score)
    assert isinstance(found, Average)
    assert [one.taken for one in found.members] == taken
    assert [one.repetition for one in found.members] == [4, 5, 6]
    assert (found.taken, found.alone, found.score) == (True, 2.0, mean)
    assert all(float(t.flatten()[0]) == mean for n, t in model.state_dict().items() if "batches" not in n)
    assert int(model.norm.num_batches_tracked) == 2, "a counter is the winner's"


def test_a_winner_is_packed_with_the_mean_of_its_repetitions(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, session = ModelCache(), Memory(tmp_path / "winner")
    params = {"freeze_depth": 2, "epochs": 1}
    train(assign(params=params, spec=SPEC, seed=1), session, cache)
    other = Memory(tmp_path / "other")
    train(assign(params=params, spec=SPEC, seed=2), other, cache)
    shutil.copy(other.named("best"), session.folder / "member-0.safetensors")
    (session.folder / "member-1.safetensors").write_bytes(b"damaged")
    weights = [file_ref(session.folder / f"member-{n}.safetensors") for n in (0, 1)]
    members = [MemberWeights(repetition=n, seed=2, value=0.5, weights=ref) for n, ref in enumerate(weights, 8)]
    monkeypatch.setattr(averaging, "is_better", lambda a, b, maximize: True)
    best = Checkpoint(best=file_ref(session.named("best")), best_value=0.5)
    work = assign(AssignmentKind.EVALUATE, params=params, spec=SPEC, seed=1, members=members, number=7, checkpoint=best)
    found = evaluate(work, session, cache)
    assert found.average is not None
    assert [one.repetition for one in found.average.members] == [7, 8]
    assert any("Repetition 9 is no part of the average" in line for line in session.lines)
    unpack_tar(session.folder / NAME, tmp_path / "packed")
    about = json.loads((tmp_path / "packed" / ABOUT).read_text())
    assert about["average"] == found.average.model_dump(mode="json")
    packed = load_file(tmp_path / "packed" / "model.safetensors")["classifier.weight"]
    own, theirs = (load_file(one.named("best"))["classifier.weight"] for one in (session, other))
    assert torch.allclose(packed, (own + theirs) / 2, atol=1e-7)
    assert found.results is not None
    assert found.results.validation is not None
    assert found.results.validation.metrics["accuracy"] == pytest.approx(found.average.score)
