"""Alembic migrations of the service's tables; `runner.py` applies the files of `versions/`."""

from luthier.service.storage.migrations.runner import VERSION_TABLE, NewerSchema, upgrade

__all__ = ["VERSION_TABLE", "NewerSchema", "upgrade"]
