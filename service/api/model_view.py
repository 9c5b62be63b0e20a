"""The view of a study's packed model, with what was measured of it. Nothing is changed here."""

from luthier.service.lifecycle.packed_winner import packed_winner
from luthier.service.schemas import IntervalView, ModelView
from luthier.service.storage.tables import StudyRow
from luthier.studies.intervals import Interval


def model_view(study: StudyRow) -> ModelView | None:
    """Return a study's packed model, which may be an earlier winner's; None where it has none."""
    packed = packed_winner(study)
    if packed is None:
        return None
    return ModelView(
        url=f"/v1/studies/{study.name}/model",
        sha256=packed.model.sha256,
        bytes=packed.model.bytes,
        trial=packed.trial,
        is_earlier=packed.is_earlier,
        test=None if packed.test is None else dict(packed.test),
        test_looks=packed.test_looks,
        interval=None if packed.noise is None else interval_view(packed.noise.interval),
    )


def interval_view(interval: Interval | None) -> IntervalView | None:
    """Return an interval, or None."""
    return None if interval is None else IntervalView.model_validate(interval.model_dump())
