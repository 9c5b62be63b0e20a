"""The client's methods about projects."""

from collections.abc import Iterator
from urllib.parse import quote

from luthier.service.client.connection import Connection
from luthier.service.schemas import Page, ProjectLimits, ProjectView


class ProjectMethods(Connection):
    """The methods about projects; `Client` has them."""

    def projects(self) -> Iterator[ProjectView]:
        """Yield the projects that the token may see, by name: an admin's all of them."""
        return self._transport.pages(Page[ProjectView], "/v1/projects")

    def project(self, name: str) -> ProjectView:
        """Return a project, with what it holds and has used. Raises ServiceError 404 for an unknown one."""
        return self._transport.model(ProjectView, "GET", _project(name))

    def set_project(
        self,
        name: str,
        weight: float = 1.0,
        priority: int = 0,
        max_parallel: int | None = None,
        max_gpu_seconds: float | None = None,
    ) -> ProjectView:
        """Create a project, or replace the share and the limits of one; what is left out gets its default.

        Args:
            name: its name.
            weight: its share of the fleet beside other projects of its priority.
            priority: a project of a higher one goes first.
            max_parallel: trials of all its studies that may run at the same time; None: no limit.
            max_gpu_seconds: GPU seconds that its studies may use together; None: no limit.

        Raises:
            ServiceError: 403 for a token that is no admin's, 422 for a wrong value.
            ValueError: a value is wrong.
        """
        limits = ProjectLimits(
            weight=weight, priority=priority, max_parallel=max_parallel, max_gpu_seconds=max_gpu_seconds
        )
        return self._transport.model(ProjectView, "PUT", _project(name), json=limits.model_dump())

    def delete_project(self, name: str) -> None:
        """Delete an empty project. Raises ServiceError 409 while it has studies, schedules, data sets or tokens."""
        self._transport.request("DELETE", _project(name))


def _project(name: str) -> str:
    return f"/v1/projects/{quote(name, safe='')}"
