"""The client's methods about bundles: a study as one file, downloaded and checked; and a bundle that was read."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from pydantic import ValidationError

from luthier.service.client.connection import Connection
from luthier.service.download import DownloadError
from luthier.service.schemas import BundleStudy, TrialView, faults_of
from luthier.studies.bundles import AGAIN, STUDY, TRIALS, BundleError, read_bundle
from luthier.studies.semantics import NEWEST_SEMANTICS, OLDEST_SEMANTICS
from luthier.studies.spec import StudySpec


@dataclass(frozen=True)
class Bundle:
    """A bundle that was read and checked.

    Attributes:
        study: the study, with its winner, its data and its versions.
        spec: its spec, with the semantics that it had.
        trials: its trials, by number.
    """

    study: BundleStudy
    spec: StudySpec
    trials: dict[int, TrialView]


def open_bundle(path: Path | str) -> Bundle:
    """Read a bundle; nothing in it is unpacked or executed.

    Raises:
        BundleError: it is no bundle, was changed, or a newer version wrote it.
        OSError: it cannot be read.
    """
    path = Path(path)
    documents = read_bundle(path)
    try:
        study = BundleStudy.model_validate_json(documents[STUDY])
        semantics = study.spec.get("semantics", OLDEST_SEMANTICS)
        if isinstance(semantics, int) and semantics > NEWEST_SEMANTICS:
            raise BundleError(f"{path} is of a study of a newer Luthier: update Luthier to read it.")
        spec = StudySpec.model_validate(study.spec)
        trials = [TrialView.model_validate(json.loads(line)) for line in documents[TRIALS].splitlines()]
    except ValidationError as error:
        fault = faults_of(error.errors())[0]
        raise BundleError(f"{path} cannot be read: {fault}. {AGAIN}") from None
    except (ValueError, RecursionError):
        raise BundleError(f"{path} cannot be read: its {STUDY} or {TRIALS} is damaged. {AGAIN}") from None
    return Bundle(study, spec, {trial.number: trial for trial in trials})


class BundleMethods(Connection):
    """The methods about bundles; `Client` has them."""

    def export_bundle(self, name: str, into: Path | str, model: bool = False) -> Path:
        """Write a study as one archive to `into`: spec, versions, seeds, hashes, every value. Returns `into`.

        The file appears whole or not at all, in place of one that is there.

        Args:
            name: the study's name.
            into: the file, such as study.zip.
            model: with the winner's model, too.

        Raises:
            ServiceError: 404 for an unknown study; 409 with `model` where it has none.
            DownloadError: what came down is damaged.
            OSError: the disk refuses the file.
        """
        into = Path(into)
        path = f"/v1/studies/{quote(name, safe='')}/bundle"
        with tempfile.TemporaryDirectory(dir=into.parent, prefix=f".{into.name}.") as scratch:
            archive = Path(scratch, "bundle.zip")
            params = {"model": True} if model else {}
            with self._transport.stream(path, params=params) as response, archive.open("wb") as file:
                for piece in response.iter_bytes():
                    file.write(piece)
            try:
                read_bundle(archive)
            except BundleError:
                text = f"The bundle from {self.url}{path} is damaged. Download it again."
                raise DownloadError(text) from None
            return archive.replace(into)
