"""The command `luthier plan`: what a study would run, from a service or from a worker on this machine.

The docstring of a command is its help text.
"""

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import typer

from luthier.service.cli.connect import (
    USAGE,
    CommandError,
    Server,
    SpecArgument,
    SpecFile,
    Token,
    chosen_file,
    connect,
    load_settings,
    read_spec,
    read_text,
    starting,
    tell,
)
from luthier.service.cli.examples import add
from luthier.service.cli.findings import findings_tables
from luthier.service.cli.first_look import first_faults, told_of_elsewhere
from luthier.service.cli.output import Format, Output, configuration, emit, facts, score, size, table
from luthier.service.cli.own_service import beginning, find_holder, own_service
from luthier.service.cli.run import PANEL
from luthier.service.cli.signals import end_at_once, terminated_is_interrupted
from luthier.service.cli.stages import PLANS, Waiting

if TYPE_CHECKING:
    from rich.table import Table

    from luthier.service.schemas import PlanView, PrunerPlan
    from luthier.studies.results import BatchFit


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    add(app, plan, "plan", PANEL)


def plan(
    spec: SpecArgument = None,
    file: SpecFile = None,
    server: Server = None,
    token: Token = None,
    output: Output = Format.TABLE,
) -> None:
    """Open model and data, check both, and say what would run and how long it may take. Nothing is stored.

    Without --server or LUTHIER_SERVER a worker on this machine does it.
    """
    file = chosen_file(spec, file)
    if server:
        text = read_text(file)
        tell(*told_of_elsewhere(text, server))
        with connect(server, token) as client, Waiting(f"the service at {client.url} is asked") as waiting:
            waiting.watch(client, PLANS)
            answer = client.plan(text)
    else:
        text, parsed = read_spec(file)
        end_at_once()
        settings = load_settings().model_copy(update={"workers_per_gpu": 1})
        holder = find_holder(settings.home)
        if holder is None and not parsed.is_external and (faults := first_faults(text, settings)):
            raise CommandError(USAGE, *faults)
        with (
            terminated_is_interrupted(),
            starting(),
            Waiting(beginning(holder)) as waiting,
            own_service(settings, None, holder) as service,
        ):
            waiting.watch(service.client, PLANS)
            answer = service.client.plan(text)
            waiting.end()
    emit(answer, output, *(plan_tables(answer) if output is Format.TABLE else ()))


def accumulated(fit: "BatchFit") -> str:
    """Return how a batch goes through the model whose gradients add up, as `4 pieces of 8`."""
    return f"{math.ceil(fit.batch_size / fit.micro_batch)} pieces of {fit.micro_batch}"


def prunable(pruner: "PrunerPlan") -> str:
    """Return how many trials a pruner could end early, as `at most 11 of 16 (median)`."""
    of = "" if pruner.trials is None else f" of {pruner.trials}"
    if pruner.prunable_trials is None:
        return f"any but the first{of} ({pruner.name})"
    return f"{f'at most {pruner.prunable_trials}' if pruner.prunable_trials else 'none'}{of} ({pruner.name})"


def _pruner_facts(pruner: "PrunerPlan | None") -> dict[str, str | None]:
    if pruner is None:
        return {}
    return {
        "trials that the pruner could end": prunable(pruner),
        "what it compares": pruner.note,
        "trials pause": rungs(pruner),
    }


def rungs(pruner: "PrunerPlan") -> str | None:
    """Return where trials pause, as `after evaluation 1 (16 trials), 3 (5 trials)`; None where they do not."""
    told = [f"{rung.step}" + (f" ({about} trials)" if (about := rung.trials) else "") for rung in pruner.rungs]
    return f"after evaluation {', '.join(told)}" if told else None


def values(dimension: Any) -> str:
    """Return a dimension of a resolved space, as JSON has it, in a few words: `1e-05 to 0.001 (log)`."""
    if isinstance(dimension, dict):
        how = " (log)" if dimension.get("log") else f" by {step:g}" if (step := dimension.get("step")) else ""
        prior = "" if dimension.get("prior") is None else f", at first near {dimension['prior']}"
        return f"{dimension['low']} to {dimension['high']}{how}{prior}"
    return ", ".join(map(str, dimension)) if isinstance(dimension, list) else f"{dimension}"


