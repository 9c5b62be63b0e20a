"""A spec is accepted whole, or refused with the path of what is wrong and what would be right."""

import json
import math
from dataclasses import replace
from typing import Any, cast

import jsonschema_rs
import pytest
import yaml
from pydantic import ValidationError

from luthier.studies.semantics import NEWEST_SEMANTICS
from luthier.studies.spec import StudySpec, parse_spec, trial_seed
from luthier.studies.task import Task
from luthier.studies.tasks import TASKS
from tests.support.specs import DOCUMENT, MISSING, document, spec

LR = "space.learning_rate"
ONE_STEP = {"space.epochs": 1}
LORA = {"space.strategy": ["full", "lora"]}
QUESTIONS = {"task": "question-answering", "objective": {}, "space.max_length": [64, 128]}
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"nmae": "x"}, "nmae", "Extra inputs"),
    ({"name": MISSING}, "name", "required"),
    ({"name": "SMS spam"}, "name", "pattern"),
    ({"name": "a" * 64}, "name", "pattern"),
    ({"task": "poetry"}, "task", "must be one of text-classification"),
    ({"model": []}, "model", "a list of 1 to 16"),
    ({"model": [f"m{i}" for i in range(17)]}, "model", "a list of 1 to 16"),
    ({"model": ["a", "b", "a"]}, "model.2", "a is listed twice"),
    ({"model": ["a", ""]}, "model.1", "must be a local directory or a hub id"),
    ({"model": ["a", "b\0"]}, "model.1", "NUL"),
    ({"model": ["a", "b"]}, "space.freeze_depth.high", "at most 1, a fraction of each model's depth"),
    ({"model": ["a", "b"], "space.freeze_depth": [0.5, 2]}, "space.freeze_depth.1", "at most 1, a fraction"),
    ({"model": ["a", "b"], "space.freeze_depth": -0.1}, "space.freeze_depth", "at least 0"),
    ({"space.freeze_depth": 0.5}, "space.freeze_depth", "must be a whole number"),
    ({"model": ""}, "model", "must be a local directory or a hub id"),
    ({"model": 3}, "model", "must be a local directory or a hub id"),
    ({"model": "a\0b"}, "model", "NUL"),
    ({"dataset.source": ""}, "dataset.source", "must be a file"),
    ({"dataset.source": 3}, "dataset.source", "must be a file"),
    ({"dataset.source": {"validation": "b.csv"}}, "dataset.source.train", "required"),
    ({"dataset.colums": {}}, "dataset.colums", "Extra inputs"),
    ({"dataset.columns": {"sound": "a"}}, "dataset.columns.sound", "unknown role; text-classification has text"),
    ({"dataset.validation": 0.0}, "dataset.validation", "above 0 and below 1"),
    ({"dataset.validation": 1.5}, "dataset.validation", "above 0 and below 1"),
    ({"dataset.test": -0.1}, "dataset.test", "from 0 to below 1"),
    ({"dataset.validation": 0.6, "dataset.test": 0.5}, "dataset.test", "must leave rows to train on"),
    ({"dataset.unreadable": "skip"}, "dataset.unreadable", "must be refuse: text-classification has no images"),
    ({"dataset.unreadable": "ignore"}, "dataset.unreadable", "'refuse' or 'skip'"),
    ({"dataset.limit": 3}, "dataset.limit", "greater than or equal to 10"),
    ({"objective": {"metric": "bleu"}}, "objective.metric", "must be one of accuracy, macro_f1, matthews, auc, loss"),
    ({"objective": {"metric": "loss", "direction": "maximize"}}, "objective.direction", "must be minimize for loss"),
    ({"objective": {"measurement": "mean"}}, "objective.measurement", "'best' or 'last'"),
    (
        {"space.augmentation": ["none"]},
        "space.augmentation",
        "is a key of the spec and no hyperparameter: write",
    ),
    ({"space.learning_rat": 1e-4}, "space.learning_rat", "unknown hyperparameter; known are learning_rate"),
    ({LR: {"low": 1e-3, "high": 1e-6}}, f"{LR}.low", "must be at most high"),
    ({LR: {"low": 0, "high": 1e-3}}, f"{LR}.low", "must be above 0"),
    ({"space.weight_decay": {"low": 0, "high": 0.3, "log": True}}, "space.weight_decay.low", "above 0 when log"),
    ({LR: {"low": 1e-6, "high": 1e-3, "log": True, "step": 1e-6}}, f"{LR}.step", "cannot be combined with log"),
    ({LR: {"low": 1e-6, "high": 1e-3, "log": "yes"}}, f"{LR}.log", "must be true or false"),
    ({LR: {"low": 1e-6, "high": 1e-3, "step": 0}}, f"{LR}.step", "above 0"),
    ({LR: {"low": 1e-6, "high": math.inf}}, f"{LR}.high", "finite"),
    ({LR: {"low": math.nan, "high": 1.0}}, f"{LR}.low", "finite"),
    ({LR: math.nan}, LR, "finite"),
    ({LR: {"low": 1e-6}}, f"{LR}.high", "is missing"),
    ({LR: {"low": 1e-6, "high": 1e-3, "max": 1}}, f"{LR}.max", "unknown key; a range has low, high, log, step, prior"),
    ({LR: "fast"}, LR, "must be a number"),
    ({LR: True}, LR, "must be a number"),
    ({LR: []}, LR, "at least one choice"),
    ({"space.batch_size": [8, 8]}, "space.batch_size.1", "8 is listed twice"),
    ({"space.batch_size": [8, 0]}, "space.batch_size.1", "at least 1"),
    ({"space.batch_size": [8, 12.5]}, "space.batch_size.1", "whole number"),
    ({"space.epochs": {"low": 1, "high": 4, "step": 1.5}}, "space.epochs.step", "whole number"),
    ({"space.epochs": {"low": 1, "high": "auto"}}, "space.epochs.high", "whole number"),
    ({"space.freeze_depth": {"low": "auto", "high": "auto"}}, "space.freeze_depth.low", "only high may be auto"),
    ({"space.optimizer": "adamax"}, "space.optimizer", "must be one of adamw, adam, sgd"),
    ({"space.optimizer": {"low": 0, "high": 1}}, "space.optimizer", "a range needs numbers"),
    ({"space.strategy": "prefix"}, "space.strategy", "must be one of full, lora"),
    ({"space.lora_rank": [4, 8]}, "space.lora_rank", "changes nothing unless strategy can be lora: add strategy: lora"),
    ({"space.strategy": "full", "space.lora_targets": "attention"}, "space.lora_targets", "changes nothing unless"),
    ({**LORA, "space.lora_rank": 0}, "space.lora_rank", "at least 1"),
    ({**LORA, "space.lora_alpha": [0, 8]}, "space.lora_alpha.0", "above 0"),
    ({**LORA, "space.lora_dropout": 1}, "space.lora_dropout", "at most 0.999"),
    ({**LORA, "space.lora_variant": "qlora"}, "space.lora_variant", "must be one of lora, rslora, dora"),
    ({**LORA, "space.lora_targets": 3}, "space.lora_targets", 'as "q_proj,v_proj"'),
    ({**LORA, "space.lora_targets": "a,,b"}, "space.lora_targets", "names of modules in one text with commas"),
    ({**LORA, "space.lora_targets": ["attention", ["a", "b"]]}, "space.lora_targets.1", "in one text with commas"),
    ({**LORA, "space.lora_targets": ["b, a", "a,b"]}, "space.lora_targets.1", "a,b is listed twice"),
    ({**LORA, "space.lora_targets": {"low": 1, "high": 2}}, "space.lora_targets", "a range needs numbers"),
    ({"quantization": "4bit"}, "quantization", "4bit needs adapters in every trial: set space.strategy to lora"),
    ({**LORA, "quantization": "4bit"}, "quantization", "4bit needs adapters in every trial"),
    ({"quantization": "8bit"}, "quantization", "'none' or '4bit'"),
    ({"answering": {}}, "answering", "text-classification picks no answers from contexts; leave it out"),
    ({**QUESTIONS, "answering": {"doc_stride": 32}}, "answering.doc_stride", "below half of max_length, which is 64"),
    ({**QUESTIONS, "answering": {"max_answer_length": 0}}, "answering.max_answer_length", "greater than or equal to 1"),
    ({**QUESTIONS, "answering": {"n_best_size": 20}}, "answering.n_best_size", "Extra inputs"),
    ({"gradient_checkpointing": 1}, "gradient_checkpointing", "valid boolean"),
    ({"resources": {"micro_batch": 0}}, "resources.micro_batch", "greater than or equal to 1"),
    ({"space": []}, "space", "must map hyperparameters"),
    ({"sampler": {"name": "evolution"}}, "sampler.name", "'tpe', 'gp', 'cmaes', 'qmc', 'random' or 'grid'"),
    ({"sampler": {"name": "random", "startup_trials": 3}}, "sampler.startup_trials", "no meaning for random"),
    ({"sampler": {"name": "grid"}}, LR, "a grid needs finite choices"),
    ({"sampler": {"name": "grid"}}, "space.weight_decay", "a grid needs finite choices"),
    ({"pruner": {"name": "hyperband", "patience": 3}}, "pruner.patience", "hyperband, which takes reduction_factor"),
    ({"pruner": {"name": "percentile", "percentile": 100.0}}, "pruner.percentile", "less than 100"),
    ({"pruner": {"name": "median"}, **ONE_STEP}, "pruner.name", "every trial has one evaluation"),
    ({"sampler": {"cost_aware": "yes"}}, "sampler.cost_aware", "must be true, false or auto"),
    ({"sampler": {"cost_aware": 1}}, "sampler.cost_aware", "must be true, false or auto"),
    ({"confirm": {"seeds": 1, "average": True}}, "confirm.average", "raise confirm.seeds"),
    ({"seed": -1}, "seed", "greater than or equal to 0"),
    ({"seed": 2**32}, "seed", "less than"),
    ({"seed": 1.5}, "seed", "valid integer"),
    ({"budget": {"trials": 0}}, "budget.trials", "greater than or equal to 1"),
    ({"budget": {"trials": True}}, "budget.trials", "valid integer"),
    ({"budget": {"target": 0.9}}, "budget", "must set trials, wall_clock_seconds or gpu_seconds"),
    ({"budget": {"trials": 3, "target": math.nan}}, "budget.target", "finite"),
    ({"budget": {"wall_clock_seconds": math.inf}}, "budget.wall_clock_seconds", "finite"),
    ({"parallel": 0}, "parallel", "greater than or equal to 1"),
    ({"evaluations_per_epoch": 0}, "evaluations_per_epoch", "greater than or equal to 1"),
]


