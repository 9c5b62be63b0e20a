"""The study of a bundle: a study as the REST interface answers it, and what is needed to run it again elsewhere."""

from pydantic import Field

from luthier.service.schemas.studies import StudyView


class BundleStudy(StudyView):
    """A study in a bundle.

    Attributes:
        fingerprint: SHA-256 of its examples and their splits; null until it is inspected.
        versions: of the packages that measured its winner, luthier, python, torch, transformers; empty without one.
        base_model_sha256: of the weights that the winner began with; null without a winner.
    """

    fingerprint: str | None = None
    versions: dict[str, str] = Field({})
    base_model_sha256: str | None = None
