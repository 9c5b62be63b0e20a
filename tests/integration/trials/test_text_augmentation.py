"""Augmentation of texts: which tokens change, how many, and trials that repeat themselves and resume exactly."""

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from luthier.studies.augmentations import MIXED_IMAGES, SOUNDS, TEXTS, WORDS
from luthier.studies.hyperparameters import complete
from luthier.studies.protocol import Assignment, Decision
from luthier.studies.results import Batching
from luthier.studies.spec import StudySpec
from luthier.studies.tasks import TASKS
from luthier.trials.data.encoded import Encoded
from luthier.trials.errors import BadData, Ended
from luthier.trials.jobs.train import train
from luthier.trials.tasks.text_augmentation import augmented, kept_tokens
from luthier.trials.training.compact_embeddings import compact_embeddings
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
INPUTS = {"image": MIXED_IMAGES, "words": WORDS, "audio": SOUNDS, "text": TEXTS}


def _opened(assign: Assign, augmentation: str, **params: Any) -> tuple[Any, Encoded]:
    study = ModelCache().open(assign(spec={"augmentation": augmentation}, params=params))
    return study, study.encoded("train", 64).tuned(complete(params))


@pytest.mark.parametrize("rate", a_few(2, [0.0, 0.5, 0.1]))
@pytest.mark.parametrize("augmentation", ["token_dropout", "masking"])
def test_the_share_of_changed_tokens_is_the_rate(assign: Assign, augmentation: str, rate: float) -> None:
    study, encoded = _opened(assign, augmentation, augmentation_rate=rate)
    tokenizer = study.pretrained.processor
    changed = tokens = 0
    random.seed(0)
    for _ in range(20):
        drawn, rows = encoded.drawn(range(len(encoded)))
        assert not drawn.augmented, "nothing is drawn again"
        for row in rows:
            before, after = encoded.columns["input_ids"][row], drawn.columns["input_ids"][row]
            assert (after[0], after[-1]) == (tokenizer.cls_token_id, tokenizer.sep_token_id) == (before[0], before[-1])
            assert len({len(values[row]) for values in drawn.columns.values()} | {drawn.lengths[row]}) == 1
            tokens += len(before) - 2
            if augmentation == "masking":
                assert len(after) == len(before)
                assert all(b in (a, tokenizer.mask_token_id) for a, b in zip(before, after, strict=True))
                changed += sum(token == tokenizer.mask_token_id for token in after)
            else:
                changed += len(before) - len(after)
                assert len(after) >= 3, "at least one token of the text stays"
    assert changed / tokens == pytest.approx(rate, abs=0.01)
    if not rate:
        assert not changed


def test_each_text_of_a_pair_keeps_a_token() -> None:
    random.seed(1)
    row = [101, 7, 102, 8, 9, 10, 102]
    for _ in range(200):
        kept = kept_tokens(row, {101, 102}, 0.9)
        assert {0, 1, 2, 6} <= set(kept)
        assert set(kept) & {3, 4, 5}
        assert kept == sorted(kept)


