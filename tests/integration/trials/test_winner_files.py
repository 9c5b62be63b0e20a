"""The winner as people use it: the code on its card, without luthier, gives the scores that were reported."""

import csv
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.trials.data.class_targets import ClassTargets
from luthier.trials.data.splits import Split
from luthier.trials.jobs.card import card
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.train import train
from luthier.trials.tasks.usage import Usage
from luthier.trials.training.model_cache import ModelCache
from tests.support.architectures import ARCHITECTURES, TIMM, USUAL, tiny_data
from tests.support.archives import unpack_tar
from tests.support.cards import run_cards
from tests.support.tiny import tiny_rows
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
EXACT = 1e-5
"""How far a reported score may be from that of the exported model, one example at a time, on the CPU in float32."""
SHORT = {"text-classification": 9, "token-classification": 7, "image-classification": 128, "audio-classification": 220}
"""A `max_length` that cuts many of the tiny examples, in the task's unit."""


def usual(task: str) -> list[str]:
    """Return the architectures of a task that `make test-all` tries."""
    return [name for name, one in ARCHITECTURES.items() if one.task == task and name in USUAL]


def unusual(task: str) -> list[str]:
    """Return the other architectures of a task."""
    return [name for name, one in ARCHITECTURES.items() if one.task == task and name not in USUAL]


def data_of(task: str, folder: Path) -> Path:
    """Return the task's tiny data, with some texts that are longer than any position table."""
    source = tiny_data(task, folder, rows=48)
    if task == "text-classification":
        with source.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows((" ".join([text] * 40), label) for text, label in tiny_rows(16, seed=5))
    return source


def examples_of(test: Split) -> list[Any]:
    """Return the split's examples as people have them."""
    if {"text", "text_pair"} <= test.columns.keys():
        columns = test.columns["text"], test.columns["text_pair"]
        return [{"text": one, "text_pair": two} for one, two in zip(*columns, strict=True)]
    return next(values for role, values in test.columns.items() if role in ("text", "tokens", "image", "audio"))


def recomputed(said: Sequence[Sequence[dict[str, float]]], test: Split, names: Sequence[str]) -> dict[str, float]:
    """Return accuracy and loss of answers, by the labels that they name."""
    units = [unit for example in said for unit in example]
    truths = [label for target in test.targets for label in (target if isinstance(target, list) else [target])]
    assert len(units) == len(truths)
    assert all(sum(unit.values()) == pytest.approx(1, abs=1e-5) for unit in units)
    right = [max(unit, key=lambda name: unit[name]) == names[k] for unit, k in zip(units, truths, strict=True)]
    loss = -torch.tensor([unit[names[k]] for unit, k in zip(units, truths, strict=True)], dtype=torch.float64).log()
    return {"accuracy": sum(right) / len(right), "loss": float(loss.mean())}


def check_cards(assign: Assign, folder: Path, specs: dict[str, dict[str, Any]], params: dict[str, Any]) -> None:
    """Train and pack a winner for each spec, run all their cards in one process, and compare the scores."""
    reported, examples, tests = {}, {}, {}
    for name, spec in specs.items():
        session, warm = Memory(folder / name / "session"), ModelCache()
        given = {"spec": spec | {"semantics": 2}, "params": params}
        assert train(assign(**given), session, warm).status == "complete"
        work = assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **given)
        reported[name] = evaluate(work, session, warm).test
        packed = folder / name / "packed"
        unpack_tar(session.folder / "model.tar.gz", packed)
        tests[name] = warm.open(work).data
        if spec["task"] == "text-classification":  # longer than any position table
            columns = tests[name].splits["test"].columns
            assert max(len(text.split()) for role in columns for text in columns[role]) > 66
        examples[packed] = examples_of(tests[name].splits["test"])
        for file in ("image.png", "sound.wav"):
            if isinstance(examples[packed][0], Path):
                shutil.copy(examples[packed][0], packed / file)
    said = run_cards(folder, examples)
    for name, scores in reported.items():
        data = tests[name]
        found = recomputed(said[folder / name / "packed"], data.splits["test"], data.label_names)
        assert scores is not None
        assert scores["loss"] == pytest.approx(found["loss"], abs=EXACT), name
        own = "token_accuracy" if "token_accuracy" in scores else "accuracy"
        assert scores[own] == pytest.approx(found["accuracy"], abs=EXACT), name


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("names", "precision"),
    [
        *(
            pytest.param([name], precision, marks=pytest.mark.full)
            for name, precision in (
                *(("bert", "bfloat16"), ("vit", "bfloat16")),
                *(("wav2vec2", "float32"), ("bert-tokens", "float32")),
            )
        ),
        *(pytest.param(usual(task), "auto", marks=pytest.mark.full) for task in SHORT),
        *(pytest.param(unusual(task), "auto", marks=pytest.mark.wide) for task in SHORT),
        pytest.param(list(TIMM), "auto", marks=pytest.mark.timm),
    ],
    ids=lambda value: "+".join(value)[:40] if isinstance(value, list) else value,
)
def test_the_code_on_the_card_gives_the_reported_scores(
    assign: Assign, tmp_path: Path, names: list[str], precision: str
) -> None:
    architectures = ARCHITECTURES | TIMM
    task = architectures[names[0]].task
    source = data_of(task, tmp_path / "data")
    specs = {}
    for name in names:
        model = architectures[name].build(tmp_path / name / "model")
        config = json.loads((model / "config.json").read_text())
        (model / "config.json").write_text(json.dumps(config | {"problem_type": "multi_label_classification"}))
        dataset = {"source": str(source), "validation": 0.2, "test": 0.3}
        specs[name] = {"task": task, "model": str(model), "dataset": dataset, "precision": precision}
    params = {"epochs": 1, "batch_size": 6, "learning_rate": 1e-3, "max_length": SHORT[task]}
    check_cards(assign, tmp_path, specs, params)


