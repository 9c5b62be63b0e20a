"""The `luthier` command, a file for each noun."""

from luthier.service.cli.command import app, main

__all__ = ["app", "main"]
