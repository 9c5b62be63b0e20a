"""Inputs longer than `max_length`: told, and `max_length: auto` suits the training split up to the model's limit."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
import soundfile
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Inspection
from luthier.trials.data import input_lengths
from luthier.trials.data.input_lengths import MILLISECONDS, TOKENS, InputLengths, Unit, percent
from luthier.trials.errors import BadData
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.tasks import token_rows
from luthier.trials.tasks.text_lengths import measure_texts
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES
from tests.support.findings import about
from tests.support.tiers import a_few
from tests.support.tiny import tiny_image, tiny_model, tiny_tokenizer
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
RATE = 8_000


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def texts(folder: Path, *words: int, validation: int = 4) -> dict[str, Any]:
    """Return a data set whose training texts have so many words, each a token, and whose others are longer."""
    ends = list(itertools.product("abcde", repeat=3))  # so that no text of three words or more repeats another
    inputs = [" ".join((["the"] * n + list(ends[i]))[-n:]) for i, n in enumerate(words)]
    train = [{"text": text, "label": "ab"[i % 2]} for i, text in enumerate(inputs)]
    other = [{"text": " ".join([*["the"] * (49 + validation), label]), "label": label} for label in "ab"]
    files = {"train": write(folder / "t.jsonl", train), "validation": write(folder / "v.jsonl", other)}
    return {"source": files, "test": 0}


def pairs(folder: Path, *words: int) -> dict[str, Any]:
    dataset = texts(folder, *words)
    for name, path in dataset["source"].items():
        rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
        dataset["source"][name] = write(Path(path), [row | {"text_pair": "a film"} for row in rows])
    return dataset | {"columns": {"text_pair": "text_pair"}}


def sentences(folder: Path, *words: int) -> dict[str, Any]:
    """Return sentences of words that are two tokens each."""
    rows = [{"tokens": ["hq"] * n, "ner_tags": ["B-X", "O"] * (n // 2)} for n in words]
    files = {"train": write(folder / "t.jsonl", rows), "validation": write(folder / "v.jsonl", rows[:4])}
    return {"source": files, "test": 0}


def sounds(folder: Path, *milliseconds: int) -> dict[str, Any]:
    """Return sounds of so many milliseconds."""
    rows = []
    for i, ms in enumerate(milliseconds):
        noise = 0.1 * numpy.random.default_rng(i).normal(size=RATE * ms // 1000)
        soundfile.write(folder / f"{i}.wav", noise, RATE)
        rows.append({"audio": f"{i}.wav", "label": "ab"[i % 2]})
    files = {"train": write(folder / "t.jsonl", rows), "validation": write(folder / "v.jsonl", rows[:4])}
    return {"source": files, "test": 0}


def images(folder: Path) -> dict[str, Any]:
    rows = [{"image": tiny_image(folder, i, i % 2).name, "label": "ab"[i % 2]} for i in range(8)]
    files = {"train": write(folder / "t.jsonl", rows), "validation": write(folder / "v.jsonl", rows[:4])}
    return {"source": files, "test": 0}


def looked(assign: Assign, **spec: Any) -> Inspection:
    made = assign(AssignmentKind.INSPECT, spec={"semantics": 2, "space": {"learning_rate": 1e-3}} | spec)
    return inspect(made, Memory(Path("/nonexistent")), ModelCache())


def said(found: Inspection) -> str:
    """Return the sentence about what is cut, "" without one."""
    return " ".join(finding.text for finding in about(found, "inputs-cut"))


TEXTS = [
    # words, the 95th percentile of the tokens (two more than words) as auto takes it
    ([8] * 40, 10),  # not beyond the longest
    ([8] * 38 + [30] * 2, 16),  # a multiple of 8 where there are longer ones
    ([8] * 37 + [30] * 3, 32),
    ([100] * 40, 64),  # the model takes no more
    ([1] * 40, 3),
]


@pytest.mark.parametrize(("words", "auto"), TEXTS)
def test_auto_is_what_most_training_texts_need(assign: Assign, tmp_path: Path, words: list[int], auto: int) -> None:
    found = looked(assign, dataset=texts(tmp_path, *words))
    assert found.max_length == auto
    (lengths,) = about(found, "lengths")
    assert f"{max(words) + 2} at most" in lengths.message
    assert f"max_length: auto is {auto}." in lengths.message
    assert "which takes up to 64" in lengths.message


def test_pairs_and_words_are_measured_as_the_model_gets_them(assign: Assign, tmp_path: Path) -> None:
    assert looked(assign, dataset=pairs(tmp_path, *[8] * 20)).max_length == 8 + 2 + 3
    task = {"task": "token-classification", "dataset": sentences(tmp_path, *[4] * 38, 20, 20)}
    found = looked(assign, **task)
    assert found.max_length == 16  # 4 words of 2 tokens, and 2 around them
    assert "5.0 % of the training sentences (2 of 40) are divided at max_length 16" in said(found)
    assert "all words count in the scores" in said(found)


@pytest.mark.parametrize(
    ("space", "severity", "words"),
    [
        (12, "warning", "40.0 % of the training texts (8 of 20) are cut at max_length 12 for"),
        ([12, 32], "warning", "40.0 % of the training texts (8 of 20) are cut at the smallest max_length 12, "
         "10.0 % (2) at the largest, max_length 32,"),
        ({"low": 8, "high": 50}, "note", "100.0 % of the training texts (20 of 20) are cut at the smallest "
         "max_length 8, none at the largest"),
        ({"low": 16, "high": "auto"}, "note", "40.0 % of the training texts (8 of 20) are cut at the smallest"),
        ([16, "auto"], "note", "none at the largest, max_length 42"),
        (42, None, ""),
    ],
)  # fmt: skip
def test_what_each_max_length_cuts_is_told(
    assign: Assign, tmp_path: Path, space: Any, severity: str | None, words: str
) -> None:
    dataset = texts(tmp_path, *[8] * 12, *[28] * 6, *[40] * 2)
    found = looked(assign, dataset=dataset, space={"learning_rate": 1e-3, "max_length": space})
    assert words in said(found)
    assert [finding.severity for finding in about(found, "inputs-cut")] == ([severity] if severity else [])
    if severity == "warning":
        (cut,) = about(found, "inputs-cut")
        assert cut.cure == "Raise max_length: 42 cuts none."
        assert cut.examples[0].startswith("row 20 of the train split: 42 tokens ('the the")
        assert len(cut.examples) == 8


def test_the_models_own_limit_is_named_with_its_cure(assign: Assign, tmp_path: Path) -> None:
    found = looked(assign, dataset=texts(tmp_path, *[8] * 10, *[100] * 10))
    assert found.max_length == 64
    (cut,) = about(found, "inputs-cut")
    assert (cut.severity, cut.count) == ("warning", 10)
    assert cut.cure.startswith("The limit of 64 tokens is the model's own: for more, choose a model with longer inputs")
    larger = looked(
        assign, dataset=texts(tmp_path, *[8] * 10, *[100] * 10), space={"learning_rate": 1e-3, "max_length": 512}
    )
    assert "50.0 % of the training texts (10 of 20) are cut at max_length 512 (the model takes 64)" in said(larger)
    smaller = looked(
        assign, dataset=texts(tmp_path, *[8] * 10, *[100] * 10), space={"learning_rate": 1e-3, "max_length": 8}
    )
    assert "Raise max_length: 64 cuts 50.0 %, and the model takes no more. The limit of 64" in said(smaller)


def test_strict_refuses_cut_texts(assign: Assign, tmp_path: Path) -> None:
    dataset = texts(tmp_path, *[8] * 10, *[100] * 10) | {"strict": True}
    with pytest.raises(BadData) as error:
        looked(assign, dataset=dataset)
    assert error.value.path == ["dataset", "strict"]
    assert "50.0 % of the training texts (10 of 20) are cut at max_length 64" in error.value.message
    fine = looked(assign, dataset=texts(tmp_path, *[8] * 10, *[30] * 10) | {"strict": True})
    assert fine.max_length == 32, "auto cuts too few to warn"


@pytest.mark.parametrize(
    ("milliseconds", "auto"), a_few(1, [([210] * 19 + [900], 300), ([300] * 10 + [330] * 10, 330), ([450] * 8, 450)])
)
def test_sounds_are_measured_in_milliseconds(
    assign: Assign, tmp_path: Path, milliseconds: list[int], auto: int
) -> None:
    model = ARCHITECTURES["wav2vec2"].build(tmp_path / "model")
    task = {"task": "audio-classification", "model": str(model), "dataset": sounds(tmp_path, *milliseconds)}
    found = looked(assign, **task)
    assert found.max_length == auto
    assert f"{max(milliseconds)} at most" in about(found, "lengths")[0].message
    assert ("5.0 % of the training sounds (1 of 20) are cut at max_length 300" in said(found)) == (auto == 300)
    cut = looked(assign, **task, space={"learning_rate": 1e-3, "max_length": 200})
    assert "100.0 % of the training sounds" in said(cut)
    assert ".wav" in about(cut, "inputs-cut")[0].examples[0]


@pytest.mark.parametrize("name", ["wav2vec2", "whisper", "ast"])
def test_the_longest_sound_that_a_model_hears(assign: Assign, tmp_path: Path, name: str) -> None:
    """Sound beyond the limit changes nothing that the model gets; sound just before it does."""
    from luthier.trials.data.class_targets import ClassTargets
    from luthier.trials.data.splits import Split
    from luthier.trials.tasks.registry import task_code

    task = task_code("audio-classification")
    pretrained = task.load(ARCHITECTURES[name].build(tmp_path / "model"), name, ClassTargets(("a", "b")))
    rate = pretrained.processor.sampling_rate
    noise = 0.1 * numpy.random.default_rng(0).normal(size=60 * rate)
    soundfile.write(tmp_path / "long.wav", noise[: 12 * rate], rate)

    def heard(seconds: float) -> Any:
        soundfile.write(tmp_path / "part.wav", noise[: round(seconds * rate)], rate)
        part = Split({"audio": [tmp_path / "part.wav"]}, [0])
        (columns,) = task.encode(pretrained, part, 60_000).columns.values()
        return columns[0]

    split = Split({"audio": [tmp_path / "long.wav"]}, [0])
    found = task.input_lengths(pretrained, split, lambda: None)
    assert found is not None
    assert list(found.lengths) == [12_000]
    if found.limit is None:
        assert len(heard(3)) > len(heard(2))
    else:
        end = found.limit / 1000
        assert numpy.array_equal(heard(end + 0.1), heard(end + 0.2))
        assert not numpy.array_equal(heard(end), heard(end - 0.05))


def test_images_have_no_lengths(assign: Assign, tmp_path: Path) -> None:
    model = ARCHITECTURES["vit"].build(tmp_path / "model")
    found = looked(assign, task="image-classification", model=str(model), dataset=images(tmp_path))
    assert found.max_length is None
    assert about(found, "lengths", "inputs-cut") == []


def test_the_oldest_semantics_keep_their_length_and_are_told(assign: Assign, tmp_path: Path) -> None:
    dataset = texts(tmp_path, *[8] * 40)
    old = looked(assign, dataset=dataset, semantics=1)
    assert old.max_length is None
    assert about(old, "lengths")
    ranged = {"learning_rate": 1e-3, "max_length": {"low": 4, "high": "auto"}}
    assert looked(assign, dataset=dataset, semantics=1, space=ranged).max_length == 10, "its user asks for it"


def test_of_several_models_the_one_that_needs_most_counts(assign: Assign, tmp_path: Path) -> None:
    letters = ARCHITECTURES["roberta"].build(tmp_path / "letters")
    words = tiny_model(tmp_path / "words")
    models = [str(words), str(letters)]
    dataset = texts(tmp_path, *[8] * 20)
    alone = [looked(assign, model=[name], dataset=dataset).max_length for name in models]
    both = looked(assign, model=models, dataset=dataset)
    assert alone[0] == 10
    assert alone[1] != 10
    assert both.max_length == max(length for length in alone if length)
    assert [name for name in models for finding in about(both, "lengths") if name in finding.message] == models


@pytest.mark.parametrize(("empty", "severity"), [(1, "warning"), (0, None)])
def test_texts_without_a_token_are_counted(assign: Assign, tmp_path: Path, empty: int, severity: str | None) -> None:
    """BERT's tokenizer drops control characters; other unknown ones become its unknown token."""
    dataset = texts(tmp_path, *[8] * 20)
    path = Path(dataset["source"]["train"])
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[3]["text"] = "\u200b\u200b" if empty else "☃"
    write(path, rows)
    found = about(looked(assign, dataset=dataset), "empty-inputs")
    assert [finding.severity for finding in found] == ([severity] if severity else [])
    if empty:
        assert found[0].message.startswith("1 of 20 training texts become no token")
        assert found[0].examples[0].startswith("row 4 of the train split: 2 tokens")


