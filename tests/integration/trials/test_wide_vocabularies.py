"""A vocabulary of 50,000: only logits of learned tokens are computed, and no more than fit into a bounded batch."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment
from luthier.trials.tasks import token_loss
from luthier.trials.training import engine
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from luthier.trials.training.open_study import OpenStudy
from tests.support import tiny_writing

VOCABULARY = 50_000
BYTES = 8 * 2**20


@pytest.fixture
def study(assign: Callable[..., Assignment], tmp_path: Path) -> OpenStudy:
    folder = tiny_writing.ARCHITECTURES["gpt2-writes"].build(tmp_path / "model")
    config = hf.GPT2Config(
        n_embd=8, n_head=2, n_layer=1, vocab_size=VOCABULARY, n_positions=64, bos_token_id=0, eos_token_id=0
    )
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    source = tiny_writing.prompts(tmp_path, 300)
    given = {"task": "text-generation", "model": str(folder), "dataset": {"source": str(source)}}
    return ModelCache().open(assign(spec=given))


def test_an_evaluation_holds_the_logits_of_one_bounded_batch(study: OpenStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "OUTPUT_BYTES", {"cpu": BYTES, "cuda": BYTES})
    encoded = study.encoded("train", 64)
    alive: list[Any] = []
    shapes: list[torch.Size] = []
    most = 0

    def seen(module: Any, inputs: Any, logits: torch.Tensor) -> None:
        alive.append(weakref.ref(logits))
        shapes.append(logits.shape)

    def count() -> None:
        nonlocal most
        most = max(most, sum(reference() is not None for reference in alive))

    study.pretrained.model.get_output_embeddings().register_forward_hook(seen)
    computer = Engine(study.pretrained.model, study.task, MicroBatch())
    found = computer.evaluate(encoded, study.data.targets, tick=count)
    assert most <= 1, "those of a batch are gone before the next"
    assert max(4 * shape.numel() for shape in shapes) <= BYTES
    assert sum(shape[1] for shape in shapes) == sum(map(len, encoded.targets["labels"])), "of learned tokens only"
    assert max(values[0].numel() for values in found.units.values()) == 1


def test_the_gradient_is_that_of_all_logits_at_once(
    study: OpenStudy, assign: Callable[..., Assignment], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded, rows, model = study.encoded("train", 64), [0, 1, 2, 3], study.pretrained.model.eval()
    params = assign().params
    targets = study.task.collate_targets(encoded, rows)
    logits = model(**study.task.collate(encoded, rows)).logits[targets["rows"], targets["positions"]]
    expected = torch.nn.functional.cross_entropy(logits, targets["labels"])
    expected.backward()
    wanted = {name: p.grad.clone() for name, p in model.named_parameters()}
    for chunk in (token_loss.CHUNK, 3 * VOCABULARY):
        monkeypatch.setattr(token_loss, "CHUNK", chunk)
        computer = Engine(model, study.task, MicroBatch(), study.loss(encoded, params))
        assert float(computer.gradient(encoded, rows)) == pytest.approx(float(expected.detach()), abs=1e-5)
        for name, parameter in model.named_parameters():
            assert torch.allclose(parameter.grad, wanted[name], atol=1e-6), name