def problems(call: Any, *args: Any) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        call(*args)
    return {".".join(map(str, e["loc"])): e["msg"] for e in caught.value.errors()}


@pytest.mark.parametrize(("changes", "path", "text"), REFUSED, ids=lambda v: str(v)[:60])
def test_a_wrong_value_is_refused_with_its_path_and_the_cure(changes: dict[str, Any], path: str, text: str) -> None:
    found = problems(StudySpec.model_validate, document(changes))
    assert path in found, found
    assert text in found[path]


def test_every_problem_is_named_at_once() -> None:
    found = problems(StudySpec.model_validate, document({"space.learning_rate": "fast", "parallel": 0, "nmae": 1}))
    assert set(found) == {"space.learning_rate", "parallel", "nmae"}


def test_what_makes_no_sense_for_a_task_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    task = replace(TASKS["text-classification"], name="smells", refuses={"max_length": "means nothing for smells."})
    monkeypatch.setitem(cast(dict[str, Task], TASKS), "smells", task)
    assert StudySpec.model_validate(document({"task": "smells"})).task_info is task
    found = problems(StudySpec.model_validate, document({"task": "smells", "space.max_length": 64}))
    assert found == {"space.max_length": "means nothing for smells."}


def test_what_is_left_out_has_the_documented_defaults() -> None:
    spec = StudySpec.model_validate(DOCUMENT)
    assert (spec.objective.metric, spec.objective.direction, spec.objective.measurement) == (
        "accuracy",
        "maximize",
        "best",
    )
    assert (spec.sampler.name, spec.pruner.name, spec.seed, spec.parallel) == ("tpe", "hyperband", 0, 1)
    assert (spec.dataset.validation, spec.dataset.test) == (0.15, 0.15)
    assert spec.max_steps == 5


