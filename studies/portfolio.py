"""Known-good configurations of a task, which are tried right after the baseline of a study.

The lists are in `portfolio.json`, beside this file; `benchmarks/portfolio.py` chooses them from recorded curves. A list
never changes for studies that exist: a later one is for later semantics. `spec_problems.py` asks whether a spec may
have one, the service which configurations a study has. Nothing is drawn here.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from luthier.studies.best_of_study import BestOfStudy
from luthier.studies.budget import Budget
from luthier.studies.documents import Path as Keys
from luthier.studies.hyperparameters import Params
from luthier.studies.model_space import ModelsSpace, frozen_blocks
from luthier.studies.semantics import PORTFOLIO_FIRST
from luthier.studies.space import Space
from luthier.studies.strategy import Sampler
from luthier.studies.task import Task

FILE = Path(__file__).with_name("portfolio.json")
FROZEN = "frozen"  # in the file: the share of the blocks that stay frozen
_DEPTH = "freeze_depth"


def portfolio_problems(sampler: Sampler, task: Task, semantics: int) -> list[tuple[Keys, str]]:
    """Return why a spec cannot have the portfolio that it asks for, with the path."""
    if not sampler.portfolio:
        return []
    if sampler.name == "grid":
        text = "has no meaning for a grid, which runs every configuration: leave it out"
    elif not _entries(task.name, max(semantics, PORTFOLIO_FIRST)):
        text = (
            f"there are no known-good configurations for {task.name}: leave it out, or write them as warm_start or from"
        )
    else:
        return []
    return [(("sampler", "portfolio"), text)]


def portfolio(
    space: Space,
    depths: Sequence[int],
    task: Task,
    semantics: int,
    sampler: Sampler,
    budget: Budget,
    warm_start: BestOfStudy | None,
) -> list[Params]:
    """Return the configurations that a study tries after its baseline and its warm start; none unless the spec asks.

    Some may be the same ones, or the baseline: the search drops what was a trial already.

    Args:
        space: The study's, resolved.
        depths: The number of blocks of each of its models.
        task: Its task.
        semantics: That it began with.
        sampler: Its sampler.
        budget: That it began with: an extension changes nothing.
        warm_start: What runs before.
    """
    if not sampler.portfolio:
        return []
    entries = _entries(task.name, max(semantics, PORTFOLIO_FIRST))
    if budget.trials is not None:  # half of the trials are the search's own
        warm = len(warm_start.trials or []) if warm_start is not None else 0
        entries = entries[: max(0, budget.trials // 2 - warm)]
    return [configuration(entry, space, depths, task) for entry in entries]


def configuration(entry: Mapping[str, Any], space: Space, depths: Sequence[int], task: Task) -> Params:
    """Return the configuration of a resolved space that is nearest to an entry of the file.

    What the entry leaves out has the baseline's value.

    Args:
        entry: Hyperparameters by name, and the share of frozen blocks.
        space: The study's.
        depths: The number of blocks of each of its models.
        task: The study's.
    """
    params = {name: value for name, value in entry.items() if name != FROZEN}
    if FROZEN in entry:
        share = float(entry[FROZEN])
        params[_DEPTH] = share if isinstance(space, ModelsSpace) else frozen_blocks(share, depths[0])
    return space.with_baseline(params, task.baseline)


def _entries(task: str, semantics: int) -> list[dict[str, Any]]:
    """Return the latest list of a task that is not later than the semantics; empty without one."""
    lists = [one for one in _lists().get(task, []) if one["semantics"] <= semantics]
    return list(max(lists, key=lambda one: int(one["semantics"]))["configurations"]) if lists else []


@cache
def _lists() -> dict[str, list[dict[str, Any]]]:
    return dict(json.loads(FILE.read_text(encoding="utf-8"))["tasks"])
