"""Findings about the lengths of the training inputs, and what `max_length: auto` stands for.

How long they are, what a `max_length` of the study cuts, what becomes no token: for each model, as each divides texts
into tokens in its own way. The inspection calls it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from luthier.studies.auto import with_length
from luthier.studies.findings import EXAMPLES, Finding, note, warning
from luthier.studies.hyperparameters import complete
from luthier.studies.space import Space
from luthier.studies.spec import StudySpec
from luthier.trials.data.excerpts import excerpt
from luthier.trials.data.input_lengths import SUITED, InputLengths, percent
from luthier.trials.data.splits import Split

MANY_CUT = 0.05
"""Share of the inputs that are cut, above which scores may mislead; `auto` cuts no more, if the model takes as many."""
MANY_EMPTY = 0.01
"""Share of the inputs without a token, above which scores may mislead."""
PERCENTILES = (90, 95, 99)


def auto_length(spec: StudySpec, lengths: Iterable[InputLengths | None]) -> int | None:
    """Return what `max_length: auto` stands for in a study; None where nothing asks.

    Of several models the one counts whose inputs are the longest: a study has one `max_length`, and what a model cannot
    take is cut for it alone.
    """
    if not spec.measures_lengths:
        return None
    return max((found.suited for found in lengths if found is not None), default=None)


def length_findings(
    spec: StudySpec, lengths: Mapping[str, InputLengths | None], auto: int | None, training: Split
) -> list[Finding]:
    """Return what is remarkable about the lengths of the training inputs.

    Args:
        spec: The study's, with its `max_length`.
        lengths: Model -> lengths; None where inputs have one size.
        auto: What `max_length: auto` stands for.
        training: The split that the lengths are of.
    """
    default = complete({}, spec.task_info.baseline)["max_length"]
    d = with_length(dict(spec.space.items()), auto).get("max_length", default)
    space = Space.model_construct({"max_length": d})
    least, largest = int(space.least("max_length")), int(space.largest("max_length"))
    findings = []
    for model, found in lengths.items():
        if found is not None:
            account = _Account(found, training, least, largest, model)
            findings += [account.percentiles(auto), *account.cut(), *account.empty()]
    return findings


@dataclass(frozen=True)
class _Account:
    """The findings about one model's inputs.

    Attributes:
        found: The lengths.
        split: What they are of.
        least: The smallest `max_length` of the study.
        largest: The largest one.
        model: Its name, as the spec has it.
    """

    found: InputLengths
    split: Split
    least: int
    largest: int
    model: str

    def percentiles(self, auto: int | None) -> Finding:
        """Return how long the inputs are."""
        found, unit = self.found, self.found.unit.name
        shares = ", ".join(f"{found.percentile(p):,} at the {p}th percentile" for p in PERCENTILES)
        text = f"The training {found.noun}s have {found.percentile(50):,} {unit} in the median, {shares} and "
        text += f"{found.longest:,} at most for {self.model}, which takes "
        text += "any length." if found.limit is None else f"up to {found.limit:,}."
        if auto is not None:
            text += f" max_length: auto is {auto:,}."
        if len(found.rows) < found.total:
            text += f" {len(found.rows):,} of {found.total:,} were measured."
        return note("lengths", text, found.total)

    def cut(self) -> Iterable[Finding]:
        """Return what the smallest and the largest `max_length` cut, if anything."""
        found, least, largest = self.found, self.least, self.largest
        if not found.share_cut(least):
            return
        share = found.share_cut(largest)
        count = found.count_cut(largest if share else least)
        longest = [int(place) for place in found.lengths.argsort(kind="stable")[::-1][:EXAMPLES]]
        examples = [self._example(place) for place in longest if found.lengths[place] > found.taken(least)]
        text = f"{self._told()} for {self.model}."
        if found.kept_whole:
            text += found.beyond
        if found.learned is not None:
            text += " Of these the start of what is read is cut, and what is learned is kept"
            lost = found.count_shortened(least)
            text += f", but for {lost:,} whose answer alone is too long: it loses its end." if lost else "."
        cure = self._cure() if share else ""
        if share > MANY_CUT and not found.kept_whole:
            yield warning("inputs-cut", text, cure, count, examples)
        else:
            yield note("inputs-cut", text, count, examples, cure)

    def empty(self) -> Iterable[Finding]:
        """Return the inputs that the tokenizer makes no token of, if there are any."""
        found = self.found
        if not found.empty:
            return
        share = len(found.empty) / len(found.rows)
        count = round(share * found.total)
        wanted = set(found.empty[:EXAMPLES])
        examples = [self._example(place) for place, row in enumerate(found.rows) if row in wanted]
        text = (
            f"{count:,} of {found.total:,} training {found.noun}s become no token with the tokenizer of {self.model}, "
        )
        text += "which cannot tell them apart."
        cure = "Remove them, or choose a model whose tokenizer knows their characters."
        if share > MANY_EMPTY:
            yield warning("empty-inputs", text, cure, count, examples)
        else:
            yield note("empty-inputs", text, count, examples, cure)

    def _example(self, place: int) -> str:
        """Return a measured row as a person finds it again."""
        found, row = self.found, self.found.rows[place]
        text = f"row {row + 1} of the train split: {found.lengths[place]:,} {found.unit.name}"
        shown = excerpt(self.split, row)
        return f"{text} ({shown})" if shown else text

    def _told(self) -> str:
        """Return the shares that are cut, in words."""
        found = self.found
        done = "divided" if found.kept_whole else "cut"
        start = f"{percent(found.share_cut(self.least))} of the training {found.noun}s"
        start = f"{start} ({found.count_cut(self.least):,} of {found.total:,}) are {done} at"
        if self.least == self.largest:
            return f"{start} {self._shown(self.least)}"
        share = found.share_cut(self.largest)
        end = f"{percent(share)} ({found.count_cut(self.largest):,})" if share else "none"
        return f"{start} the smallest {self._shown(self.least)}, {end} at the largest, {self._shown(self.largest)},"

    def _shown(self, max_length: int) -> str:
        taken = self.found.taken(max_length)
        return f"max_length {max_length:,}" + (f" (the model takes {taken:,})" if taken < max_length else "")

    def _cure(self) -> str:
        """Return what cuts less: a larger `max_length` up to the model's limit, beyond it another model."""
        found, limit = self.found, self.found.limit
        more = {found.percentile(SUITED): f"at most {100 - SUITED} %", found.longest: "none"}
        if limit is not None and limit < found.longest:
            more[limit] = f"{percent(found.share_cut(limit))}, and the model takes no more"
        steps = [
            f"{wanted:,} cuts {share}"
            for wanted, share in sorted(more.items())
            if self.largest < wanted <= (limit or wanted)
        ]
        cure = [f"Raise max_length: {'; '.join(steps)}."] if steps else []
        if limit is not None and limit < found.longest:
            text = f"The limit of {limit:,} {found.unit.name} is the model's own: for more, choose a model with longer "
            cure.append(f"{text}inputs, or shorten or divide the {found.noun}s.")
        return " ".join(cure)