@pytest.mark.full
def test_pairs_and_a_decoder_whose_tokenizer_pads_on_the_left(assign: Assign, tmp_path: Path) -> None:
    model = ARCHITECTURES["llama"].build(tmp_path / "llama" / "model")
    settings = json.loads((model / "tokenizer_config.json").read_text())
    settings |= {"padding_side": "left", "truncation_side": "left"}
    (model / "tokenizer_config.json").write_text(json.dumps(settings))
    texts = tiny_rows(60)
    lines = [{"text": a, "text_pair": f"{b} " * 20, "label": c} for (a, c), (b, _) in pairwise(texts)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    dataset = {"source": str(tmp_path / "pairs.jsonl"), "validation": 0.2, "test": 0.3}
    dataset |= {"columns": {"text_pair": "text_pair"}}
    spec = {"task": "text-classification", "model": str(model), "dataset": dataset}
    params = {"epochs": 1, "batch_size": 6, "learning_rate": 1e-3, "max_length": 20}
    check_cards(assign, tmp_path, {"llama": spec}, params)
    saved = json.loads((tmp_path / "llama" / "packed" / "tokenizer_config.json").read_text())
    expected = {
        "model_max_length": 20,
        "padding_side": "right",
        "truncation_side": "left",
        "pad_token": "<|endoftext|>",
    }
    assert {name: saved[name] for name in expected} == expected
    whole = json.loads((tmp_path / "llama" / "packed" / "tokenizer.json").read_text())
    assert whole["truncation"]["max_length"] == 20


@pytest.mark.full
def test_a_whisper_whose_window_is_no_whole_second(assign: Assign, tmp_path: Path) -> None:
    architecture = ARCHITECTURES["whisper"]
    config = architecture.config()
    config.max_source_positions = 40  # 0.8 s
    model = replace(architecture, config=lambda: config).build(tmp_path / "whisper" / "model")
    dataset = {"source": str(data_of(architecture.task, tmp_path / "data")), "validation": 0.2, "test": 0.3}
    spec = {"task": architecture.task, "model": str(model), "dataset": dataset}
    check_cards(assign, tmp_path, {"whisper": spec}, {"epochs": 1, "batch_size": 6, "max_length": 220})
    assert (
        "hear(read_sound('sound.wav', 16000, 3520, 800), extractor, model, 12800)"
        in (tmp_path / "whisper" / "packed" / "README.md").read_text()
    )


def test_the_card_says_how_scores_were_measured_and_names_no_path(assign: Assign, session: Memory, data: Path) -> None:
    names = tuple(f"a `label`\n{i}" for i in range(60))
    usage = Usage("text-classification", "Auto", "tokenizer", None, names, "code()\n", ("A note.",))
    scores = {"accuracy": 0.5, "auc": None}
    rows = {"train": 8, "validation": 4, "test": 6}
    work = assign(AssignmentKind.EVALUATE, provenance={"validation": {"accuracy": 0.75, "auc": 0.25}})
    old = card(work, usage, ClassTargets(names), rows, scores, hub=False)
    assert work.spec.model not in old
    assert str(data) not in old
    assert "`bert`, fine-tuned for text-classification by Luthier." in old
    assert "| accuracy | 0.50000 | 0.75000 |\n| auc | - | 0.25000 |" in old
    assert "in batches with padding, and in its number format (precision auto)" in old
    assert '"a `label`\\n49"] and 10 more' in old
    assert "```python\ncode()\n```\n\nA note." in old
    known = yaml.safe_load(old.split("---")[1])
    assert known.keys() == {"library_name", "pipeline_tag", "tags", "metrics", "model-index"}
    assert (known["library_name"], known["pipeline_tag"]) == ("transformers", "text-classification")
    spec = {"model": "org/some-model", "semantics": 2}
    new = assign(AssignmentKind.EVALUATE, spec=spec, provenance=work.provenance)
    exact = card(new, usage, ClassTargets(names), rows, scores, hub=True)
    assert yaml.safe_load(exact.split("---")[1])["base_model"] == "org/some-model"
    shown = ModelCard(exact).data  # the hub's own reader, which refuses results that it does not understand
    (result,) = shown.eval_results or []
    assert (shown.model_name, shown.pipeline_tag, shown.metrics) == ("tiny", "text-classification", ["accuracy"])
    assert (result.metric_type, result.metric_value, result.dataset_split) == ("accuracy", 0.5, "test")
    assert (result.dataset_name, result.task_type) == (data.name, "text-classification")
    assert ModelCard(shown.to_yaml().join(["---\n", "\n---\n"])).data.to_dict() == shown.to_dict()
    of_hub = assign(AssignmentKind.EVALUATE, spec=spec | {"dataset": {"source": "org/some-data", "subset": "en"}})
    named = ModelCard(card(of_hub, usage, ClassTargets(names), rows, {"loss": 0.1, "macro_f1": 0.5}, hub=True)).data
    assert (named.datasets, named.metrics) == (["org/some-data"], ["f1"])
    assert [one.dataset_config for one in named.eval_results or []] == ["en", "en"]
    assert "in float32, each example without padding." in exact
    untested = card(new, usage, ClassTargets(names), {"train": 8, "validation": 4}, None, hub=True)
    assert [one.dataset_split for one in ModelCard(untested).data.eval_results or []] == ["validation"] * 2
    assert "There was no test split." in untested
