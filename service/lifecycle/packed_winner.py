"""A study's packed model with what was measured of it: its present winner's, or that of an end before an extension.

Views, predictions and results read it, so that none of them shows one winner's scores beside another one's model.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from luthier.service.storage.column_types import StoredModel
from luthier.service.storage.earlier import EarlierWinner
from luthier.service.storage.tables import StudyRow
from luthier.studies.noise import Noise


@dataclass(frozen=True)
class PackedWinner:
    """A packed model.

    Attributes:
        model: its file, and where it lies.
        trial: the number of its trial; None where an older version extended the study, and it cannot be told.
        is_earlier: it is of an end before the study was extended, and no winner was measured since.
        test: metric -> its score on the test split; None where that is not known.
        test_looks: how often winners had been scored on the test split then.
        noise: how exact its scores are; None where that is not known.
    """

    model: StoredModel
    trial: int | None
    is_earlier: bool
    test: Mapping[str, Any] | None = None
    test_looks: int | None = None
    noise: Noise | None = None


def packed_winner(study: StudyRow) -> PackedWinner | None:
    """Return the packed model of a study; None where it has none."""
    if study.model is None:
        return None
    if study.earlier is None:
        noise = study.noise if isinstance(study.noise, Noise) else None
        looks = study.test_looks if study.test is not None else None
        return PackedWinner(study.model, study.winner, False, study.test, looks, noise)
    if not isinstance(study.earlier, EarlierWinner):  # a newer version wrote it
        return PackedWinner(study.model, None, True)
    earlier = study.earlier
    return PackedWinner(study.model, earlier.trial, True, earlier.test, earlier.test_looks, earlier.noise)


def set_aside(study: StudyRow) -> None:
    """Keep what was measured of a locked study's present winner with its model, before the study goes on."""
    study.earlier = EarlierWinner(
        trial=study.winner,
        test=study.test,
        test_looks=study.test_looks if study.test is not None else None,
        noise=study.noise if isinstance(study.noise, Noise) else None,
    )
