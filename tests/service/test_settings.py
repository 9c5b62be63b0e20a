"""Settings from the environment and from files; the stack's list of them."""

from pathlib import Path

import pytest

from service.settings import Settings

ROOT = Path(__file__).parents[2]


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


def test_the_stacks_example_lists_every_setting() -> None:
    example = (ROOT / ".env.example").read_text()
    assert [name for name in Settings.model_fields if f"LUTHIER_{name.upper()}" not in example] == []
