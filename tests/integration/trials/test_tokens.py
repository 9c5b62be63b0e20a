"""Tagged words: read from every form they come in, tokenized without losing a word, learned."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import torch

from luthier.studies.dataset import Dataset
from luthier.studies.protocol import Assignment
from luthier.studies.spec import StudySpec
from luthier.trials.data.class_targets import TagTargets
from luthier.trials.data.encoded import Encoded
from luthier.trials.data.load import Data
from luthier.trials.data.splits import Split
from luthier.trials.errors import BadData
from luthier.trials.jobs.train import train
from luthier.trials.model.pretrained import Pretrained
from luthier.trials.tasks.token_classification import TokenClassification
from luthier.trials.training.model_cache import ModelCache
from tests.support.data import load_data
from tests.support.tiers import a_few
from tests.support.tiny import tiny_bpe, tiny_sentences
from tests.support.trials import Memory

task = TokenClassification()

NAMES = ["O", "B-ANGER", "B-JOY", "I-ANGER", "I-JOY"]


def load(source: Any, **options: Any) -> Data:
    source = {k: str(v) for k, v in source.items()} if isinstance(source, dict) else str(source)
    return load_data(Dataset.model_validate({"source": source, **options}), "token-classification", 0)


def write(path: Path, rows: int = 240, seed: int = 0) -> Path:
    rows_ = [{"tokens": words, "ner_tags": tags} for words, tags in tiny_sentences(rows, seed=seed)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows_))
    return path


def conll(rows: int) -> str:
    sentences = ("\n".join(f"{w} NN {t}" for w, t in zip(*row, strict=True)) for row in tiny_sentences(rows))
    return "-DOCSTART- -X- O\n\n" + "\n\n".join(sentences) + "\n"


def test_every_form_gives_the_same_data(tmp_path: Path) -> None:
    import datasets

    rows = tiny_sentences(60)
    write(tmp_path / "d.jsonl", 60)
    (tmp_path / "d.json").write_text(json.dumps([{"tokens": w, "ner_tags": t} for w, t in rows]))
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist([{"tokens": w, "ner_tags": t} for w, t in rows]), tmp_path / "plain.parquet"
    )
    (tmp_path / "d.conll").write_text(conll(60))
    (tmp_path / "d.bio").write_text(conll(60).replace(" ", "\t"))
    columns = {"tokens": [w for w, _ in rows], "ner_tags": [[NAMES.index(tag) for tag in t] for _, t in rows]}
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES))}
    )
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "named.parquet")
    files = ("d.jsonl", "d.json", "plain.parquet", "d.conll", "d.bio", "named.parquet")
    found = [load(tmp_path / name) for name in files]
    assert all(data == found[0] for data in found)
    data = found[0]
    assert data.label_names == NAMES
    assert sum(data.rows.values()) == 60
    assert sum(data.labels.values()) == sum(len(words) for words, _ in rows)
    first = data.splits["validation"]
    assert (first.columns["tokens"][0], [NAMES[i] for i in first.targets[0]]) in rows


def test_comments_and_blank_lines_of_conll_are_no_words(tmp_path: Path) -> None:
    lines = "# id = 7\n\n\n#\tO\nAda{i} \t B-PER\n   \n-DOCSTART- O\nBo{i}\tB-PER\n"
    (tmp_path / "d.conll").write_text("".join(lines.format(i=i) for i in range(6)))
    data = load(tmp_path / "d.conll")
    found = {tuple(words) for split in data.splits.values() for words in split.columns["tokens"]}
    assert found == {words for i in range(6) for words in [("#", f"Ada{i}"), (f"Bo{i}",)]}
    assert data.labels == {"O": 6, "B-PER": 12}


def test_hub_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    names = ["B-JOY", "O", "I-JOY", "B-NEVER"]  # O is not first, and a name is never used
    features = datasets.Features(
        {"words": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    columns = {"words": [["so", "very", f"happy{i}"] for i in range(20)], "tags": [[1, 0, 2]] * 20}
    made = datasets.Dataset.from_dict(columns, features=features)
    monkeypatch.setattr(
        datasets, "load_dataset", lambda path, name=None: datasets.DatasetDict(train=made, validation=made)
    )
    data = load("someone/tags", columns={"tokens": "words", "label": "tags"}, validation="validation")
    assert data.label_names == ["O", "B-JOY", "I-JOY", "B-NEVER"]
    assert data.splits["train"].targets[0] == [0, 1, 2]


def test_splits_are_stratified_by_the_kinds_of_entities(tmp_path: Path) -> None:
    rows = [(["no", "name", f"here{i}"], ["O", "O", "O"]) for i in range(80)]
    rows += [(["Ada", "met", f"Bo{i}"], ["B-PER", "O", "B-PER"]) for i in range(20)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"tokens": w, "ner_tags": t}) + "\n" for w, t in rows))
    data = load(tmp_path / "d.jsonl", validation=0.2, test=0.1, limit=50)
    assert {name: sum(1 in row for row in split.targets) for name, split in data.splits.items()} == {
        "train": 7, "validation": 2, "test": 1,
    }  # fmt: skip


ROW = {"tokens": ["a", "b"], "ner_tags": ["O", "B-X"]}
FAULTS: dict[str, tuple[str, str, list[str]]] = {
    "lengths": ("d.jsonl", json.dumps(ROW | {"ner_tags": ["O"]}), ["row 3 (line 3)", "1 tags for 2 words"]),
    "no words": ("d.jsonl", json.dumps({"tokens": [], "ner_tags": []}), ["row 3", "'tokens' holds no words"]),
    "empty word": ("d.jsonl", json.dumps(ROW | {"tokens": ["a", " "]}), ["row 3", "number 2", "is empty"]),
    "null word": ("d.jsonl", json.dumps(ROW | {"tokens": ["a", None]}), ["row 3", "number 2", "is empty"]),
    "text": ("d.jsonl", json.dumps(ROW | {"tokens": "a b"}), ["row 3", "str where a list of words", "CoNLL"]),
    "one tag": ("d.jsonl", json.dumps(ROW | {"ner_tags": "O"}), ["row 3", "'ner_tags'", "list of tags"]),
    "numbers": ("d.jsonl", json.dumps(ROW | {"ner_tags": [0, 1]}), ["row 3", "number 0", "B-PER"]),
    "null tag": ("d.jsonl", json.dumps(ROW | {"ner_tags": ["O", None]}), ["row 3", "None", "tags are text"]),
    "columns": ("d.conll", "a O\nb X O\n", ["line 2", "3 columns where others have 2"]),
    "no tags": ("d.conll", "a\nb\n", ["line 1", "1 columns", "last its tag"]),
    "nothing": ("d.conll", "\n\n", ["no rows"]),
    "always O": ("d.conll", "a O\nb O\n", ["one tag only", "'O'"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_refused_with_a_sentence(fault: str, tmp_path: Path) -> None:
    name, content, said = FAULTS[fault]
    good = "".join(json.dumps(ROW) + "\n" for _ in range(2))
    (tmp_path / name).write_text((good if name.endswith("jsonl") else "") + content)
    with pytest.raises(BadData) as refused:
        load(tmp_path / name)
    for part in said:
        assert part in refused.value.message, refused.value.message
    assert refused.value.message.endswith(".")
    assert refused.value.path[0] == "dataset"


def test_a_kind_of_entity_must_be_trained_on(tmp_path: Path) -> None:
    train, dev = write(tmp_path / "train.jsonl"), tmp_path / "dev.jsonl"
    dev.write_text(json.dumps({"tokens": ["a", "b"], "ner_tags": ["E-JOY", "O"]}) + "\n")
    data = load({"train": train, "validation": dev})
    assert data.label_names == ["O", "B-ANGER", "B-JOY", "E-JOY", "I-ANGER", "I-JOY"]
    dev.write_text(json.dumps({"tokens": ["a", "b"], "ner_tags": ["B-FEAR", "O"]}) + "\n")
    with pytest.raises(BadData, match=r"dev.jsonl, row 1 \(line 1\): the tag 'B-FEAR' of validation"):
        load({"train": train, "validation": dev})


def encoded(model: Path, words: list[list[str]], max_length: int) -> tuple[Pretrained, Encoded]:
    pretrained = task.load(model, "tiny", TagTargets(("O", "B-X")))
    labels = [[i % 2 for i, _ in enumerate(row)] for row in words]
    return pretrained, task.encode(pretrained, Split({"tokens": words}, labels), max_length)


def test_no_word_is_lost(model: Path) -> None:
    words = [["film", "\u200e", "lovelyx", "day"] * 9, ["the"], ["abcdefghijklmnopqrstuvw", "was"]]
    pretrained, found = encoded(model, words, 10)
    count = sum(map(len, words))
    assert found.unit_offsets[-1] == found.example_offsets[-1] == count
    assert max(found.lengths) <= 10
    assert all(found.targets["positions"])
    assert len(found) > 3
    shown = [
        pretrained.processor.convert_ids_to_tokens(ids)[p]
        for ids, positions in zip(found.columns["input_ids"], found.targets["positions"], strict=True)
        for p in positions
    ]
    assert shown == ["film", "[UNK]", "lovely", "day"] * 9 + ["the", "a", "was"]
    labels = task.collate_targets(found, range(len(found)))["labels"]
    assert labels.tolist() == [i % 2 for row in words for i, _ in enumerate(row)]


def test_an_entity_across_two_inputs_is_one(model: Path) -> None:
    targets, words = TagTargets(("O", "B-X", "I-X")), ["film"] * 5
    pretrained = task.load(model, "tiny", targets)
    found = task.encode(pretrained, Split({"tokens": [words]}, [[0, 1, 2, 2, 0]]), 5)
    assert found.lengths == [5, 4]  # three words, then two
    labels = task.collate_targets(found, [0, 1])["labels"]
    for predicted, f1 in (([0, 1, 2, 0, 0], 0.0), (labels.tolist(), 1.0)):
        logits = torch.nn.functional.one_hot(torch.tensor(predicted)).float()
        columns = task.statistics({"logits": logits, "labels": labels}, found, [0, 1])
        assert task.scores(task.gather(columns, found, targets), targets)["entity_f1"] == f1


@pytest.mark.parametrize("decoder", [False, True])
def test_byte_level_tokenizers_see_words_as_in_a_text(tmp_path: Path, decoder: bool) -> None:
    import transformers

    kind: Any = transformers.GPT2Config if decoder else transformers.RobertaConfig
    sizes = {"n_embd": 16, "n_head": 2, "n_layer": 1} if decoder else {"hidden_size": 16, "num_attention_heads": 2}
    transformers.AutoModel.from_config(kind(vocab_size=320, **sizes)).save_pretrained(tmp_path)
    tiny_bpe(tmp_path, decoder=decoder)
    pretrained, found = encoded(tmp_path, [["the", "film", "was", "lovely"]], 64)
    of_words, of_text = (
        [token for token in pretrained.processor.convert_ids_to_tokens(ids) if not token.startswith("<")]
        for ids in (found.columns["input_ids"][0], pretrained.processor("so the film was lovely")["input_ids"])
    )
    assert of_words == of_text[-len(of_words) :]
    assert of_words[0].startswith("Ġ")


@pytest.mark.parametrize(
    ("params", "least"),
    a_few(1, [({}, 0.9), ({"freeze_depth": 1, "class_weighting": "balanced", "max_length": 6}, 0.7)]),
)
def test_it_learns(
    assign: Callable[..., Assignment], model: Path, tmp_path: Path, params: dict[str, Any], least: float
) -> None:
    spec = {"task": "token-classification", "dataset": {"source": str(write(tmp_path / "d.jsonl"))}}
    session = Memory(tmp_path / "session")
    assignment = assign(params=params, spec=spec)
    assert assignment.spec.objective.metric == "entity_f1"
    assert train(assignment, session, ModelCache()).status == "complete"
    assert session.metrics[-1]["entity_f1"] > least < session.metrics[-1]["token_accuracy"]


def test_the_first_metric_is_the_default_objective() -> None:
    document: dict[str, Any] = {"name": "a", "model": "m", "dataset": {"source": "d.jsonl"}, "space": {}}
    spec = StudySpec.model_validate(document | {"task": "token-classification"})
    assert (spec.objective.metric, spec.objective.direction) == ("entity_f1", "maximize")
    last = StudySpec.model_validate(
        document | {"task": "token-classification", "objective": {"measurement": "last"}}
    ).objective
    assert (last.metric, last.measurement) == ("entity_f1", "last")
    assert StudySpec.model_validate(document | {"task": "text-classification"}).objective.metric == "accuracy"


@pytest.mark.full
def test_a_tokenizer_that_knows_no_words_is_refused(tmp_path: Path) -> None:
    from transformers import CanineConfig, CanineModel, CanineTokenizer

    config = CanineConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_hash_buckets=64
    )
    CanineModel(config).save_pretrained(tmp_path)
    CanineTokenizer().save_pretrained(tmp_path)
    with pytest.raises(BadData, match="which word a token is of"):
        task.load(tmp_path, "canine", TagTargets(("O", "B-X")))
