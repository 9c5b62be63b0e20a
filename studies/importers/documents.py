"""The reader of each kind of foreign document, known by the keys that it has and ours have not."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from luthier.studies.documents import mapping_of
from luthier.studies.importers.draft import Draft
from luthier.studies.importers.katib import read_experiment
from luthier.studies.importers.sagemaker import read_job
from luthier.studies.importers.vizier import read_study_spec
from luthier.studies.importers.wandb import read_sweep

SQLITE_START = b"SQLite format 3\0"
KINDS = "a sweep of Weights & Biases, an experiment of Katib, a tuning job of SageMaker or a StudySpec of Vizier"

_READERS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Draft]], ...] = (
    (lambda it: str(it.get("apiVersion", "")).startswith("kubeflow.org/"), read_experiment),
    (lambda it: "HyperParameterTuningJobConfig" in it or {"Strategy", "ParameterRanges"} <= it.keys(), read_job),
    (lambda it: bool({"studySpec", "study_spec"} & it.keys()), read_study_spec),
    (lambda it: {"metrics", "parameters"} <= it.keys() and "method" not in it, read_study_spec),
    (lambda it: "parameters" in it, read_sweep),
)


def is_storage(text: str) -> bool:
    """Return whether a text names a database, or a file that is one or a journal of Optuna's."""
    if "://" in text:
        return True
    try:
        with Path(text).open("rb") as file:
            start = file.read(64)
    except OSError:
        return False
    return start.startswith(SQLITE_START) or start.startswith(b'{"op_code"')


def read_foreign(text: str) -> Draft:
    """Return the draft of a foreign document.

    Args:
        text: YAML or JSON.

    Raises:
        ValueError: It is neither, or of no kind that is known.
    """
    return draft_of(mapping_of(text, f"a mapping is expected: {KINDS}"))


def draft_of(document: Mapping[str, Any]) -> Draft:
    """Return the draft of a parsed document. Raises ValueError as `read_foreign`."""
    for fits, read in _READERS:
        if fits(document):
            return read(document)
    raise ValueError(f"it is none of these: {KINDS}; the storage of an Optuna study is a database or a journal file")
