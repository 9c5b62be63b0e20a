"""A study keeps the blocks that its inspection found, where this version finds others: its freeze depths stay."""

from collections.abc import Callable
from pathlib import Path

import pytest

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Block, Inspection
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.training.model_cache import ModelCache
from tests.support.trials import Memory

Assign = Callable[..., Assignment]


@pytest.fixture
def inspection(assign: Assign, tmp_path: Path) -> Inspection:
    """What this version finds: two blocks."""
    found = inspect(assign(AssignmentKind.INSPECT), Memory(tmp_path / "inspection"), ModelCache())
    assert isinstance(found, Inspection)
    return found


def with_blocks(inspection: Inspection, *names: str) -> Inspection:
    return inspection.model_copy(update={"blocks": [Block(name=name, parameters=1) for name in names]})


@pytest.mark.full
def test_an_earlier_versions_blocks_are_frozen_and_cached_apart(
    assign: Assign, inspection: Inspection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LUTHIER_CACHE_DIR", str(tmp_path / "prefixes"))
    lower, upper = (block.name for block in inspection.blocks)
    params = {"freeze_depth": 1, "epochs": 1}
    new = assign(params=params, inspection=inspection)
    old = assign(params=params, inspection=with_blocks(inspection, upper))

    def losses(work: Assignment, warm: ModelCache) -> list[float | None]:
        session = Memory(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        train(work, session, warm)
        return [metrics["loss"] for metrics in session.metrics]

    alone = {id(work): losses(work, ModelCache()) for work in (new, old)}
    assert alone[id(new)] != alone[id(old)], "of one block all is frozen at depth 1, of two blocks half"
    warm = ModelCache()
    for work in (new, old, new, old):
        assert losses(work, warm) == alone[id(work)]
    assert warm.open(old).backbone.names == [upper]
    assert warm.open(new).backbone.names == [lower, upper]
    assert warm.open(assign(AssignmentKind.INSPECT)).backbone.names == [lower, upper]


def test_blocks_that_the_model_lacks_are_found_anew_once(assign: Assign, inspection: Inspection) -> None:
    """As under a version of transformers that calls its modules otherwise."""
    warm, work = ModelCache(), assign(inspection=with_blocks(inspection, "bert.layers.1", "bert.layers.0"))
    first = warm.open(work)
    assert first.backbone.names == [block.name for block in inspection.blocks]
    assert warm.open(work).backbone is first.backbone
