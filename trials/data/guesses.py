"""A guess at what somebody's data is for: its task, and the columns that the task reads.

`first_spec` writes a spec by it. Names that people give their columns decide first, then what the columns hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from luthier.trials.data.column_kinds import Column
from luthier.trials.data.media_tree import listed
from luthier.trials.data.tabular import Table
from luthier.trials.errors import BadData

_LABELS = (
    *("label", "labels", "class", "category", "categories", "target", "sentiment", "intent", "topic", "topics", "tags"),
    *("genre", "genres", "emotion", "emotions", "score", "rating", "stars", "spam", "toxic", "similarity", "y"),
)
_TEXTS = (
    *("text", "sentence", "message", "review", "comment", "content", "body", "document", "tweet", "utterance"),
    *("description", "question", "title"),
)
_PAIRS = (
    *(("text", "text_pair"), ("sentence1", "sentence2"), ("sentence_1", "sentence_2"), ("text1", "text2")),
    *(("premise", "hypothesis"), ("question1", "question2"), ("question", "sentence"), ("query", "passage")),
    ("query", "document"),
)
_WRITTEN = (("prompt", "completion"), ("instruction", "output"), ("instruction", "response"), ("prompt", "response"))
_TRANSFORMED = (
    *(("source", "target"), ("document", "summary"), ("article", "summary"), ("article", "highlights")),
    *(("dialogue", "summary"), ("text", "summary"), ("input", "output"), ("en", "de"), ("en", "fr"), ("en", "es")),
)
_TRANSCRIPTS = ("text", "transcript", "transcription", "sentence", "normalized_text")
_TAGS = ("ner_tags", "tags", "labels", "label", "pos_tags", "pos")
_LONG = 3.0
"""Words of a text, on average, that is longer than a name."""


@dataclass(frozen=True)
class Guess:
    """A task for a table.

    Attributes:
        task: Its name.
        columns: Role -> column.
        label: What is learned, where it is one column of classes or numbers.
        separator: Of several labels in one text.
        notes: Sentences on what else it may be, and on what is passed over.
    """

    task: str
    columns: dict[str, str]
    label: Column | None = None
    separator: str | None = None
    notes: tuple[str, ...] = field(default=())


def guess(table: Table) -> Guess:
    """Return the task that a table seems to be for.

    Args:
        table: Read with all its columns.

    Raises:
        BadData: No task fits; the sentence says what the columns seem to hold.
    """
    if not table.rows:
        raise BadData(f"{table.name} has no rows; it needs examples.", *table.path)
    columns = {name: Column.of(table, name) for name in table.header if name in table.columns}
    for look in (_of_chats, _of_questions, _of_media, _of_words, _of_labels, _of_texts):
        found = look(columns)
        if found is not None:
            return found
    told = ", ".join(f"{column.name} ({column.kind})" for column in list(columns.values())[:20])
    text = f"{table.name} does not tell what is to be learned from it; its columns are {told}. "
    raise BadData(text + "Write a spec by hand: `luthier schema` and docs/studies.md say how.", *table.path)


def _named(columns: dict[str, Column], names: Sequence[str], *kinds: str) -> Column | None:
    """Return the first column of these names and kinds; letter case does not count."""
    lower = {name.lower().replace(" ", "_"): column for name, column in columns.items()}
    return next((lower[name] for name in names if name in lower and lower[name].kind in kinds), None)


def _both(columns: dict[str, Column], pairs: Sequence[tuple[str, str]]) -> tuple[str, str] | None:
    """Return the first pair of columns of texts that are called so."""
    for names in pairs:
        first, second = (_named(columns, [name], "text") for name in names)
        if first is not None and second is not None:
            return first.name, second.name
    return None


def _of_kind(columns: dict[str, Column], kind: str) -> list[Column]:
    return [column for column in columns.values() if column.kind == kind]


def _of_chats(columns: dict[str, Column]) -> Guess | None:
    chats = _of_kind(columns, "messages")
    return Guess("text-generation", {"messages": chats[0].name}) if chats else None


def _of_questions(columns: dict[str, Column]) -> Guess | None:
    answers = _of_kind(columns, "answers") or [c for c in columns.values() if c.name == "answers"]
    question, context = (_named(columns, [name], "text") for name in ("question", "context"))
    if not answers or question is None or context is None:
        return None
    roles = {"question": question.name, "context": context.name, "answers": answers[0].name}
    return Guess("question-answering", roles)


def _of_media(columns: dict[str, Column]) -> Guess | None:
    """Return the task of a table that names images or sounds."""
    images, sounds = _of_kind(columns, "image"), _of_kind(columns, "audio")
    if sounds:
        written = _named(columns, _TRANSCRIPTS, "text")
        if written is not None and not written.is_of_classes:
            roles = {"audio": sounds[0].name, "text": written.name}
            return Guess("automatic-speech-recognition", roles)
        return _with_label(columns, "audio", {"audio": sounds[0].name})
    if not images:
        return None
    mask = next((image for image in images if any(word in image.name.lower() for word in ("mask", "seg"))), None)
    first = next((image for image in images if image is not mask), None)
    if first is None:
        return None
    if mask is not None:
        return Guess("image-segmentation", {"image": first.name, "mask": mask.name})
    objects = _named(columns, ["objects"], "list") or next(iter(_of_kind(columns, "objects")), None)
    if objects is not None:
        return Guess("object-detection", {"image": first.name, "objects": objects.name})
    return _with_label(columns, "image", {"image": first.name})


def _of_words(columns: dict[str, Column]) -> Guess | None:
    lists = _of_kind(columns, "list")
    tags = _named(columns, _TAGS, "list")
    words = next((column for column in lists if column is not tags and _are_words(column)), None)
    if words is None or tags is None:
        return None
    return Guess("token-classification", {"tokens": words.name, "label": tags.name})


def _are_words(column: Column) -> bool:
    return all(isinstance(item, str) for value in column.values for item in value)


def _of_labels(columns: dict[str, Column]) -> Guess | None:
    """Return the task of a table with texts and something to learn for each."""
    pair = _both(columns, _PAIRS)
    if pair is not None:
        found = _with_label(columns, "text", {"text": pair[0], "text_pair": pair[1]})
        if found is not None:
            return found
    if pair is None and _both(columns, _WRITTEN + _TRANSFORMED):
        return None
    texts = [c for c in columns.values() if c.kind == "text" and not c.is_of_classes and not c.is_counter]
    text = _named({c.name: c for c in texts}, _TEXTS, "text") or max(texts, key=lambda c: c.words, default=None)
    return None if text is None else _with_label(columns, "text", {"text": text.name})


def _with_label(columns: dict[str, Column], inputs: str, roles: dict[str, str]) -> Guess | None:
    """Return the task of inputs ("text", "image", "audio") and the column that is learned; None where there is none."""
    others = {name: column for name, column in columns.items() if name not in roles.values()}
    label = _named(others, _LABELS, "text", "number", "list") or next(_candidates(others), None)
    if label is None:
        return None
    roles = {**roles, "label": label.name}
    spare = [c.name for c in others.values() if c is not label and (c.is_of_classes or c.is_measured)]
    notes: tuple[str, ...] = (f"Columns that could be learned, too: {listed(spare)}.",) if spare else ()
    if label.kind == "list":
        return Guess(f"{inputs}-multilabel-classification", roles, notes=notes)
    if label.separator is not None:
        return Guess(f"{inputs}-multilabel-classification", roles, label, label.separator, notes)
    if label.is_measured:
        return Guess(f"{inputs}-regression", roles, label, notes=notes)
    if label.kind == "number" and label.different > 2:
        notes += (f"{label.name} are numbers: to learn them as such, write task: {inputs}-regression.",)
    return Guess(f"{inputs}-classification", roles, label, notes=notes)


def _candidates(columns: dict[str, Column]) -> Iterator[Column]:
    """Yield the columns that may be learned, whatever their names: classes, then numbers."""
    yield from sorted((c for c in columns.values() if c.is_of_classes), key=lambda c: c.different)
    yield from (c for c in columns.values() if c.is_measured and not c.is_counter)


def _of_texts(columns: dict[str, Column]) -> Guess | None:
    """Return the task of a table of texts alone."""
    written = _both(columns, _WRITTEN)
    if written is not None:
        return Guess("text-generation", dict(zip(("prompt", "completion"), written, strict=True)))
    texts = [c for c in columns.values() if c.is_of_texts]
    transformed = _both(columns, _TRANSFORMED)
    if transformed is None and len(texts) == 2:
        transformed = (texts[0].name, texts[1].name)
    if transformed is not None:
        note = f"To learn the other way round, exchange {transformed[0]} and {transformed[1]}."
        roles = dict(zip(("source", "target"), transformed, strict=True))
        return Guess("text2text-generation", roles, notes=(note,))
    if not texts:
        return None
    longest = max(texts, key=lambda column: column.words)
    return Guess("text-generation", {"text": longest.name}) if longest.words >= _LONG or len(columns) == 1 else None