def test_what_came_later_is_written_only_where_it_is_asked_for() -> None:
    """A spec of before is stored, and digested, as it was."""
    plain = spec().model_dump(mode="json")
    assert not {"quantization", "gradient_checkpointing"} & plain.keys()
    assert plain["resources"] == {"gpus": None}
    asked = spec(
        quantization="4bit", gradient_checkpointing=True, resources={"micro_batch": 4}, space={"strategy": "lora"}
    )
    written = asked.model_dump(mode="json")
    assert written["quantization"] == "4bit"
    assert written["gradient_checkpointing"] is True
    assert written["resources"] == {"gpus": None, "micro_batch": 4}
    assert StudySpec.model_validate(written) == asked


def test_a_metric_that_is_a_loss_is_minimized_without_being_told() -> None:
    spec = StudySpec.model_validate(document({"objective": {"metric": "loss"}}))
    assert spec.objective.direction == "minimize"
    assert not spec.maximize


def test_nothing_is_pruned_by_default_where_trials_have_one_evaluation() -> None:
    assert StudySpec.model_validate(document(ONE_STEP)).pruner.name == "none"
    assert StudySpec.model_validate(document(ONE_STEP | {"evaluations_per_epoch": 4})).pruner.name == "hyperband"
    several = {"model": ["a", "b"], "space.freeze_depth": 0.5}
    assert StudySpec.model_validate(document(ONE_STEP | several)).pruner.name == "none"


