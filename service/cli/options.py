"""Wrong values of options and arguments, told in the words of the rest of the product."""

from typing import Any

import typer
from typer.core import TyperGroup


class Commands(TyperGroup):
    """The commands of `luthier`; typer checks their options with pydantic, whose wording is replaced."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that is asked for. Raises BadParameter with a sentence for a wrong value."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            from pydantic import ValidationError

            from luthier.service.schemas import faults_of

            if isinstance(error.__cause__, ValidationError):
                error.message = "; ".join(fault.message for fault in faults_of(error.__cause__.errors()))
            raise
