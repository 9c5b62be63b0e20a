"""The winner of an earlier end of a study, whose packed model stays until the next end brings another one.

A column of the study's row: `lifecycle/extension.py` writes it, and the next measurement empties it.
"""

from typing import Any

from pydantic import BaseModel, ConfigDict

from luthier.studies.noise import Noise


class EarlierWinner(BaseModel):
    """What was measured of a packed model whose study goes on, or went on and ended without measuring another one.

    Attributes:
        trial: The number of its trial; None: a version that did not keep it extended the study, and it cannot be told.
        test: Metric -> score on the test split; None where it was not measured, or not kept.
        test_looks: How often winners had been scored on the test split then.
        noise: How exact its scores are.
    """

    model_config = ConfigDict(frozen=True)

    trial: int | None
    test: dict[str, Any] | None = None
    test_looks: int | None = None
    noise: Noise | None = None