def test_token_types_of_a_pair_follow_their_tokens(assign: Assign, tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("text,text_pair,label\n" + "the film was great,a very lovely day,a\nso awful,rude meal,b\n" * 20)
    spec = {"dataset": {"source": str(path), "columns": {"text_pair": "text_pair"}}, "augmentation": "token_dropout"}
    encoded = ModelCache().open(assign(spec=spec)).encoded("train", 64)
    random.seed(0)
    drawn, rows = encoded.drawn(range(len(encoded)))
    assert any(drawn.lengths[row] < encoded.lengths[row] for row in rows)
    for row in rows:
        kinds = list(drawn.columns["token_type_ids"][row])
        assert kinds == sorted(kinds)
        assert kinds.count(1) >= 2, "the second text has a token and the separator"


def test_a_tokenizer_without_a_mask_masks_by_the_unknown_token_or_refuses(assign: Assign) -> None:
    study, encoded = _opened(assign, "none")
    tokenizer = study.pretrained.processor
    tokenizer.mask_token = None
    changes = augmented(encoded, study.pretrained, "masking").changes
    assert changes is not None
    assert changes.tokens == {tokenizer.unk_token_id}
    tokenizer.eos_token = tokenizer.unk_token  # as GPT-2's
    with pytest.raises(BadData, match="take augmentation: token_dropout"):
        augmented(encoded, study.pretrained, "masking")


@pytest.mark.parametrize("batching", [Batching.RIGHT, Batching.EQUAL])
def test_a_batch_in_pieces_has_the_same_gradient(assign: Assign, batching: Batching) -> None:
    study, encoded = _opened(assign, "token_dropout", augmentation_rate=0.4)
    encoded = encoded.batched(batching)
    model = study.pretrained.model.eval()
    gradients = []
    for limit in (None, 3, 1):
        size = MicroBatch()
        size.limit = limit
        engine = Engine(model, study.task, size, study.loss(encoded, complete({"class_weighting": "balanced"})))
        random.seed(5)
        engine.gradient(encoded, range(8))
        gradients.append(torch.cat([p.grad.flatten() for p in engine.trained if p.grad is not None]))
    assert all(torch.allclose(gradients[0], other, atol=1e-6) for other in gradients[1:])
    random.seed(6)
    engine.gradient(encoded, range(8))
    other = torch.cat([p.grad.flatten() for p in engine.trained if p.grad is not None])
    assert not torch.allclose(gradients[0], other, atol=1e-6), "other draws change it"


@pytest.mark.parametrize("augmentation", a_few(1, ["token_dropout", "masking"]))
def test_an_augmented_trial_repeats_itself_and_resumes_exactly(
    assign: Assign, tmp_path: Path, augmentation: str
) -> None:
    spec = {"augmentation": augmentation, "evaluations_per_epoch": 2}
    params = {"epochs": 1, "freeze_depth": 1, "augmentation_rate": 0.2}
    plain, whole = Memory(tmp_path / "plain"), Memory(tmp_path / "whole")
    warm = ModelCache()
    train(assign(params=params, spec={"evaluations_per_epoch": 2}), plain, warm)
    train(assign(params=params, spec=spec), whole, warm)
    assert whole.metrics != plain.metrics
    assert any("augmentation draws them anew" in line for line in whole.lines)
    assert not any("augmentation" in line for line in plain.lines)

    first, second = Memory(tmp_path / "parts", lambda step: Decision.STOP), Memory(tmp_path / "parts")
    with pytest.raises(Ended):
        train(assign(params=params, spec=spec), first, ModelCache())
    train(assign(params=params, spec=spec, attempt=2, checkpoint=first.checkpoint()), second, ModelCache())
    assert first.metrics + second.metrics == whole.metrics


@pytest.mark.full
def test_a_rate_of_0_trains_as_without(assign: Assign, tmp_path: Path) -> None:
    plain, still = Memory(tmp_path / "plain"), Memory(tmp_path / "still")
    train(assign(params={"epochs": 1}), plain, ModelCache())
    train(assign(params={"epochs": 1, "augmentation_rate": 0}, spec={"augmentation": "masking"}), still, ModelCache())
    assert plain.metrics == still.metrics


def test_a_reduced_table_of_embeddings_has_the_mask(assign: Assign) -> None:
    study, encoded = _opened(assign, "masking", augmentation_rate=0.9)
    few = encoded.sample([0, 1])  # their tokens are a small part of the vocabulary, and none is the mask
    random.seed(0)
    inputs = study.task.collate(*few.drawn([0, 1]))
    model = study.pretrained.model.eval()
    whole = model(**inputs).logits
    reduced = compact_embeddings(model, [few], complete({}))
    assert reduced is not None
    assert study.pretrained.processor.mask_token_id in inputs["input_ids"]
    assert torch.equal(model(**inputs).logits, whole)
    reduced.restore()


@pytest.mark.full
def test_a_model_learns_from_masked_texts(assign: Assign, session: Memory) -> None:
    train(assign(spec={"augmentation": "masking"}, params={"epochs": 5}), session, ModelCache())
    assert session.metrics[-1]["accuracy"] > 0.85


def test_tags_stay_with_their_words(assign: Assign, tmp_path: Path) -> None:
    path = tmp_path / "tags.jsonl"
    path.write_text('{"tokens": ["great", "film", "the"], "ner_tags": ["B-A", "O", "O"]}\n' * 30)
    spec = {"task": "token-classification", "dataset": {"source": str(path)}, "augmentation": "masking"}
    study = ModelCache().open(assign(spec=spec))
    encoded = study.encoded("train", 64)
    random.seed(0)
    drawn, rows = encoded.drawn([3, 1])
    for name, values in study.task.collate_targets(encoded, [3, 1]).items():
        assert torch.equal(values, study.task.collate_targets(drawn, rows)[name])
    assert replace(drawn, columns={}).unit_offsets[-1] == 6


@pytest.mark.parametrize(
    ("changed", "path", "said"),
    [
        ({"augmentation": "mixup"}, ("augmentation",), "must be none, token_dropout or masking"),
        ({"augmentation": "noise"}, ("augmentation",), "must be none, token_dropout or masking"),
        ({"task": "token-classification", "augmentation": "token_dropout"}, ("augmentation",), "must be none, masking"),
        (
            {"space": {"augmentation_rate": 0.2}},
            ("space", "augmentation_rate"),
            "it is for token_dropout, masking",
        ),
        ({"space": {"mixup_alpha": 0.2}}, ("space", "mixup_alpha"), "augmentations that this task does not have"),
        ({"augmentation": "masking", "space": {"augmentation_rate": 1}}, ("space", "augmentation_rate"), "at most 0.9"),
    ],
)
def test_what_does_not_suit_is_refused_with_what_does(
    changed: dict[str, Any], path: tuple[str, ...], said: str
) -> None:
    document = {"name": "s", "model": "m", "dataset": {"source": "d"}, "task": "text-classification", "space": {}}
    with pytest.raises(ValidationError) as caught:
        StudySpec.model_validate(document | changed)
    assert [error["loc"][: len(path)] for error in caught.value.errors()] == [path]
    assert said in caught.value.errors()[0]["msg"]


def test_no_task_is_offered_what_its_inputs_do_not_allow() -> None:
    for task in TASKS.values():
        reads = {role.reads for role in task.columns.values()}
        for name in task.augmentation_names:
            assert reads & {kind for kind, names in INPUTS.items() if name in names}, (task.name, name)
        mixed = {"mixup", "cutmix"} & set(task.augmentation_names)
        rows_have_answers = task.classes == "row" or task.label_sets or task.name.endswith("-regression")
        assert not mixed or rows_have_answers
        assert "cutmix" not in mixed or not task.name.endswith("-regression")