def test_a_list_of_one_model_is_that_model() -> None:
    assert StudySpec.model_validate(document({"model": ["models/minilm"]})) == StudySpec.model_validate(DOCUMENT)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"space.freeze_depth": {"low": 0, "high": "auto"}},
        {"space.freeze_depth": [0, 2, "auto"], "space.optimizer": ["adamw", "sgd"]},
        {
            "space.weight_decay": {"low": 0, "high": 0.3, "step": 0.1},
            "pruner": {"name": "percentile", "percentile": 30},
        },
        {"dataset.source": {"train": "a.csv", "test": "b.csv"}, "sampler": {"name": "gp", "startup_trials": 4}},
        {"model": ["a", "b"], "space.freeze_depth": {"low": 0, "high": "auto"}},
        {"model": ["a", "b"], "space.freeze_depth": [0, 0.25, "auto"]},
    ],
)
def test_a_spec_survives_json_and_yaml(changes: dict[str, Any]) -> None:
    spec = StudySpec.model_validate(document(changes)).with_semantics(NEWEST_SEMANTICS)
    assert StudySpec.model_validate_json(spec.model_dump_json()) == spec
    assert StudySpec.model_validate(spec.model_dump(mode="json")) == spec
    assert parse_spec(spec.model_dump_json()) == spec
    assert parse_spec(yaml.safe_dump(spec.model_dump(mode="json"))) == spec
    assert parse_spec(spec.model_dump_json()).model_dump_json() == spec.model_dump_json()


def test_yaml_numbers_are_those_people_write() -> None:
    text = json.dumps(document({LR: "@"})).replace('"@"', "{low: 1e-6, high: 1E-3, log: true}")
    assert parse_spec(text).space == StudySpec.model_validate(DOCUMENT).space


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: a\nname: b\n", "line 2: name is given twice"),
        ("space: {epochs: 1, epochs: 2}", "epochs is given twice"),
        ("name: [", "not valid YAML or JSON"),
        ("[" * 5000, "not valid YAML or JSON"),
        ("!!python/object/apply:os.system [id]", "not valid YAML or JSON"),
        ("just words", "a spec is a mapping"),
        ("", "a spec is a mapping"),
    ],
)
def test_a_document_that_cannot_be_read_is_refused_with_a_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match="^[^\n]*" + message):
        parse_spec(text)


def test_the_json_schema_accepts_what_the_spec_accepts_and_little_more() -> None:
    schema = StudySpec.model_json_schema()
    jsonschema_rs.meta.validate(schema)
    validator = jsonschema_rs.validator_for(schema)
    assert validator.is_valid(DOCUMENT)
    assert validator.is_valid(document({"space.freeze_depth": {"low": 0, "high": "auto"}}))
    assert validator.is_valid(document({"model": ["a", "b"], "space.freeze_depth": [0, 0.5, "auto"]}))
    assert validator.is_valid(document({"space.lora_targets": ["attention", "all-linear", "q_lin, v_lin"]}))
    for changes in (
        {"nmae": 1},
        {"model": []},
        {"model": ["a", "a"]},
        {"space.learning_rat": 1},
        {LR: []},
        {LR: {"low": 1}},
        {LR: {"low": 1, "high": 2, "max": 1}},
        {"space.optimizer": "adamax"},
        {"space.lora_targets": "q-lin"},
        {"space.lora_targets": ["a,,b"]},
        {"space.batch_size": [8, 0]},
        {"budget": {"trials": 0}},
        {"sampler": {"name": "evolution"}},
    ):
        assert not validator.is_valid(document(changes)), changes


def test_a_trials_seed_depends_on_both_of_its_sources() -> None:
    seeds = {trial_seed(study, number) for study in range(20) for number in range(20)}
    assert len(seeds) == 400
    assert all(0 <= seed < 2**32 for seed in seeds)
