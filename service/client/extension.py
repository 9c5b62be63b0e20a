"""The client's method that extends a study."""

from collections.abc import Mapping
from typing import Any

from luthier.service.client.connection import Connection
from luthier.service.client.trials import study_path
from luthier.service.schemas import StudyView


class ExtensionMethods(Connection):
    """The method that extends a study; `Client` has it."""

    def extend(self, name: str, budget: Mapping[str, Any]) -> StudyView:
        """Give a study a larger budget; one that has ended goes on with its search's memory, and is measured anew.

        Args:
            name: the study's name.
            budget: new totals, as {"trials": 50}; what is left out stays as it is, and None removes a limit.

        Raises:
            ServiceError: 422 for a total that is smaller than the present one or used up, 409 for a study that cannot
                go on.
            ValueError: the budget is no mapping.
        """
        if not isinstance(budget, Mapping):
            raise ValueError(f'budget must be a mapping of new totals, as {{"trials": 50}}, and not {budget!r}.')
        return self._transport.model(StudyView, "POST", study_path(name, "extend"), json={"budget": dict(budget)})
