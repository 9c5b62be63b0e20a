"""Projects, as the REST interface takes and answers them."""

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat

MOST_PARALLEL = 1_000_000
MOST_GPU_SECONDS = 1e12  # thirty thousand years


class ProjectLimits(BaseModel):
    """What a project may use; what is left out has its default.

    Attributes:
        weight: its share of the fleet beside other projects of its priority: with 2 it gets twice as much as with 1.
        priority: a project of a higher one goes first.
        max_parallel: trials of all its studies that may run at the same time; null: no limit.
        max_gpu_seconds: GPU seconds that its studies may use together; null: no limit.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    weight: FiniteFloat = Field(default=1.0, ge=0.001, le=1_000.0)
    priority: int = Field(default=0, ge=-100, le=100)
    max_parallel: int | None = Field(default=None, ge=1, le=MOST_PARALLEL)
    max_gpu_seconds: FiniteFloat | None = Field(default=None, gt=0, le=MOST_GPU_SECONDS)


class ProjectView(BaseModel):
    """A project: its share and limits, what it holds, and what its studies have used.

    Attributes:
        created_at: null for the project `default` while nobody has changed it.
        weight: its share of the fleet, beside other projects of its priority.
        priority: a project of a higher one goes first.
        max_parallel: trials of all its studies that may run at the same time; null: no limit.
        max_gpu_seconds: GPU seconds that its studies may use together; null: no limit.
        studies: number of its studies, in any state.
        schedules: number of its schedules.
        datasets: number of its uploaded data sets.
        running_trials: trials of its studies that run now.
        gpu_seconds: that workers have spent on its studies, without those that were deleted.
    """

    name: str
    created_at: AwareDatetime | None = None
    weight: FiniteFloat = 1.0
    priority: int = 0
    max_parallel: int | None = None
    max_gpu_seconds: FiniteFloat | None = None
    studies: int = 0
    schedules: int = 0
    datasets: int = 0
    running_trials: int = 0
    gpu_seconds: FiniteFloat = 0.0