def _values(d: Any) -> str:
    """Return a dimension of a space in words."""
    if isinstance(d, dict):
        text = f"{d['low']} to {d['high']}{', log' if d['log'] else ''}"
        text += f", in steps of {d['step']}" if d["step"] else ", whole" if isinstance(d["low"], int) else ""
        return text + (f", at first near {d['prior']}" if d.get("prior") is not None else "")
    return ", ".join(map(json.dumps, d)) if isinstance(d, list) else json.dumps(d)


def first_tables(answer: "PlanView") -> Iterator["Table"]:
    """Yield the trials that a study begins with, where there are others than the baseline."""
    if len(answer.first) < 2:
        return
    names = [name for name, d in answer.space.items() if isinstance(d, list | dict)]
    rows = (
        (
            trial.number,
            trial.source.replace("_", " ") + ("" if trial.from_trial is None else f" (trial {trial.from_trial})"),
            configuration({name: trial.params[name] for name in names if name in trial.params}) if trial.params else "",
            trial.why,
        )
        for trial in answer.first
    )
    yield table((">trial", "from", "configuration", "remark"), rows, title="First trials")


def plan_tables(answer: "PlanView") -> Iterator["Table"]:
    """Yield a plan as a person reads it: the data, the blocks of each model, estimates, batch sizes."""
    if not answer.models:  # a trainer of the user's own has them
        yield table(("name", "values"), ((name, _values(d)) for name, d in answer.space.items()), title="Space")
        yield from first_tables(answer)
        yield facts(_pruner_facts(answer.pruner))
        return
    yield facts({f"{split} rows": count for split, count in answer.data.rows.items()}, title="Data")
    if answer.data.labels:  # none where numbers or texts are learned
        yield table(("label", ">rows"), answer.data.labels.items())
    yield from findings_tables(answer.data.findings)
    yield from (facts({"preset": remark}) for remark in answer.remarks)
    yield table(("hyperparameter", "values"), ((name, values(d)) for name, d in answer.space.items()), title="Space")
    columns = (">freeze_depth", "topmost frozen block", ">its parameters", ">trainable parameters", ">a trial")
    for model in answer.models:
        names = ["-", *(block.name for block in model.blocks)]
        sizes = ["-", *(f"{block.parameters:,}" for block in model.blocks)]
        trainable = [f"{count:,}" for count in model.trainable_parameters]
        several, whole = len(answer.models) > 1, len(model.blocks)
        depths = [f"{depth / whole:.2f}" if several else str(depth) for depth in range(whole + 1)]
        seconds = [f"{one:.1f} s" for one in model.seconds_per_trial] or [""] * len(depths)
        scores = {one.freeze_depth: one.score for one in model.probe.scores} if model.probe else {}
        probed = [score(scores.get(depth)) for depth in range(whole + 1)]
        cells = [depths, names, sizes, trainable, seconds, *([probed] if scores else [])]
        yield table((*columns, *([">linear probe"] if scores else [])), zip(*cells, strict=True), title=model.model)
    yield from first_tables(answer)
    estimates = answer.estimates
    yield facts(
        {
            "a trial at the baseline": f"{estimates.seconds_per_trial:.1f} s" if estimates else "not estimated",
            "the whole study": f"{estimates.seconds:.0f} s" if estimates and estimates.seconds else None,
            "memory": size(estimates.memory_bytes) if estimates and estimates.memory_bytes else None,
            **_pruner_facts(answer.pruner),
            "the limit on a trial": " ".join(answer.limits) or None,
        },
        title="Estimates",
    )
    if estimates and estimates.batch_sizes:
        rows = (
            (fit.batch_size, size(fit.memory_bytes), "yes" if fit.fits else f"in {accumulated(fit)}")
            for fit in estimates.batch_sizes
        )
        yield table((">batch_size", ">memory at most", "fits"), rows)