@pytest.mark.parametrize(
    ("lengths", "unit", "limit", "auto"),
    [
        (range(1, 101), TOKENS, None, 96),
        (range(1, 101), TOKENS, 64, 64),
        (range(1, 101), MILLISECONDS, None, 100),
        ([50_000] * 20, TOKENS, None, 8_192),  # a model without a limit takes any, but at a price
        ([600_000] * 20, MILLISECONDS, None, 30_000),
        ([50_000] * 20, TOKENS, 40_000, 40_000),
        ([1] * 20, TOKENS, None, 2),
        ([7] * 19 + [9], TOKENS, None, 8),
        ([7] * 18 + [9] * 2, TOKENS, None, 9),
    ],
)
def test_auto_is_rounded_and_has_bounds(lengths: Any, unit: Unit, limit: int | None, auto: int) -> None:
    found = InputLengths(numpy.array(lengths), range(len(lengths)), len(lengths), unit, "text", limit)
    assert found.suited == auto
    assert found.share_cut(auto) <= 0.05 or auto in (limit, unit.most)


@pytest.mark.parametrize(
    ("share", "text"), [(0, "0.0 %"), (1e-6, "less than 0.1 %"), (0.032, "3.2 %"), (0.9999, "more than 99.9 %")]
)
def test_a_share_is_never_rounded_to_none_or_all(share: float, text: str) -> None:
    assert percent(share) == text


