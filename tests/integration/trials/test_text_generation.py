"""Text generation: what is learned of texts, prompts and conversations, what is written, and the winner in use."""

import csv
import gzip
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf

from luthier.studies.protocol import Assignment, AssignmentKind
from luthier.studies.results import Batching
from luthier.studies.strategy import Generation
from luthier.trials.errors import BadData
from luthier.trials.files import file_ref
from luthier.trials.jobs.compare import compare
from luthier.trials.jobs.evaluate import evaluate
from luthier.trials.jobs.inspect import inspect
from luthier.trials.jobs.train import train
from luthier.trials.tasks.scoring import NO_TOKEN
from luthier.trials.training.engine import Engine
from luthier.trials.training.generation import Writing
from luthier.trials.training.micro_batch import MicroBatch
from luthier.trials.training.model_cache import ModelCache
from tests.support import tiny_writing
from tests.support.archives import unpack_tar
from tests.support.cards import run_card
from tests.support.tiers import a_few
from tests.support.trials import Memory

Assign = Callable[..., Assignment]
SHORT = {"generation": {"max_new_tokens": 10}}


def fields(tmp_path: Path, write: Any, name: str = "gpt2-writes", rows: int = 48, **spec: Any) -> dict[str, Any]:
    folder = tiny_writing.ARCHITECTURES[name].build(tmp_path / "model")
    return {"task": "text-generation", "model": str(folder), **SHORT, **spec} | {
        "dataset": {"source": str(write(tmp_path, rows)), "validation": 0.2, "test": 0.2}
    }


def with_template(spec: dict[str, Any], template: str = tiny_writing.CHAT) -> None:
    tokenizer = hf.AutoTokenizer.from_pretrained(spec["model"])
    tokenizer.chat_template = template
    tokenizer.save_pretrained(spec["model"])


def test_only_the_completion_is_learned_and_it_ends(assign: Assign, tmp_path: Path) -> None:
    study = ModelCache().open(assign(spec=fields(tmp_path, tiny_writing.prompts)))
    encoded = study.encoded("train", 64)
    tokenizer, split = study.pretrained.processor, study.data.splits["train"]
    learned = [tokenizer.decode(labels) for labels in encoded.targets["labels"]]
    assert learned == [f"{text}<|endoftext|>" for text in split.targets]
    targets = study.task.collate_targets(encoded, [3, 0])
    ids = study.task.collate(encoded, [3, 0])["input_ids"]
    assert torch.equal(ids[targets["rows"], targets["positions"] + 1], targets["labels"])

    cut = study.encoded("train", 12)
    for row, text in enumerate(split.targets):
        whole = tokenizer.decode(cut.columns["input_ids"][row])
        assert whole.endswith(f"{text}<|endoftext|>"), "the completion is kept"
        assert whole.removesuffix(f"{text}<|endoftext|>") in split.columns["prompt"][row], (
            "of the prompt the start goes"
        )
        assert len(cut.columns["input_ids"][row]) <= 12


def test_each_token_of_a_long_text_is_learned_once(assign: Assign, tmp_path: Path) -> None:
    study = ModelCache().open(assign(spec=fields(tmp_path, tiny_writing.texts)))
    encoded = study.encoded("train", 7)
    tokenizer, split = study.pretrained.processor, study.data.splits["train"]
    offsets = encoded.example_offsets
    assert len(offsets) == len(split) + 1 < len(encoded)
    for example, text in enumerate(split.columns["text"]):
        ids = tokenizer(text)["input_ids"]
        labels = [token for row in range(*offsets[example : example + 2]) for token in encoded.targets["labels"][row]]
        assert labels == [*ids[1:], tokenizer.eos_token_id]


def test_losses_are_those_of_transformers(assign: Assign, tmp_path: Path) -> None:
    study = ModelCache().open(assign(spec=fields(tmp_path, tiny_writing.prompts)))
    encoded, model = study.encoded("validation", 64), study.pretrained.model.eval()
    found = study.scores(Engine(model, study.task, MicroBatch()).evaluate(encoded, study.data.targets))
    total, count = 0.0, 0
    for row in range(len(encoded)):
        ids, labels = encoded.columns["input_ids"][row], encoded.targets["labels"][row]
        wanted = torch.tensor([[-100] * (len(ids) - len(labels)) + list(labels)])
        with torch.no_grad():
            total += float(model(input_ids=torch.tensor([list(ids)]), labels=wanted).loss) * len(labels)
        count += len(labels)
    assert found["loss"] == pytest.approx(total / count, abs=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)


