"""Settings from the environment and from files; the stack's list of them."""

import re
from pathlib import Path

import pytest
import yaml

from luthier.service.settings import Settings
from luthier.studies.protocol import SECRET_SETTINGS
from tests.support.paths import ROOT


def test_secrets_travel_as_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("users/luthier_webhook_secret", "users/luthier_token", "workers/luthier_worker_token"):
        path = tmp_path / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"{path.name}-from-a-file\n")
    monkeypatch.setenv("LUTHIER_SECRETS_DIR", f"{tmp_path / 'users'}:{tmp_path / 'workers'}")
    monkeypatch.setenv("LUTHIER_TOKEN", "the-environment-wins")
    settings = Settings()
    secrets = (settings.token, settings.worker_token, settings.webhook_secret)
    assert [secret and secret.get_secret_value() for secret in secrets] == [
        "the-environment-wins",
        "luthier_worker_token-from-a-file",
        "luthier_webhook_secret-from-a-file",
    ]


def test_the_settings_that_workers_must_not_get_are_those_that_are_secret() -> None:
    secret = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert sorted(SECRET_SETTINGS) == sorted(f"LUTHIER_{name.upper()}" for name in secret | {"secrets_dir"})


def test_what_is_empty_is_unset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "luthier_token").write_text("a-token-from-a-file")
    monkeypatch.setenv("LUTHIER_SECRETS_DIR", str(tmp_path))
    for name in Settings.model_fields:
        if name != "secrets_dir":
            monkeypatch.setenv(f"LUTHIER_{name.upper()}", "")
    settings = Settings()
    assert settings.token
    assert settings.token.get_secret_value() == "a-token-from-a-file"
    assert settings.model_fields_set == {"secrets_dir", "token"}


def test_the_stacks_example_lists_every_setting() -> None:
    """Those that the compose file takes, each as a line of its own; the others of the service, as the stack's own."""
    text = (ROOT / "docker" / "compose.yaml").read_text()
    services = yaml.safe_load(text)["services"].values()
    environments = [service.get("environment", {}) for service in services]
    taken = set(re.findall(r"\$\{(\w+)", text))
    taken |= {name for each in environments for name, value in each.items() if value is None}
    taken |= {name for service in services for name in service.get("build", {}).get("args", [])}

    example = (ROOT / ".env.example").read_text()
    lines = re.findall(r"^# ([A-Z_]+)=", example, flags=re.MULTILINE)
    assert sorted(lines) == sorted(taken | {"COMPOSE_FILE"})
    own = set(re.findall(r"LUTHIER_\w+", example.partition("Set by the stack itself")[2])) - set(lines)
    assert {f"LUTHIER_{name.upper()}" for name in Settings.model_fields} - set(lines) == own
