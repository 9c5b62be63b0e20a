"""Models of the Hugging Face hub: downloaded, and why one cannot be had.

`folder` calls it for a name that is no folder on this worker. Only safetensors and small text files are downloaded.
"""

import errno
from pathlib import Path

from luthier.studies.text import one_line
from luthier.trials.errors import BadData

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]
REVISIONS = 10
"""Proposed revisions that are searched for safetensors, latest first."""


def download(hub_id: str) -> Path:
    """Download a model, unless it is in the cache, and return its folder.

    Args:
        hub_id: Its name on the hub.

    Raises:
        BadData: The hub has no such model, gives it to nobody, or cannot be reached.
    """
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=PATTERNS, ignore_patterns=["*/*"]))
    except Exception as error:  # the network's errors and the hub's are of many kinds
        raise BadData(_sentence(hub_id, error), "model") from None


def check_exists(hub_id: str) -> None:
    """Check that the hub has a model, or the cache where HF_HUB_OFFLINE is set; nothing is downloaded.

    What is not certain without a download is left to `download`.

    Raises:
        BadData: There is no such model.
    """
    from huggingface_hub import HfApi, constants, errors, snapshot_download

    try:
        if constants.HF_HUB_OFFLINE:
            snapshot_download(hub_id, allow_patterns=PATTERNS, ignore_patterns=["*/*"], local_files_only=True)
        else:
            HfApi().model_info(hub_id, timeout=5.0)
    except (errors.RepositoryNotFoundError, errors.LocalEntryNotFoundError, errors.HFValidationError) as error:
        raise BadData(_sentence(hub_id, error), "model") from None
    except Exception:  # a network that is slow or away, a gate, ...: `download` says which
        return


def files_of(hub_id: str) -> list[str]:
    """Return the names of all files of a model on the hub; an empty list where the hub cannot be asked."""
    from huggingface_hub import HfApi

    try:
        return HfApi().list_repo_files(hub_id)
    except Exception:  # it only makes a sentence better
        return []


def safetensors_revision(hub_id: str) -> str | None:
    """Return a proposed revision (refs/pr/N) that holds the weights as safetensors; None where there is none."""
    from huggingface_hub import HfApi

    hub = HfApi()
    try:
        proposed = hub.list_repo_refs(hub_id, include_pull_requests=True).pull_requests or []
        latest = sorted((request.ref for request in proposed), key=lambda ref: int(ref.rpartition("/")[2]))[::-1]
        return next(
            (ref for ref in latest[:REVISIONS] if _has_safetensors(hub.list_repo_files(hub_id, revision=ref))), None
        )
    except Exception:  # it only makes a sentence better
        return None


def _has_safetensors(files: list[str]) -> bool:
    return "model.safetensors" in files or "model.safetensors.index.json" in files


def _sentence(hub_id: str, error: Exception) -> str:
    """Return why a model cannot be had from the hub, with the cure."""
    from huggingface_hub import errors, get_token

    known = f"{hub_id} is neither a folder on this worker nor"
    token = "the worker has no token (HF_TOKEN)" if get_token() is None else "the worker's token does not open it"
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{hub_id} is gated on the hub, and {token}: ask for access on https://huggingface.co/{hub_id}, and start "
            "the worker with the token of an account that has it (HF_TOKEN)."
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f"{known} a model on the hub: check the spelling (owner/name, as on its page). A private model has the "
            f"same answer, and {token}: start it with one of an account that may read it."
        )
    if isinstance(error, errors.DisabledRepoError):
        return f"{hub_id} was disabled on the hub; choose another model."
    if isinstance(error, errors.HFValidationError):
        return f"{known} a name that the hub can have (owner/name); check the path."
    if isinstance(error, errors.IncompleteSnapshotError):
        return f"{hub_id} was downloaded to this worker in part, and the rest cannot be had: {_away(hub_id)}"
    cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else error
    if isinstance(cause, errors.HfHubHTTPError):
        return _answered(hub_id, cause.response.status_code)
    if isinstance(error, errors.LocalEntryNotFoundError):
        return f"{known} a model in its cache of the hub, and the hub cannot be reached: {_away(hub_id)}"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{hub_id} cannot be downloaded: the disk of the worker's cache (HF_HOME) is full; make room there."
    return (
        f"{known} a model that could be had from the hub now: {one_line(error)}. Try again later, or {_by_hand(hub_id)}"
    )


def _answered(hub_id: str, status: int) -> str:
    """Return why the hub gives nothing, by the status of its answer."""
    from huggingface_hub import get_token

    if status in (401, 403) and get_token() is None:
        return f"{hub_id}: the hub gives nothing without a token; start the worker with one (HF_TOKEN)."
    if status in (401, 403):
        return f"{hub_id}: the hub refuses the worker's token (HF_TOKEN); make a new one, or start the worker without."
    if status == 429:
        return f"{hub_id}: the hub has had too many requests from this worker; wait, or {_by_hand(hub_id)}"
    return f"{hub_id}: the hub cannot answer now (status {status}); try again later, or {_by_hand(hub_id)}"


def _away(hub_id: str) -> str:
    """Return the cure where there is no network."""
    from huggingface_hub import constants

    set_offline = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "check the network and HF_ENDPOINT"
    return f"{set_offline}. On a machine with a network {_by_hand(hub_id)}"


def _by_hand(hub_id: str) -> str:
    folder = hub_id.rpartition("/")[2]
    return f"run: hf download {hub_id} --local-dir {folder}, and give the path of that folder."