@pytest.mark.parametrize("name", a_few(1, ["gpt2-writes", "llama-writes", "opt-writes"]))
def test_what_is_written_in_batches_is_what_is_written_alone(assign: Assign, tmp_path: Path, name: str) -> None:
    study = ModelCache().open(assign(spec=fields(tmp_path, tiny_writing.prompts, name)))
    encoded, model = study.encoded("train", 64), study.pretrained.model.eval()
    generation, rows = Generation(max_new_tokens=8), [0, 1, 2, 3, 4]
    together = study.task.generate(model, encoded, rows, generation)
    for row in rows:
        prompt = torch.tensor(
            [study.pretrained.processor(study.data.splits["train"].columns["prompt"][row])["input_ids"]]
        )
        wanted = []
        for _ in range(8):  # token by token, without a cache
            with torch.no_grad():
                token = int(model(input_ids=prompt).logits[0, -1].argmax())
            if token == study.pretrained.processor.eos_token_id:
                break
            wanted.append(token)
            prompt = torch.cat([prompt, torch.tensor([[token]])], 1)
        assert [token for token in together[row].tolist() if token != NO_TOKEN] == wanted


@pytest.mark.full
@pytest.mark.parametrize("batching", [Batching.RIGHT, Batching.EQUAL, Batching.SINGLE])
def test_beams_of_a_batch_are_those_of_each_prompt_alone(assign: Assign, tmp_path: Path, batching: Batching) -> None:
    """As transformers' own search finds them; prompts of unlike length are padded, or go by their lengths."""
    study = ModelCache().open(assign(spec=fields(tmp_path, tiny_writing.prompts, "llama-writes")))
    model, rows = study.pretrained.model.eval(), range(8)
    encoded = study.encoded("train", 64).batched(batching)
    assert len(set(map(len, encoded.targets["prompts"]))) > 1
    beams, greedy = (
        study.task.generate(model, encoded, rows, Generation(max_new_tokens=6, num_beams=beams)) for beams in (4, 1)
    )
    assert not torch.equal(beams, greedy), "the test is not blind"
    for row in rows:
        prompt = study.data.splits["train"].columns["prompt"][row]
        read = study.pretrained.processor(prompt, return_tensors="pt")
        inputs = {name: read[name] for name in ("input_ids", "attention_mask")}
        wanted = model.generate(**inputs, max_new_tokens=6, num_beams=4, do_sample=False)[
            0, read["input_ids"].shape[1] :
        ]
        kept = [token for token in wanted.tolist() if token not in model.generation_config.eos_token_id]
        assert [token for token in beams[row].tolist() if token != NO_TOKEN] == kept


def test_settings_of_a_checkpoint_change_no_text(assign: Assign, tmp_path: Path) -> None:
    given = fields(tmp_path, tiny_writing.prompts)
    writing = Writing(Generation(max_new_tokens=8))

    def tokens() -> Any:
        study = ModelCache().open(assign(spec=given))
        return writing.tokens(study.pretrained.model.eval(), study.task, study.encoded("train", 64), range(6))[
            "generated"
        ]

    plain = tokens()
    odd = hf.GenerationConfig(
        do_sample=True, temperature=9.0, suppress_tokens=plain.unique().clamp(min=0).tolist(), repetition_penalty=5.0
    )
    odd.save_pretrained(given["model"])
    assert torch.equal(tokens(), plain)


@pytest.mark.parametrize("depth", a_few(1, [2, 0, 3]))
def test_scores_are_the_same_with_and_without_the_prefix(
    assign: Assign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: int
) -> None:
    objective = {"metric": "exact_match"}
    given = {"spec": fields(tmp_path, tiny_writing.prompts, objective=objective), "params": {"freeze_depth": depth}}
    scores = []
    for memory in ("1GiB", "0"):
        monkeypatch.setenv("LUTHIER_CACHE_MEMORY", memory)
        session = Memory(tmp_path / memory)
        assert train(assign(**given), session, ModelCache()).status == "complete"
        scores.append(session.metrics)
        assert any(line.startswith("generation took ") for line in session.lines)
    for cached, whole in zip(*scores, strict=True):
        assert cached["exact_match"] is not None
        assert cached == pytest.approx(whole, abs=1e-4)


