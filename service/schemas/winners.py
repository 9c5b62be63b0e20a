"""The winner of a study and what it is compared with, as the REST interface answers them."""

from pydantic import BaseModel, Field, FiniteFloat

from luthier.service.schemas.noise import GainView, IntervalView
from luthier.studies.averages import Average
from luthier.studies.hyperparameters import Params
from luthier.studies.wire import Metrics


class BestView(BaseModel):
    """The winner so far.

    Attributes:
        trial: its number.
        value: the objective on the validation split; as the best of many it is optimistic.
        standard_error: of `value`, from the validation examples; null until measured.
        params: its configuration.
        test: metric -> score on the test split; null until measured.
        test_looks: how often winners were scored on the test split before this could be read: once, and once more for
            each extension of the study and each end of a study on the same data that it goes on from. Null until
            measured. The more looks, the less the best of them says about new data.
        interval: of the objective on the test split; null until measured, and where resampling tells nothing.
        gain: over the baseline; null until measured, and where the winner is the baseline.
        note: that the gain may be chance, and the cure; null where it is more.
        average: which repetitions were averaged and what that was worth, for `confirm: {average: true}`; null until
            measured, and where nothing was to be averaged.
    """

    trial: int
    value: FiniteFloat
    standard_error: FiniteFloat | None = None
    params: Params
    test: Metrics | None = None
    test_looks: int | None = None
    interval: IntervalView | None = None
    gain: GainView | None = None
    note: str | None = None
    average: Average | None = Field(None, exclude_if=lambda average: average is None)


class BaselineView(BaseModel):
    """Trial 0, the task's known-good defaults.

    Attributes:
        trial: always 0.
        value: the objective on the validation split; null until it has a score.
        test: metric -> score on the test split; null until measured beside the winner.
        interval: of the objective on the test split.
    """

    trial: int
    value: FiniteFloat | None = None
    test: Metrics | None = None
    interval: IntervalView | None = None


class MajorityView(BaseModel):
    """Always giving the answer that is most frequent in the training split, to compare the winner with.

    Attributes:
        label: the answer.
        value: the objective on the validation split; null where it is undefined.
        metrics: metric -> score on the validation split.
        test: metric -> score on the test split; null without one.
    """

    label: str
    value: FiniteFloat | None = None
    metrics: Metrics
    test: Metrics | None = None


class ConfirmedView(BaseModel):
    """A configuration that was trained again on fresh seeds.

    Attributes:
        trial: the number of the trial that had it first.
        values: the objective on the validation split, for each seed.
        mean: of `values`; the best mean wins.
    """

    trial: int
    values: list[FiniteFloat]
    mean: FiniteFloat


class ModelView(BaseModel):
    """The winner's packed model, a .tar.gz, with what was measured of it.

    Attributes:
        url: its path, relative to the service.
        sha256: its checksum, in hexadecimal digits.
        bytes: its size.
        trial: the number of its trial; null where an older version extended the study.
        is_earlier: its trial won before the study was extended, and no winner was measured since.
        test: metric -> its score on the test split.
        test_looks: how often winners had been scored on the test split before this could be read.
        interval: of the objective on the test split.
    """

    url: str
    sha256: str
    bytes: int
    trial: int | None = None
    is_earlier: bool = False
    test: Metrics | None = None
    test_looks: int | None = None
    interval: IntervalView | None = None
