"""The part of a spec that says from which old trials a study goes on: those of a study, of a file, or in the spec.

`spec_keys.py` puts it into a spec under `from`; `successor.py` decides what fits. Nothing is read here.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Literal, Self

from pydantic import ConfigDict, Field, FiniteFloat, model_validator

from luthier.studies.documents import Document, Path, refuse
from luthier.studies.hyperparameters import AUTO, Hyperparameter

MOST_GIVEN = 200  # configurations that a spec may hold

Import = Literal["trials", "params"]


class OldConfiguration(Document):
    """A configuration of elsewhere, and its score there, by which the best are tried first."""

    params: dict[str, bool | int | FiniteFloat | str]
    value: FiniteFloat | None = None


class Origin(Document):
    """The old trials that a study goes on from: of one study, of a file, or given here."""

    model_config = ConfigDict(validate_by_name=True, validate_by_alias=True, serialize_by_alias=True)

    study: str | None = Field(None, min_length=1, max_length=63, description="A study that has ended.")
    file: str | None = Field(
        None,
        min_length=1,
        description="A csv of old trials, which `luthier` or the client reads and sends as `trials`.",
    )
    trials: list[OldConfiguration] | None = Field(
        None,
        min_length=1,
        max_length=MOST_GIVEN,
        description="Configurations of elsewhere, with their scores if known.",
    )
    take: Import = Field(
        "trials",
        alias="import",
        description="trials: whole ones with their scores where model, data and all else that decides a score are the "
        "same, else their configurations, to be run anew; params: configurations alone. Of a file: params.",
    )
    top: int | None = Field(None, ge=1, description="At most so many configurations are run anew, the best first.")

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        given = [name for name in ("study", "file", "trials") if getattr(self, name) is not None]
        if len(given) != 1:
            text = "must name a study or a file" if not given else f"has {' and '.join(given)}: keep one of them"
            raise refuse("from", ((), text))
        if self.study is None and "take" not in self.model_fields_set:
            self.__dict__["take"] = "params"
        if self.study is None and self.take == "trials":
            text = "must be params: nothing shows that scores from elsewhere were measured on this study's data"
            raise refuse("from", (("import",), text))
        return self


def unread_file(origin: Origin | None) -> list[tuple[Path, str]]:
    """Return the problem of a file that nobody has read, where a service gets the spec as it was written."""
    if origin is None or origin.file is None:
        return []
    text = (
        "is read where you are: `luthier create`, `luthier run` and the Python client send its rows; over REST write "
    )
    return [(("from", "file"), f"{text}them as from.trials: [{{params: {{...}}, value: ...}}]")]


def configuration_problems(
    origin: Origin | None, knobs: Mapping[str, Hyperparameter], key: str
) -> list[tuple[Path, str]]:
    """Return the values of given configurations that no hyperparameter can have.

    Args:
        origin: The old trials of a spec.
        knobs: The hyperparameters of its space, by name.
        key: Of the spec, where they stand.
    """
    problems: list[tuple[Path, str]] = []
    for i, old in enumerate((origin and origin.trials) or []):
        for name, value in old.params.items():
            path: Path = (key, "trials", i, "params", name)
            try:
                if name != "model" and knobs[name].check(value) == AUTO and not knobs[name].has_words:
                    problems.append((path, "must be a number: auto has no meaning in a trial that has run"))
            except KeyError:
                near = get_close_matches(name, knobs, 1)
                problems.append((path, f"is no hyperparameter{f'; did you mean {near[0]}?' if near else ''}"))
            except ValueError as error:
                problems.append((path, str(error)))
    return problems