@pytest.mark.full
def test_a_resumed_trial_reaches_the_same_scores(assign: Assign, tmp_path: Path) -> None:
    given = {"spec": fields(tmp_path, tiny_writing.prompts), "params": {"epochs": 3}}
    whole = Memory(tmp_path / "whole")
    train(assign(**given), whole, ModelCache())
    from luthier.studies.protocol import Decision
    from luthier.trials.errors import Ended

    half = Memory(tmp_path / "half", lambda step: Decision.STOP if step == 1 else Decision.CONTINUE)
    with pytest.raises(Ended):
        train(assign(**given), half, ModelCache())
    half.decide = lambda step: Decision.CONTINUE
    train(assign(**given, checkpoint=half.checkpoint()), half, ModelCache())
    assert half.metrics == whole.metrics


@pytest.mark.full
@pytest.mark.fresh_process
def test_the_winner_writes_in_a_fresh_process_and_is_compared(assign: Assign, tmp_path: Path) -> None:
    given = {"spec": fields(tmp_path, tiny_writing.prompts, "llama-writes", rows=96)}
    warm, models = ModelCache(), []
    for side, epochs in (("champion", 1), ("challenger", 8)):
        session, work = Memory(tmp_path / side), given | {"params": {"epochs": epochs, "learning_rate": 5e-3}}
        train(assign(**work), session, warm)
        found = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **work), session, warm)
        models.append((found.test, session.folder / "model.tar.gz"))
    (before, first), (after, second) = models
    assert after["exact_match"] > 0.7 > before["exact_match"], "a word of the prompt tells the answer"
    assert after["loss"] < 0.6 < before["loss"]
    unpack_tar(second, tmp_path / "winner")
    settings = json.loads((tmp_path / "winner" / "generation_config.json").read_text())
    assert (settings["max_new_tokens"], settings["do_sample"], settings["use_cache"]) == (10, False, True)

    session = Memory(tmp_path / "comparison")
    refs = {
        side: file_ref(path.rename(session.folder / f"{side}.tar.gz"))
        for side, path in (("champion", first), ("challenger", second))
    }
    today = {"spec": given["spec"] | {"generation": {"max_new_tokens": 1}}}  # each model writes as it was scored
    compared = compare(assign(AssignmentKind.COMPARE, **refs, **today), session, ModelCache())
    assert compared.challenger["loss"] == pytest.approx(after["loss"], abs=1e-5)
    assert compared.challenger["exact_match"] == after["exact_match"]
    assert compared.champion["exact_match"] == before["exact_match"]
    assert compared.gained > compared.lost
    assert min(compared.resampled) > 0, "a smaller loss is better"
    with gzip.open(session.folder / compared.predictions.name, "rt") as file:
        lines = list(csv.DictReader(file))
    assert sum(line["label"] == line["challenger"] for line in lines) / len(lines) == after["exact_match"]
    prompt = warm.open(assign(**given)).data.splits["test"].columns["prompt"][0]
    assert run_card(tmp_path / "winner", {'"A prompt"': json.dumps(prompt)}).strip() == lines[0]["challenger"]


