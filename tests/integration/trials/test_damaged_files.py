"""Checkpoints that cannot be used: a trial starts over and scores the same, a winner is said to be damaged."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from luthier.studies.protocol import Assignment, AssignmentKind, Decision
from luthier.trials.errors import DamagedFile, Ended
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
EPOCHS = {"epochs": 2}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4] ^= 0xFF
    path.write_bytes(content)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def of_another_configuration(path: Path) -> None:
    with safe_open(path, "pt") as file:
        about = file.metadata()
    save_file({name: torch.zeros(3) for name in load_file(path)}, path, about)


def without_header(path: Path) -> None:
    save_file(load_file(path), path)


@pytest.mark.parametrize("harm", a_few(1, [cut, Path.unlink, flip, empty, of_another_configuration, without_header]))
def test_a_trial_that_cannot_go_on_starts_over_and_scores_the_same(
    assign: Assign, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    whole, first = Memory(tmp_path / "whole"), Memory(tmp_path / "parts", lambda step: Decision.STOP)
    train(assign(params=EPOCHS), whole, ModelCache())
    with pytest.raises(Ended):
        train(assign(params=EPOCHS), first, ModelCache())
    again = Memory(tmp_path / "parts")
    resumed = assign(params=EPOCHS, attempt=2, checkpoint=first.checkpoint())
    harm(first.named("resume"))
    train(resumed, again, ModelCache())
    assert again.metrics == whole.metrics
    assert any("cannot be used" in line and "starts at the beginning" in line for line in again.lines)


@pytest.mark.parametrize("harm", a_few(1, [of_another_configuration, Path.unlink]))
def test_a_winner_that_cannot_be_read_is_damaged(assign: Assign, session: Memory, harm: Callable[[Path], None]) -> None:
    train(assign(params=EPOCHS), session, ModelCache())
    work = assign(AssignmentKind.EVALUATE, params=EPOCHS, checkpoint=session.checkpoint())
    harm(session.named("best"))
    with pytest.raises(DamagedFile, match="weights cannot be used"):
        evaluate(work, session, ModelCache())