def test_many_rows_are_measured_by_a_sample(assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_lengths, "MEASURED", 10)
    found = looked(assign, dataset=texts(tmp_path, *[8] * 10, *[30] * 90), space={"learning_rate": 1, "max_length": 16})
    assert "10 of 100 were measured" in about(found, "lengths")[0].message
    assert "90.0 % of the training texts (90 of 100) are cut" in said(found)


@pytest.mark.full
def test_a_huge_text_is_never_tokenized_whole(tmp_path: Path) -> None:
    tiny_tokenizer(tmp_path)
    tokenizer = hf.AutoTokenizer.from_pretrained(tmp_path)
    sizes: list[int] = []

    class Watched:
        def __call__(self, *columns: list[Any], **options: Any) -> Any:
            sizes.append(sum(len("".join(text)) for column in columns for text in column))
            return tokenizer(*columns, **options)

        def __getattr__(self, name: str) -> Any:
            return getattr(tokenizer, name)

    class Loaded:
        processor = Watched()
        model = hf.BertModel(
            hf.BertConfig(
                vocab_size=128, hidden_size=8, num_attention_heads=2, num_hidden_layers=1, intermediate_size=8
            )
        )

    huge = "the film " * 2_000_000  # 18 MB
    found = measure_texts(Loaded(), [[huge, "the film"] * 30], range(60), 60, lambda: None)  # type: ignore[arg-type]
    assert max(sizes) <= token_rows.BATCH_CHARACTERS
    assert len(sizes) > 1
    assert list(found.lengths[1::2]) == [4] * 30
    assert found.lengths[0] == pytest.approx(4_000_002, rel=1e-3)
    (words,) = measure_texts(Loaded(), [[["film"] * 1_000_000]], range(1), 1, lambda: None).lengths  # type: ignore[arg-type]
    assert words == pytest.approx(1_000_002, rel=1e-3)


@pytest.mark.parametrize(
    ("max_length", "line"),
    [
        (12, "max_length 12: 40.0 % of the training inputs are cut"),
        (42, "max_length 42: none of the training inputs is cut"),
        (500, "max_length 500 (the model takes 64): none of the training inputs is cut"),
    ],
)
def test_the_log_of_a_trial_says_what_is_cut(
    assign: Assign, session: Memory, tmp_path: Path, max_length: int, line: str
) -> None:
    dataset = texts(tmp_path, *[8] * 12, *[28] * 6, *[40] * 2)
    train(assign(params={"max_length": max_length, "epochs": 1}, spec={"dataset": dataset}), session, ModelCache())
    assert line in session.lines
