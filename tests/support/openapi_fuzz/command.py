"""The command line of schemathesis over a service: phases, numbers of examples, tokens, and all of its checks."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.scripted_worker import client

ROOT = Path(__file__).parents[3]
HOOKS = "tests.support.openapi_fuzz.hooks"
REFUSALS = [400, 401, 403, 404, 405, 406, 409, 410, 412, 413, 415, 422, 503]  # answers to a request that is invalid
SETTINGS = """
continue-on-failure = true
request-timeout = 40
suppress-health-check = ["all"]
warnings = false

[checks.negative_data_rejection]
expected-statuses = {refusals}

[checks.positive_data_acceptance]
expected-statuses = ["2xx", "3xx", 401, 403, 404, 409, 410, 412, 413, 503, 507]
"""
AUTH = """
[auth.openapi.user]
bearer = "{user}"

[auth.openapi.worker]
bearer = "{worker}"
"""


def fuzz(
    url: str,
    folder: Path,
    tokens: tuple[str, str] | None,
    phases: str,
    examples: int,
    *options: str,
    timeout_seconds: float = 600,
) -> subprocess.CompletedProcess[str]:
    """Run schemathesis over the service at `url`, and return how it ended: 0 where no check failed.

    Args:
        url: of the service.
        folder: for its settings; what it writes stays there.
        tokens: the user's and the workers'; None sends none.
        phases: of examples, coverage, fuzzing, stateful, with commas.
        examples: requests for each operation while fuzzing, and runs of the state machine.
        options: further ones.
        timeout_seconds: after which it is ended.
    """
    settings = SETTINGS.format(refusals=REFUSALS)
    if tokens is not None:
        settings += AUTH.format(user=tokens[0], worker=tokens[1])
    (folder / "schemathesis.toml").write_text(settings)
    headers = {} if tokens is None else {"Authorization": f"Bearer {tokens[0]}"}
    with client(url, headers=headers) as asking:
        (folder / "openapi.json").write_bytes(asking.get("/openapi.json").raise_for_status().content)
    command = [sys.executable, "-m", "schemathesis.cli", "run", "openapi.json", "--url", url, "--phases", phases]
    command += ["--max-examples", str(examples), "--seed", "1", "--no-shrink", *options]
    environment = os.environ | {
        "SCHEMATHESIS_HOOKS": HOOKS,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "NO_COLOR": "1",
        "COLUMNS": "200",
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )
