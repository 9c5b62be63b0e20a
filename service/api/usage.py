"""Routes of the disk: what it is used for (GET /v1/usage), and what goes at a user's wish (POST /v1/prune)."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from luthier.service.api.context import ServiceDep
from luthier.service.api.json_body import JsonRoute
from luthier.service.dispatch import prune, usage
from luthier.service.errors import Invalid, NotFound, responses
from luthier.service.schemas.usage import USUAL, Prunable, PruneView, UsageView

router = APIRouter(prefix="/v1", tags=["operations"], route_class=JsonRoute)

LISTED = 100  # studies, where nobody asks for more or fewer
LONGEST_SECONDS = 100 * 365 * 86400.0


class PruneWish(BaseModel):
    """What is to be removed.

    Attributes:
        kinds: what goes; left out: weights, logs, predictions, onnx and datasets, and no whole study.
        older_than_seconds: only of studies that ended so long ago, and data sets that were uploaded so long ago.
        studies: only of these studies, and no data set; null for all of the project.
        keep_winners: the winners' weights stay, and whole studies that have a packed winner.
        dry_run: say what would go, and remove nothing.
    """

    model_config = ConfigDict(extra="forbid")
    kinds: Annotated[list[Prunable], Field(min_length=1, max_length=len(Prunable))] = list(USUAL)
    older_than_seconds: float = Field(0.0, ge=0.0, le=LONGEST_SECONDS, allow_inf_nan=False)
    studies: Annotated[list[str], Field(min_length=1, max_length=1000)] | None = None
    keep_winners: bool = True
    dry_run: bool = True


@router.get("/usage", responses=responses(Invalid))
def get(
    service: ServiceDep,
    limit: Annotated[int, Query(ge=1, le=10_000, description="Studies that are listed, the largest first.")] = LISTED,
) -> UsageView:
    """Return what the disk is used for: by study, data set and schedule, the largest first."""
    return usage.usage(service.core, limit, service.settings.cache_dir)


@router.post("/prune", responses=responses(NotFound, Invalid))
def remove(wish: PruneWish, service: ServiceDep) -> PruneView:
    """Remove what has ended and nobody needs any more; as a dry run, unless `dry_run` is false.

    What a study that has not ended needs, a schedule, or a study that goes on from another, stays in any case.
    """
    wanted = prune.Wish(frozenset(wish.kinds), wish.older_than_seconds, wish.studies, wish.keep_winners)
    view = prune.prune(service.core, wanted, wish.dry_run)
    if not wish.dry_run:
        service.notifier.notify()
    return view
