"""A study's spec: the document that a user writes, validated to the last key.

The service reads specs and hands them to the workers; `parse_spec` reads YAML or JSON, and every problem names its path
and the cure. It must never import Optuna or torch.
"""

import hashlib
import math
from typing import Any, Self

from pydantic import SerializerFunctionWrapHandler, model_serializer, model_validator

from luthier.studies.asha import rungs_of
from luthier.studies.documents import mapping_of, refuse
from luthier.studies.foreign_specs import foreign_spec, program_in
from luthier.studies.hyperparameters import AUTO
from luthier.studies.possible_trials import Trials, trials_of, trials_of_length
from luthier.studies.prunable import prunable_trials
from luthier.studies.results import Inspection
from luthier.studies.semantics import (
    COMPARED_BY_SHARE,
    IDLE_PRUNER_REFUSED,
    LENGTH_AUTO,
    NEWEST_SEMANTICS,
    OLDEST_SEMANTICS,
)
from luthier.studies.space import Space
from luthier.studies.spec_defaults import with_defaults
from luthier.studies.spec_keys import SpecKeys
from luthier.studies.spec_problems import spec_problems
from luthier.studies.strategy import Answering, Generation, Pruner

TEMPLATE_NAME = "scheduled"  # of a schedule's spec, until a run gives it one


class StudySpec(SpecKeys):
    """A study: a model or several, a data set, a search space and a budget."""

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, raw: Any) -> Any:
        return with_defaults(raw)

    @model_validator(mode="after")
    def _no_idle_default(self) -> Self:
        """Take no pruner if the user chose none and the default one could end no trial."""
        self._set_default_pruner()
        return self

    def _set_default_pruner(self) -> None:
        if "pruner" not in self.model_fields_set:
            # hyperband's brackets need the longest trial
            self.__dict__["pruner"] = Pruner(name="median") if self.is_external and self.steps is None else Pruner()
            if self.semantics >= IDLE_PRUNER_REFUSED and not self._can_prune():
                self.__dict__["pruner"] = Pruner(name="none")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = spec_problems(self)
        if problems:
            raise refuse("spec", *problems)
        return self

    @model_serializer(mode="wrap")
    def _as_it_was_stored(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the oldest semantics out: such specs, and digests of them, are what they were before it had a name."""
        document: dict[str, Any] = handler(self)
        if document.get("semantics") == OLDEST_SEMANTICS:
            del document["semantics"]
        return document

    @property
    def writing(self) -> Generation:
        """How its models write texts."""
        return self.generation or Generation(max_new_tokens=self.task_info.max_new_tokens)

    @property
    def answers_picked(self) -> Answering:
        """How its models pick answers."""
        return self.answering or Answering()

    def says_the_same(self, other: "StudySpec") -> bool:
        """Return whether another spec says the same in all that users write.

        Configurations of a warm start that the service has written out are compared where both specs have them.
        """
        mine, theirs = self._with_pruner_in_use(), other.with_semantics(self.semantics)._with_pruner_in_use()
        if mine.warm_start is None or theirs.warm_start is None or mine.warm_start == theirs.warm_start:
            return mine == theirs
        if mine.warm_start.trials is not None and theirs.warm_start.trials is not None:
            return False
        unwritten = {"warm_start": mine.warm_start.model_copy(update={"trials": theirs.warm_start.trials})}
        return mine.model_copy(update=unwritten) == theirs

    def with_semantics(self, semantics: int) -> "StudySpec":
        """Return the spec with other semantics, and their default pruner where its user chose none."""
        other = self.model_copy(update={"semantics": semantics})
        other._set_default_pruner()
        return other

    def possible_trials(self, space: Space | None = None) -> Trials:
        """Return the trials that the search can have, for `prunable`; `space`: the spec's, resolved, once it is."""
        name = None if self.name == TEMPLATE_NAME else self.name
        by_share = self.semantics >= COMPARED_BY_SHARE
        if self.is_external:
            return trials_of_length(name, self.budget.trials, self.space, self.max_steps, by_share)
        defaults, per_epoch = self.task_info.baseline, self.evaluations_per_epoch
        return trials_of(name, self.budget.trials, space or self.space, defaults, per_epoch, by_share)

    def _can_prune(self) -> bool:
        """Return whether the pruner could end a trial; old trials, which nobody has counted yet, may let it."""
        return self.origin is not None or prunable_trials(self.pruner, self.possible_trials()) != 0

    def _with_pruner_in_use(self) -> "StudySpec":
        """Return the spec without its pruner where that can end no trial: then it says the same as one without."""
        return self if self._can_prune() else self.model_copy(update={"pruner": Pruner(name="none")})

    @property
    def rungs(self) -> tuple[int, ...]:
        """The evaluations after which its trials may pause, ascending; none unless its pruner is asha."""
        return rungs_of(self.pruner, self.max_steps)

    @property
    def measures_lengths(self) -> bool:
        """Whether an inspection finds what `max_length: auto` stands for, which trial 0 begins with too."""
        if self.semantics >= LENGTH_AUTO or self.is_external:
            return self.task_info.has_lengths and not self.is_external
        d = self.space.root.get("max_length")
        return AUTO in (d if isinstance(d, tuple) else (d, getattr(d, "high", None)))

    def resolved_space(self, inspection: Inspection) -> Space:
        """Return the space with the numbers of an inspection in place of `auto`.

        Raises:
            ValidationError: The space does not fit the model.
        """
        return self.space.resolved(*inspection.depths, length=inspection.max_length)


def parse_spec(text: str, semantics: int = NEWEST_SEMANTICS) -> StudySpec:
    """Return a user's spec from YAML or JSON text, validated, with the newest semantics unless others are asked for.

    Semantics in the text are ignored: they come from a copy of what the service answered.

    Raises:
        ValueError: The spec is not valid; pydantic's ValidationError is one.
    """
    foreign = program_in(text)
    if foreign is not None:
        raise ValueError(foreign)
    document = mapping_of(text, "a spec is a mapping of keys: name, task, model, dataset, space, budget, ...")
    foreign = foreign_spec(document)
    if foreign is not None:
        raise ValueError(foreign)
    return StudySpec.model_validate({**document, "semantics": semantics})


def trial_seed(study_seed: int, number: int, again: int = 0) -> int:
    """Return the seed of a trial: the first 32 bits of SHA-256 over the study's seed and the trial's number.

    Args:
        study_seed: The spec's seed.
        number: The trial's number.
        again: 0 for the trial itself, n for its n-th repetition on a fresh seed.
    """
    text = f"{study_seed}/{number}" + (f"/{again}" if again else "")
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def is_better(a: float, b: float, maximize: bool) -> bool:
    """Return whether score `a` is better than score `b`; a score that is not finite is never better."""
    return math.isfinite(a) and (a > b if maximize else a < b)
