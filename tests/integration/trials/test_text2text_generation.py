"""Text-to-text generation: decoder inputs, losses and texts as transformers has them, and the winner in use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.strategy import Generation
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.tasks.scoring import NO_TOKEN
from luthier.trials.training.engine import Engine
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support import tiny_writing
from tests.support.archives import unpack_tar
from tests.support.cards import run_card
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
MODELS = {**{name: a for name, a in tiny_writing.ARCHITECTURES.items() if a.blocks == 4}, "t5": tiny_writing.T5}


def fields(tmp_path: Path, name: str = "bart-writes", rows: int = 48, **spec: Any) -> dict[str, Any]:
    return {
        "task": "text2text-generation",
        "model": str(MODELS[name].build(tmp_path / "model")),
        "dataset": {"source": str(tiny_writing.sources(tmp_path, rows)), "validation": 0.2, "test": 0.2},
        "generation": {"max_new_tokens": 12},
        **spec,
    }


@pytest.mark.parametrize(
    "name",
    a_few(1, ["bart-writes", "t5", "marian-writes", "mbart-writes"]),
)
def test_losses_and_texts_are_those_of_transformers(assign: Assign, tmp_path: Path, name: str) -> None:
    study = ModelCache().open(assign(spec=fields(tmp_path, name)))
    encoded, model, tokenizer = (
        study.encoded("validation", 64),
        study.pretrained.model.eval(),
        study.pretrained.processor,
    )
    found = study.scores(Engine(model, study.task, MicroBatch()).evaluate(encoded, study.data.targets))
    split, total, count = study.data.splits["validation"], 0.0, 0
    rows = range(len(encoded))
    together = study.task.generate(model, encoded, rows, Generation(max_new_tokens=8))
    for row in rows:
        read = tokenizer(split.columns["source"][row], return_tensors="pt")
        labels = tokenizer(text_target=split.targets[row], return_tensors="pt")["input_ids"]
        with torch.no_grad():
            loss = model(input_ids=read["input_ids"], attention_mask=read["attention_mask"], labels=labels).loss
            alone = model.generate(
                read["input_ids"], attention_mask=read["attention_mask"], max_new_tokens=8, do_sample=False, num_beams=1
            )[0, 1:]
        total, count = total + float(loss) * labels.shape[1], count + labels.shape[1]
        ids = [token for token in together[row].tolist() if token != NO_TOKEN]
        assert tokenizer.decode(ids, skip_special_tokens=True) == tokenizer.decode(alone, skip_special_tokens=True)
    assert found["loss"] == pytest.approx(total / count, abs=1e-5)


def test_a_language_that_a_checkpoint_forces_is_kept(assign: Assign, tmp_path: Path) -> None:
    given = fields(tmp_path)
    hf.GenerationConfig(forced_bos_token_id=77, num_beams=4, min_length=9, do_sample=True).save_pretrained(
        given["model"]
    )
    study = ModelCache().open(assign(spec=given))
    made = study.task.generate(study.pretrained.model.eval(), study.encoded("train", 64), [0, 1], Generation())
    assert made[:, 0].tolist() == [77, 77]
    kept = study.pretrained.model.generation_config
    assert (kept.num_beams, kept.min_length, kept.do_sample) == (None, None, False)


@pytest.mark.parametrize("depth", a_few(1, [4, 0, 1]))
def test_scores_are_the_same_with_and_without_the_prefix(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    spec = fields(tmp_path, objective={"metric": "chrf"})
    scores = []
    for memory in ("1GiB", "0"):
        monkeypatch.setenv("LUTHIER_CACHE_MEMORY", memory)
        session = Memory(tmp_path / memory)
        params = {"freeze_depth": depth, "epochs": 2}
        assert train(assign(spec=spec, params=params), session, ModelCache()).status == "complete"
        scores.append(session.metrics)
    for cached, whole in zip(*scores, strict=True):
        assert cached["chrf"] is not None
        assert cached == pytest.approx(whole, abs=1e-3)


@pytest.mark.full
def test_the_winner_writes_as_recorded_and_is_compared(assign: Assign, tmp_path: Path) -> None:
    given = {"spec": fields(tmp_path, rows=96, objective={"metric": "chrf"})}
    warm, models = ModelCache(), []
    inspect(assign(AssignmentKind.INSPECT, **given), Memory(tmp_path / "inspection"), warm)
    for side, epochs in (("champion", 1), ("challenger", 8)):
        session, work = Memory(tmp_path / side), given | {"params": {"epochs": epochs, "learning_rate": 5e-3}}
        train(assign(**work), session, warm)
        found = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **work), session, warm)
        assert any("its predictions for" in line for line in session.lines)
        models.append((found.test, session.folder / "model.tar.gz"))
    (before, first), (after, second) = models
    assert after["chrf"] > 60 > before["chrf"], "a word of the source tells the target"
    unpack_tar(second, tmp_path / "winner")
    settings = json.loads((tmp_path / "winner" / "generation_config.json").read_text())
    assert (settings["max_new_tokens"], settings["do_sample"], settings["num_beams"]) == (12, False, 1)
    said = run_card(tmp_path / "winner", {'"A source."': '"the film was lovely"'})
    assert said.strip().endswith("it is")

    session = Memory(tmp_path / "comparison")
    refs = {
        side: file_ref(path.rename(session.folder / f"{side}.tar.gz"))
        for side, path in (("champion", first), ("challenger", second))
    }
    compared = compare(assign(AssignmentKind.COMPARE, **refs, **given), session, ModelCache())
    assert compared.challenger == pytest.approx(after, abs=1e-5)
    assert len(compared.resampled) == 1000
    assert sum(difference > 0 for difference in compared.resampled) > 950
