"""The examples at the end of each command's help, and how a command is added with them."""

from collections.abc import Callable
from typing import Any

import typer

from luthier.service.cli.project_option import with_project

EXAMPLES = {
    "init": ("luthier init data/sms.csv", "luthier init photos -o - > study.yaml"),
    "import": (
        "luthier import sweep.yaml --data data/sms.csv",
        "luthier import optuna.db --study my-study -o study.yaml",
    ),
    "run": (
        "luthier run study.yaml",
        "luthier run study.yaml --model-dir winner",
        "luthier run study.yaml --track mlflow --track tensorboard",
        "luthier run -f - --json < study.yaml > result.json",
    ),
    "plan": ("luthier plan study.yaml", "luthier plan study.yaml -o json"),
    "serve": ("luthier serve", "LUTHIER_TOKEN=... luthier serve --host 0.0.0.0 --port 8000"),
    "worker": ("luthier worker --server http://service:8000 --gpu 0", "luthier worker -- --help"),
    "workers": ("LUTHIER_WORKER_TOKEN=... luthier workers --server http://service:8000",),
    "create": (
        "luthier create study.yaml",
        "luthier create study.yaml -o name",
        "luthier create study.yaml --import trials.csv",
        "luthier create study.yaml --warm-start my-other-study",
    ),
    "extend": ("luthier extend my-study --trials 20", "luthier extend my-study --hours 2 --target none"),
    "list": ("luthier list", "luthier list --state running --tag german -o name", "luthier list -o csv > studies.csv"),
    "get": ("luthier get my-study", "luthier get my-study -o json"),
    "watch": ("luthier watch my-study",),
    "wait": ("luthier create study.yaml -o name | xargs luthier wait",),
    "best": ("luthier best my-study", "luthier best my-study -o value"),
    "pause": ("luthier pause my-study",),
    "resume": ("luthier resume my-study",),
    "stop": ("luthier stop my-study", "luthier stop my-study 3"),
    "cancel": ("luthier cancel my-study",),
    "retry": ("luthier retry my-study 3",),
    "update": ("luthier update my-study --tag baseline --tag german", "luthier update my-study --parallel 4"),
    "delete": (
        "luthier delete my-study",
        "luthier delete my-study 3",
        "luthier list --state failed -o name | xargs -n 1 luthier delete --yes",
    ),
    "model": ("luthier model my-study -o winner",),
    "predict": (
        "luthier predict my-study new.csv -o answers.csv",
        "luthier predict my-study new.jsonl --server http://service:8000 > answers.csv",
    ),
    "write-report": ("luthier write-report my-study -o report.html",),
    "results": ("luthier results my-study", "luthier results my-study -o json"),
    "schema": ("luthier schema > spec.schema.json",),
    "plot": ("luthier plot my-study importance", "luthier plot my-study history -o history.png"),
    "track": (
        "MLFLOW_TRACKING_URI=http://mlflow:5000 luthier track my-study --to mlflow",
        "WANDB_MODE=offline luthier track my-study --to wandb --to tensorboard",
    ),
    "usage": ("luthier usage", "luthier usage --limit 100 -o json"),
    "prune": (
        "luthier prune --dry-run",
        "luthier prune --older-than 30d",
        "luthier prune --what studies --no-keep-winners --older-than 26w --yes",
    ),
    "backup": ("luthier backup backups/monday", "luthier backup monday.tar --verify"),
    "restore": ("LUTHIER_HOME=new-home luthier restore backups/monday",),
    "open": ("luthier open", "luthier open my-study"),
    "compare": (
        "luthier compare my-study other-study",
        "luthier compare my-study/3 my-study/7 --all",
        "luthier compare my-study other-study -o csv > comparison.csv",
    ),
    "trials": (
        "luthier trials my-study",
        "luthier trials my-study --sort=-value --limit 5",
        "luthier trials my-study --state failed -o csv",
    ),
    "logs": ("luthier logs my-study 3", "luthier logs my-study 3 --follow --tail 20"),
    "enqueue": (
        "luthier enqueue my-study learning_rate=2e-5 batch_size=32",
        "luthier enqueue my-study learning_rate=2e-5 --seed 7 --key run-7",
    ),
    "ask": ("luthier ask tuning", "luthier ask tuning --wait 60 --lease 3600 > trial.json"),
    "report": (
        'luthier report tuning "$TOKEN" 3 accuracy=0.91 loss=0.2',
        'test "$(luthier report tuning "$TOKEN" 3 accuracy=0.91)" = continue || break',
    ),
    "tell": (
        'luthier tell tuning "$TOKEN" --value 0.91',
        'luthier tell tuning "$TOKEN" --state failed --reason oom --message "out of memory at batch 512"',
    ),
    "export": (
        "luthier export my-study > trials.csv",
        "luthier export my-study --onnx -o winner",
        "luthier export my-study --format jsonl",
        "luthier export my-study --bundle -o my-study.zip",
    ),
    "rerun": (
        "luthier rerun my-study.zip",
        "luthier rerun my-study.zip --trial 3 --data moved/sms.csv",
        "luthier rerun my-study.zip --all --json > comparison.json",
    ),
    "fleet": ("luthier fleet", "luthier fleet -o json"),
    "fleet release": ("luthier fleet release local-0@host",),
    "token create": (
        "luthier token create anna --scope write --project vision",
        "luthier token create ci -s write --expires 30d > ci.token",
        "luthier token create gpu-box --scope worker",
    ),
    "token list": ("luthier token list", "luthier token list --state live -o json"),
    "token revoke": ("luthier token revoke anna --yes",),
    "audit": ("luthier audit", "luthier audit --caller anna --limit 20", "luthier audit --project vision -o csv"),
    "dataset upload": ("luthier dataset upload reviews.csv", "luthier dataset upload pets.zip --name 'our pets'"),
    "dataset list": ("luthier dataset list", "luthier dataset list -o csv"),
    "dataset get": ("luthier dataset get 3f0c9a17e2b4d586", "luthier dataset get 3f0c9a17e2b4d586 -o json"),
    "dataset preview": ("luthier dataset preview 3f0c9a17e2b4d586",),
    "dataset delete": ("luthier dataset delete 3f0c9a17e2b4d586 --yes",),
    "project set": (
        "luthier project set team-a --weight 2 --max-parallel 8",
        "luthier project set team-b --priority 10",
    ),
    "project list": ("luthier project list", "luthier project list -o json"),
    "project get": ("luthier project get team-a",),
    "project delete": ("luthier project delete team-a --yes",),
    "schedule create": ("luthier schedule create nightly.yaml",),
    "schedule list": ("luthier schedule list", "luthier schedule list -o name"),
    "schedule get": ("luthier schedule get nightly",),
    "schedule update": ("echo 'cron: 0 3 * * *' | luthier schedule update nightly -f -",),
    "schedule pause": ("luthier schedule pause nightly",),
    "schedule resume": ("luthier schedule resume nightly",),
    "schedule trigger": ("luthier schedule trigger nightly",),
    "schedule runs": ("luthier schedule runs nightly", "luthier schedule runs nightly -o csv"),
    "schedule model": ("luthier schedule model nightly -o champion",),
    "schedule rollback": ("luthier schedule rollback nightly",),
    "schedule delete": ("luthier schedule delete nightly --yes",),
    "schedule schema": ("luthier schedule schema > schedule.schema.json",),
}
"""Command -> lines that a user could type."""


def add(
    app: typer.Typer, command: Callable[..., None], name: str, panel: str | None = None, group: str = "", **more: Any
) -> None:
    """Add a command to an application, with its examples.

    Args:
        app: the application, or a group of it.
        command: the function.
        name: as users type it.
        panel: the heading of the command in the help.
        group: the name of the group, and a space.
        more: options of typer.
    """
    epilog = "\n\n".join(("Examples:", *(f"  {line}" for line in EXAMPLES[f"{group}{name}"])))
    app.command(name, epilog=epilog, rich_help_panel=panel, **more)(with_project(command))
