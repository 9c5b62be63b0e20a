"""The part of a spec that names a study whose best configurations are run first, right after the baseline.

`spec_keys.py` puts it into a spec under `warm_start`. The service writes the configurations out when it creates the
study (`service/lifecycle/warm_sources.py`), so that nothing changes with the other study or with its end.
`translation.py` puts them into the terms of the new one.
"""

from pydantic import Field, FiniteFloat

from luthier.studies.documents import Document
from luthier.studies.origin import OldConfiguration, Origin

MOST = 50  # configurations


class BestTrial(Document):
    """A configuration of another study, in the terms of this one's space; and what it scored there."""

    trial: int | None = Field(None, ge=0, description="Its number in the other study.")
    value: FiniteFloat | None = None
    params: dict[str, bool | int | FiniteFloat | str]


class BestOfStudy(Document):
    """The best configurations of another study of the project, which may still run."""

    study: str = Field(min_length=1, max_length=63, description="The other study, of the same task.")
    top: int = Field(5, ge=1, le=MOST, description="So many configurations, the best first.")
    trials: list[BestTrial] | None = Field(
        None,
        min_length=1,
        max_length=MOST,
        exclude_if=lambda trials: trials is None,
        description="The configurations, which the service writes here when it creates the study. Written already, the "
        "other study is not asked.",
    )

    def as_origin(self) -> Origin:
        """Return the configurations as old trials of which none counts as run."""
        trials = [OldConfiguration(params=best.params, value=best.value) for best in self.trials or []]
        return Origin.model_construct(trials=trials, take="params")
