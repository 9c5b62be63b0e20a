"""The settings of the service, each an environment variable: LUTHIER_ and the name in capitals.

`serve --help` prints the descriptions. This module opens no connection, and no file except those of the secrets.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SecretsSettingsSource, SettingsConfigDict
from pydantic_settings.sources import PydanticBaseSettingsSource

from luthier.service.limit_settings import LimitSettings
from luthier.studies.host import is_loopback


class Settings(LimitSettings):
    """The settings of a service; each field describes itself.

    Values come from the arguments, then the environment, then the files of LUTHIER_SECRETS_DIR. A wrong one raises
    ValidationError, whose text shows no secret.
    """

    model_config = SettingsConfigDict(
        env_prefix="LUTHIER_", env_ignore_empty=True, extra="ignore", hide_input_in_errors=True
    )

    home: Path = Field(Path("luthier-data"), description="Folder for the embedded database and the models.")
    store: Path | None = Field(
        None,
        description="Folder for checkpoints and models, which several services of one Postgres database may share. "
        "Default: `store` in the home folder.",
    )
    database_url: SecretStr | None = Field(None, description="Postgres URL; without one, SQLite in the home folder.")
    database_wait_seconds: float = Field(
        0, ge=0, le=3600, description="How long to wait at the start for a database that does not answer yet."
    )
    secrets_dir: str | None = Field(
        None,
        description="Folders, separated by colons, of files with settings: luthier_token, luthier_database_url, ...",
    )
    host: str = Field("127.0.0.1", description="Address to listen on; anything but loopback needs a token.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    token: SecretStr | None = Field(None, description="What users and programs must present (bearer or login page).")
    worker_token: SecretStr | None = Field(None, description="What workers from elsewhere must present.")
    fleet: Literal["local", "none"] = Field("local", description="local: workers on this machine; none: only others.")
    cpu_workers: int | None = Field(
        None,
        ge=1,
        le=256,
        description="Local workers where there is no GPU, sharing its cores. Default: 1; in `run`: `parallel`.",
    )
    workers_per_gpu: int = Field(
        4, ge=1, le=64, description="Local workers on each GPU: at most so many trials share it, as its memory allows."
    )
    cache_memory: int | None = Field(
        None,
        ge=0,
        description="Bytes of RAM for cached outputs of frozen layers, for all local workers together. "
        "Default: 25 % of RAM, at most half of /dev/shm.",
    )
    cache_disk: int | None = Field(
        None,
        ge=0,
        description="Bytes of disk for cached outputs of frozen layers, once RAM is full. Default: 10 % of free disk.",
    )
    cache_dir: Path | None = Field(
        None, description="Folder on disk for cached outputs of frozen layers. Default: $TMPDIR/luthier-prefixes-UID."
    )
    dataset_max_bytes: int = Field(
        10 * 10**9,
        ge=1,
        description="Bytes that an uploaded data set may have, as it is sent and unpacked.",
    )
    data_roots: str | None = Field(
        None,
        description="Folders, separated by colons, that data and models may lie in; {project} is the study's project.",
    )
    webhook_url: SecretStr | None = Field(
        None, description="URL that is told of runs of schedules and of ends of studies, by HTTP POST."
    )
    webhook_secret: SecretStr | None = Field(None, description="Signs the notifications (Standard Webhooks).")
    lease_seconds: float = Field(
        30, ge=0.5, le=3600, description="A worker that is silent for so long loses its trial."
    )
    proxy_user_header: str | None = Field(
        None,
        pattern="^[A-Za-z0-9-]{1,64}$",
        description="Header in which a reverse proxy names the person that it has logged in; off by default.",
    )
    proxy_trusted: str | None = Field(
        None, description="Addresses or networks, separated by commas, of the proxies whose header counts."
    )
    proxy_admins: str = Field("", description="Names, separated by commas, of people whom the proxy names: admins.")
    proxy_scope: Literal["none", "read", "write"] = Field(
        "read", description="Scope of people whom the proxy names, who are no admins and have no token of their name."
    )
    proxy_project: str = Field("default", pattern="^[a-z0-9][a-z0-9-]{0,62}$", description="Their project.")
    audit_days: int = Field(
        90, ge=1, le=3650, description="Days for which the log of actions, and tokens that have ended, are kept."
    )
    predict_bytes: int = Field(2**30, ge=1, description="The most bytes of a table that is sent to be predicted.")
    max_losses: int = Field(
        3, ge=1, le=100, description="A trial fails after so many workers vanished while they trained it."
    )
    quarantine: bool = Field(
        True, description="Try failed work at another worker before it counts, and put workers that fail again aside."
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        *_: Any,
        **__: Any,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, then the environment, then the files of LUTHIER_SECRETS_DIR."""
        folders = [Path(folder) for folder in os.environ.get("LUTHIER_SECRETS_DIR", "").split(":") if folder]
        return init_settings, env_settings, SecretsSettingsSource(settings_cls, secrets_dir=folders)

    @field_validator("token", "worker_token", "database_url", "webhook_url", "webhook_secret", mode="before")
    @classmethod
    def _empty_is_unset(cls, value: object) -> object:
        return None if isinstance(value, str) and not value.strip() else value

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, value: SecretStr | None) -> SecretStr | None:
        scheme = "" if value is None else value.get_secret_value().partition("://")[0]
        if value is not None and scheme not in ("postgres", "postgresql", "postgresql+psycopg", "sqlite"):
            raise ValueError("must be postgresql://USER:PASSWORD@HOST/DATABASE, or sqlite:////ABSOLUTE/PATH")
        return value

    @field_validator("webhook_url")
    @classmethod
    def _web_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        try:
            parts = urlsplit(value.get_secret_value())
            usable = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # its text holds a part of the address
            usable = False
        if not usable:
            raise ValueError("must be an http or https URL")
        return value

    @field_validator("proxy_trusted")
    @classmethod
    def _networks(cls, value: str | None) -> str | None:
        for part in _listed(value or ""):
            try:
                ip_network(part)
            except ValueError as error:
                raise ValueError(f"{part} is no address or network: {error}") from None
        return value

    @field_validator("token", "worker_token", "webhook_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < 16:
            raise ValueError("must have at least 16 characters; `openssl rand -hex 24` makes one")
        return value

    @model_validator(mode="after")
    def _safe_proxy(self) -> Self:
        if self.proxy_user_header is None:
            return self
        if not self.proxy_networks:
            raise ValueError("LUTHIER_PROXY_USER_HEADER needs LUTHIER_PROXY_TRUSTED, the proxy's addresses")
        if self.token is None:
            raise ValueError("LUTHIER_PROXY_USER_HEADER needs LUTHIER_TOKEN, or whoever passes by the proxy is let in")
        return self

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of the proxies whose header counts. Raises ValueError."""
        return tuple(ip_network(text) for text in _listed(self.proxy_trusted or ""))

    @property
    def proxy_admin_names(self) -> list[str]:
        """The names of people whom the proxy names and who are admins."""
        return [name.lower() for name in _listed(self.proxy_admins)]

    @property
    def sqlalchemy_url(self) -> str:
        """The database's URL for SQLAlchemy, with the driver that is installed."""
        if self.database_url is None:
            return f"sqlite:///{self.home.resolve() / 'luthier.db'}"
        url = self.database_url.get_secret_value()
        scheme, _, rest = url.partition("://")
        return f"postgresql+psycopg://{rest}" if scheme in ("postgres", "postgresql") else url

    @property
    def store_folder(self) -> Path:
        """The folder for checkpoints and models."""
        return self.store or self.home / "store"

    @property
    def loopback(self) -> bool:
        """True if the host is reachable from this machine only."""
        return is_loopback(self.host)


def _listed(text: str) -> list[str]:
    """Return the parts of a text that are separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]
