"""Evaluate the winner: measure its test score, once, and pack its model as one file.

The child calls `evaluate` after the study's last trial.
"""

import shutil

from luthier.studies.protocol import Assignment
from luthier.studies.results import Evaluation
from luthier.studies.wire import Metrics
from luthier.trials.errors import BadData, DamagedFile
from luthier.trials.files import file_ref
from luthier.trials.jobs.packed_model import WORK_PREFIX, pack
from luthier.trials.model import lora
from luthier.trials.session import Session
from luthier.trials.training import checkpoint
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import open_engine, prepare


def evaluate(assignment: Assignment, session: Session, cache: ModelCache) -> Evaluation:
    """Score `assignment.checkpoint.best` on the test split, if there is one, and pack its model.

    Args:
        assignment: The winner's configuration, seed and weights.
        session: Its folder holds the weights, and gets the packed model.
        cache: Data and models that this process keeps.

    Raises:
        BadData: Model or data cannot be used as the spec says, or there are no weights.
        DamagedFile: The weights cannot be used.
        Ended: The assignment is to end now.
        torch.OutOfMemoryError: A single example does not fit.
    """
    for leftover in session.folder.glob(f"{WORK_PREFIX}*"):  # each holds a whole model of an attempt that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    study = cache.open(assignment)
    model, _ = prepare(study, assignment.params, assignment.seed)
    best = assignment.checkpoint.best
    if best is None:
        raise BadData("The study has no finished trial, so there is no model to measure.")
    try:
        tensors, about = checkpoint.read(session.folder / best.name)
        checkpoint.load_trained(model, tensors, about.get("decay", 1.0))
    except (OSError, ValueError) as error:
        raise DamagedFile(f"The winner's weights cannot be used: {error}.") from error
    lora.merge(study.pretrained)  # from here on the model is the same that people will load
    test: Metrics | None = None
    if "test" in study.data.splits:
        encoded = study.encoded("test", int(assignment.params["max_length"]))
        with open_engine(model, study, assignment, session, cache.micro_batch, {"test": encoded}) as engine:
            test = study.scores(engine.evaluate(encoded, study.data.targets, session.poll))
        scores = ", ".join(f"{name} {value}" for name, value in test.items())
        session.log(f"test ({len(encoded)} rows): {scores}")
    return Evaluation(test=test, model=file_ref(pack(assignment, study, test, session.folder)))