@pytest.mark.parametrize("write", a_few(1, [tiny_writing.chats, tiny_writing.texts]))
def test_conversations_and_texts_go_through_every_job(
    assign: Assign, tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = {"spec": fields(tmp_path, write, rows=36), "params": {"epochs": 6, "max_length": 16, "learning_rate": 1e-2}}
    with_template(given["spec"])
    warm, session = ModelCache(), Memory(tmp_path / "session")
    inspect(assign(AssignmentKind.INSPECT, **given), session, warm)
    train(assign(**given), session, warm)
    result = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **given), session, warm)
    assert any("its predictions for" in line for line in session.lines)
    if write is tiny_writing.chats:
        assert result.test["exact_match"] is not None
        study = warm.open(assign(**given))
        ids = study.encoded("train", 64).columns["input_ids"][0]
        label, text = (
            study.data.splits["train"].targets[0],
            study.data.splits["train"].columns["messages"][0][0]["content"],
        )
        assert study.pretrained.processor.decode(ids) == f"<user>{text}<assistant>{label}<|endoftext|>"
    else:
        assert result.test["exact_match"] is None
    unpack_tar(session.folder / "model.tar.gz", tmp_path / "winner")
    code = (tmp_path / "winner" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.chdir(tmp_path / "winner")
    capsys.readouterr()
    exec(code, {"__name__": "card"})
    assert capsys.readouterr().out, "the card's code runs as it stands"


@pytest.mark.full
def test_all_answers_of_a_conversation_are_learned(assign: Assign, tmp_path: Path) -> None:
    """Each is learned, scored and written behind what its template writes then, and a call of a tool is context."""
    spec = fields(tmp_path, tiny_writing.chats, rows=30)
    with_template(spec)
    shown = Path(spec["dataset"]["source"]).read_text().splitlines()
    chats = [json.loads(line)["messages"] for line in shown]
    for question, _ in chats:  # so short that nothing is cut
        question["content"] = " ".join(question["content"].split()[:2])
    rows = [{"messages": first + second} for first, second in zip(chats, chats[1:] + chats[:1], strict=True)]
    Path(spec["dataset"]["source"]).write_text("\n".join(json.dumps(row) for row in rows))
    spec["dataset"]["learn"] = "all"
    given = {"spec": spec, "params": {"epochs": 6, "max_length": 32, "learning_rate": 1e-2}}
    warm, session = ModelCache(), Memory(tmp_path / "session")
    found = inspect(assign(AssignmentKind.INSPECT, **given), session, warm)
    assert "answers-as-context" not in {finding.code for finding in found.findings}
    study = warm.open(assign(**given))
    encoded, split = study.encoded("train", 64), study.data.splits["train"]
    decode = study.pretrained.processor.decode
    assert len(encoded) == 2 * len(split)
    for row, (messages, answers) in enumerate(zip(split.columns["messages"], split.targets, strict=True)):
        first, second = f"<user>{messages[0]['content']}<assistant>", f"<user>{messages[2]['content']}<assistant>"
        assert decode(encoded.columns["input_ids"][2 * row]) == f"{first}{answers[0]}<|endoftext|>"
        whole = decode(encoded.columns["input_ids"][2 * row + 1])
        assert whole.startswith(f"{first}{answers[0]}")
        assert whole.endswith(f"{second}{answers[1]}<|endoftext|>")
        learned = [decode(encoded.targets["labels"][2 * row + k]) for k in (0, 1)]
        assert learned == [f"{answer}<|endoftext|>" for answer in answers]
    train(assign(**given), session, warm)
    result = evaluate(assign(AssignmentKind.EVALUATE, checkpoint=session.checkpoint(), **given), session, warm)
    assert any("its predictions for" in line for line in session.lines)
    assert result.test["exact_match"] is not None


def test_what_cannot_be_learned_is_refused(assign: Assign, tmp_path: Path) -> None:
    given = fields(tmp_path, tiny_writing.chats)
    with pytest.raises(BadData, match=r"no chat template.*prompt and completion"):
        ModelCache().open(assign(spec=given))
    with_template(given)
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "", "tool_calls": [{"name": "f"}]}]
    turns += [{"role": "tool", "content": "1"}, {"role": "assistant", "content": "one"}]
    plain = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "one"}]
    tiny_writing.write(tmp_path / "chats.jsonl", [{"messages": turns if i == 12 else plain} for i in range(20)])
    study = ModelCache().open(assign(spec=given))
    with pytest.raises(BadData, match=r"row 13 \(line 13\).*refuses a conversation that begins 'hi'.*no tools here"):
        for split in study.data.splits:
            study.encoded(split, 64)
    texts = fields(tmp_path, tiny_writing.texts, objective={"metric": "exact_match"})
    with pytest.raises(BadData, match=r"exact_match cannot be measured.*prompt and completion"):
        inspect(assign(AssignmentKind.INSPECT, spec=texts), Memory(tmp_path / "refused"), ModelCache())
    hf.AutoModel.from_pretrained(texts["model"]).save_pretrained(texts["model"])
    with pytest.raises(BadData, match=r"lacks lm_head.weight.*trained to write"):
        ModelCache().open(assign(spec=texts))
