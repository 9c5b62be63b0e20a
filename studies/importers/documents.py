"""The reader of each kind of foreign document, known by the keys that it has and ours have not."""

from collections.abc import Callable, Mapping
from typing import Any

from luthier.studies.documents import mapping_of
from luthier.studies.importers.draft import Draft
from luthier.studies.importers.katib import read_experiment
from luthier.studies.importers.sagemaker import read_job
from luthier.studies.importers.vizier import read_study_spec
from luthier.studies.importers.wandb import read_sweep

KINDS = "a sweep of Weights & Biases, an experiment of Katib, a tuning job of SageMaker or a StudySpec of Vizier"

_READERS: tuple[tuple[Callable[[Mapping[str, Any]], bool], Callable[[Mapping[str, Any]], Draft]], ...] = (
    (lambda it: str(it.get("apiVersion", "")).startswith("kubeflow.org/"), read_experiment),
    (lambda it: "HyperParameterTuningJobConfig" in it or {"Strategy", "ParameterRanges"} <= it.keys(), read_job),
    (lambda it: bool({"studySpec", "study_spec"} & it.keys()), read_study_spec),
    (lambda it: {"metrics", "parameters"} <= it.keys() and isinstance(it["parameters"], list), read_study_spec),
    (lambda it: "parameters" in it and isinstance(it["parameters"], Mapping), read_sweep),
)


def read_foreign(text: str) -> Draft:
    """Return the draft of a foreign document.

    Args:
        text: YAML or JSON.

    Raises:
        ValueError: It is neither, or of no kind that is known.
    """
    document = mapping_of(text, f"a mapping is expected: {KINDS}")
    for fits, read in _READERS:
        if fits(document):
            try:
                return read(document)
            except (AttributeError, TypeError, KeyError) as error:
                raise ValueError(f"it looks like {KINDS}, but is not formed like one ({error})") from None
    raise ValueError(f"it is none of these: {KINDS}; the storage of an Optuna study is a database or a journal file")
