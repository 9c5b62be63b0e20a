"""How many studies and data sets there may be, of one project and of all: asked before another one is made.

Routes and `uploads.store` call it in the transaction that makes it, which then holds the one lock of all such
transactions until its end: so two requests, also of two services, never take the last place both.
"""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from luthier.service.caller import current
from luthier.service.errors import TooMany
from luthier.service.lifecycle import datasets
from luthier.service.limit_settings import LimitSettings
from luthier.service.storage.database import Database
from luthier.service.storage.tables import StudyRow
from luthier.studies.protocol import ENDED
from luthier.studies.sizes import told

RETRY_SECONDS = 60  # nothing makes room of itself soon


@dataclass(frozen=True)
class CreationLimits:
    """The limits of a service on what it keeps.

    Attributes:
        settings: the numbers.
        database: whose rows are counted.
    """

    settings: LimitSettings
    database: Database

    def check_study(self, session: Session) -> None:
        """Raise TooMany where the caller's project, or all of them together, may have no further unfinished study."""
        self.database.serialize(session, "luthier number of studies")
        own = current().project
        count = select(func.count()).select_from(StudyRow)
        count = count.where(StudyRow.state.not_in(ENDED), ~StudyRow.transient)
        cure = "Wait for some to end, or cancel those that nobody needs"
        number = session.scalar(count.where(StudyRow.project == own)) or 0
        what = "studies that have not ended"
        _check(number, self.settings.max_studies_per_project, own, what, "MAX_STUDIES_PER_PROJECT", cure)
        _check(session.scalar(count) or 0, self.settings.max_studies, None, what, "MAX_STUDIES", cure)

    def check_dataset(self, session: Session, size: int) -> None:
        """Raise TooMany where a data set of so many bytes, as it lies in the store, is one too many, or too large."""
        self.database.serialize(session, "luthier number of data sets")
        own, settings = current().project, self.settings
        cure = "Delete data sets that nobody uses (`luthier dataset list`)"
        for project, most, most_bytes, suffix in (
            (own, settings.max_datasets_per_project, settings.max_datasets_bytes_per_project, "_PER_PROJECT"),
            (None, settings.max_datasets, settings.max_datasets_bytes, ""),
        ):
            number, held = datasets.totals(session, project)
            _check(number, most, project, "uploaded data sets", f"MAX_DATASETS{suffix}", cure)
            if most_bytes is not None and held + size > most_bytes:
                text = (
                    f"{_whose(project)} has {told(held)} of uploaded data, and this has {told(size)}; "
                    f"{told(most_bytes)} are allowed (LUTHIER_MAX_DATASETS_BYTES{suffix}). {cure}."
                )
                raise TooMany(text, retry_after=RETRY_SECONDS)


def _check(number: int, most: int, project: str | None, what: str, setting: str, cure: str) -> None:
    """Raise TooMany where there are as many as may be."""
    if number >= most:
        text = f"{_whose(project)} has {number:,} {what}, and {most:,} are allowed (LUTHIER_{setting}). {cure}."
        raise TooMany(text, retry_after=RETRY_SECONDS)


def _whose(project: str | None) -> str:
    return "This service" if project is None else f"The project {project}"
