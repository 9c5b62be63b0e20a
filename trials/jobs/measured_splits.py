"""The splits of a study, answered by a model that `evaluate` has prepared: for its scores, their noise, and its tables.

Each split goes through the model once, unless the tables need texts that the noise does not.
"""

import time
from dataclasses import dataclass

import torch

from luthier.studies.protocol import Assignment
from luthier.studies.semantics import MEASURED_ALONE, NOISE_MEASURED
from luthier.studies.winner_tables import Results
from luthier.trials.data.encoded import Encoded
from luthier.trials.jobs import exact
from luthier.trials.jobs.clusters import related
from luthier.trials.jobs.noise import Scored
from luthier.trials.jobs.winner_tables import Surenesses, split_results
from luthier.trials.session import Session
from luthier.trials.tasks.statistics import Statistics
from luthier.trials.training.generation import Writing
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from luthier.trials.training.setup import open_engine


@dataclass(frozen=True)
class Measured:
    """A split, measured.

    Attributes:
        scored: The model's answers.
        encoded: The split as the model's inputs.
        sure: How sure each unit's answer is, (units,); None where the task cannot tell.
        is_final: The model has written all that is written of a finished model.
    """

    scored: Scored
    encoded: Encoded
    sure: torch.Tensor | None
    is_final: bool


@dataclass(frozen=True)
class Measurer:
    """Measures splits of a study by its model.

    Attributes:
        assignment: The configuration and spec.
        session: Polled between batches.
        cache: Data and models that this process keeps.
        study: The study, its model on its device with the weights to be measured.
    """

    assignment: Assignment
    session: Session
    cache: ModelCache
    study: OpenStudy

    def splits(self, *wanted: str) -> dict[str, Measured]:
        """Return those of the wanted splits that there are and that something asks for.

        Validation comes first: what is settled by it, such as a threshold, holds for test.
        """
        spec, found = self.assignment.spec, {}
        settles = self.study.task.settles(self.assignment.params)
        if settles or ("validation" in wanted and spec.semantics >= NOISE_MEASURED):
            found["validation"] = self.split("validation", Writing.at_evaluations(spec))
        if "test" in wanted and "test" in self.study.data.splits:
            found["test"] = self.split("test", Writing.of_winner(spec))
        return found

    def split(self, name: str, writing: Writing | None) -> Measured:
        """Return a split, measured; `writing`: the texts that the model writes for it; None: none."""
        study, spec = self.study, self.assignment.spec
        encoded, statistics, sure = self._answers(name, writing)
        if name == "validation" and study.task.settles(self.assignment.params):
            study.settle(statistics)
        rows = study.data.splits[name]
        is_whole = writing is None or writing.rows is None or writing.rows >= len(rows)
        groups = related(rows, spec.semantics) if spec.semantics >= NOISE_MEASURED else None
        scored = Scored(study.task, study.learned, statistics, groups, is_whole)
        is_final = is_whole and (writing is not None or not spec.task_info.generates)
        return Measured(scored, encoded, sure, is_final)

    def tables(self, measured: dict[str, Measured]) -> Results | None:
        """Return the winner's tables; None for a study that is measured as older versions did.

        Of a model that writes there are those of validation only where all of it is written already, or where there is
        no test split: writing takes long.

        Args:
            measured: Split -> what `splits` has returned.
        """
        spec = self.assignment.spec
        if spec.semantics < MEASURED_ALONE:
            return None
        final = {name: one for name, one in measured.items() if one.is_final}
        if "validation" not in final and not ("test" in final and spec.task_info.generates):
            final["validation"] = self.split("validation", Writing.of_winner(spec))
        found = {
            name: split_results(
                self.study.task,
                self.study.data.splits[name],
                one.encoded,
                one.scored.statistics,
                one.scored.targets,
                one.scored.scores(),
                one.sure,
            )
            for name, one in final.items()
        }
        return Results(**found)

    def _answers(self, name: str, writing: Writing | None) -> tuple[Encoded, Statistics, torch.Tensor | None]:
        """Return a split as the model's inputs, the statistics of the answers, and how sure each of these is."""
        study, session = self.study, self.session
        length, targets = int(self.assignment.params["max_length"]), study.data.targets
        if self.assignment.spec.semantics < MEASURED_ALONE:
            rows, micro_batch = study.encoded(name, length), self.cache.micro_batch
            with open_engine(
                study.pretrained.model, study, self.assignment, session, micro_batch, {name: rows}
            ) as engine:
                return rows, engine.evaluate(rows, targets, session.poll, writing=writing), None
        examples = study.task.encode_exactly(study.pretrained, study.data.splits[name], length)
        examples = examples.batched(study.batching)
        sure = Surenesses(study.task, examples)
        began = time.perf_counter()
        statistics = exact.measure(
            study.pretrained.model,
            study.task,
            self.cache.micro_batch,
            examples,
            targets,
            session.poll,
            writing=writing,
            seen=sure.add,
        )
        if writing is not None and writing.clock.seconds:
            session.log(writing.told(time.perf_counter() - began))
        return examples, statistics, sure.values()
