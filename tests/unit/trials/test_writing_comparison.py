"""An equal challenger that writes texts is seldom promoted (A/A): by a loss per token, and by chrF over all texts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from luthier.studies.promotion import Promote, judge
from luthier.studies.protocol import Assignment
from luthier.studies.results import Comparison
from luthier.trials.data.text_targets import TextTargets
from luthier.trials.jobs import replicates
from luthier.trials.jobs.predictions import Predictions
from luthier.trials.jobs.replicates import Replicates
from luthier.trials.tasks.registry import task_code
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.tasks.text_metrics import CHRF_ORDER
from tests.support.trials import Memory

RUNS, EXAMPLES = 60, 60
MOST = 0.05 + 2 * (0.05 * 0.95 / RUNS) ** 0.5
"""False promotions that 5 % and two standard errors allow."""


def statistics(hard: torch.Tensor, draw: torch.Generator) -> Statistics:
    """Return those of a model that finds hard what others find hard, and otherwise errs by chance."""
    tokens = torch.randint(3, 30, (EXAMPLES,), generator=torch.Generator().manual_seed(int(1e6 * hard.sum()))).double()
    noise = torch.rand(EXAMPLES, generator=draw, dtype=torch.double)
    share = (0.5 * hard + 0.5 * noise)[:, None]
    wanted = (tokens[:, None] - torch.arange(CHRF_ORDER)).clamp(min=1)
    counts = torch.stack([wanted, wanted, (wanted * share).round()], 2).flatten(1)
    texts = {"chrf": counts, "bleu": torch.zeros(EXAMPLES, 10), "rouge_l": share[:, 0], "exact": torch.zeros(EXAMPLES)}
    return Statistics({"nll": tokens * (1 - share[:, 0]), "tokens": tokens, "right_tokens": tokens, **texts}, {})


@pytest.mark.full
@pytest.mark.parametrize("metric", ["loss", "chrf"])
def test_an_equal_challenger_is_seldom_promoted(
    assign: Callable[..., Assignment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, metric: str
) -> None:
    monkeypatch.setattr(replicates, "REPLICATES", 100)
    task, targets, draw = task_code("text2text-generation"), TextTargets("target"), torch.Generator().manual_seed(1)
    spec = {"task": task.name, "objective": {"metric": metric}}
    promoted = 0
    for run in range(RUNS):
        hard = torch.rand(EXAMPLES, generator=draw, dtype=torch.double)
        encoded: Any = None
        models = [Predictions(task, targets, encoded, statistics(hard, draw)) for _ in range(2)]
        assignment = assign(spec=spec, seed=run)
        exchanged, resampled = Replicates(assignment, Memory(tmp_path), *models, None).draw()  # type: ignore[arg-type]
        found = {
            "examples": EXAMPLES,
            "excluded": 0,
            "labelled_units": EXAMPLES,
            "independent": True,
            "gained": 0,
            "lost": 0,
        }
        scores = {side: model.scores() for side, model in zip(("champion", "challenger"), models, strict=True)}
        file = {"name": "none", "sha256": "0" * 64, "bytes": 0}
        comparison = Comparison.model_validate(
            found | scores | {"exchanged": exchanged, "resampled": resampled, "predictions": file}
        )
        promoted += judge(comparison, assignment.spec.objective, Promote(confidence=0.95), False).promoted
    assert promoted / RUNS <= MOST
