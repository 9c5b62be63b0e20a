"""The winner: its test score, measured once, and the model a person can use, packed as one file."""

import contextlib
import shutil

from luthier.studies.protocol import Assignment, Evaluation, Metrics
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.packed_model import pack
from luthier.trials.model import lora
from luthier.trials.session import Session
from luthier.trials.training import checkpoint
from luthier.trials.training.engine import Engine
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.setup import prepare


def evaluate(assignment: Assignment, session: Session, warm: ModelCache) -> Evaluation:
    """Score `assignment.checkpoint.best` on the test split, if there is one, and pack its model.

    Raises BadData, session.Ended, torch.OutOfMemoryError.
    """
    for left in session.folder.glob(".pack-*"):  # a whole model each, of an attempt that was killed
        shutil.rmtree(left, ignore_errors=True)
    opened = warm.open(assignment)
    model, _ = prepare(opened, assignment.params, assignment.seed)
    best = assignment.checkpoint.best
    if best is None:
        raise BadData("The study has no finished trial, so there is no model to measure.")
    tensors, about = checkpoint.read(session.folder / best.name)
    checkpoint.load_trained(model, tensors, about.get("decay", 1.0))
    lora.merge(opened.pretrained)  # from here on the model is what people will load
    test: Metrics | None = None
    if "test" in opened.data.splits:
        encoded = opened.encoded("test", int(assignment.params["max_length"]))
        computer = Engine(model, opened.task, warm.micro_batch, precision=assignment.spec.precision)
        with contextlib.closing(computer):
            computer.enable_shortcuts(opened, assignment.params, {"test": encoded}, session)
            test = opened.scores(computer.predict(encoded, session.poll), encoded)
        session.log(f"test ({len(encoded)} rows): {', '.join(f'{k} {v}' for k, v in test.items())}")
    return Evaluation(test=test, model=file_ref(pack(assignment, opened, test, session.folder)))
