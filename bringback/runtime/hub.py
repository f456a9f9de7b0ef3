"""Weights on the Hugging Face Hub: `hf://org/name`, or `org/name`, is accepted wherever a folder is. No pickles."""

import logging
from collections.abc import Sequence
from pathlib import Path

from bringback.errors import MissingWeights, first_line

logger = logging.getLogger(__name__)

SCHEME = "hf://"
ONE = ("config.json", "model.safetensors", "README.md")
"""The files of a checkpoint, that is one network, as written by `push_to_hub`."""
SET = (*(f"*/{file}" for file in ONE), "pipeline.yaml")
"""The files of a folder of checkpoints."""


def is_hub_id(place: Path | str) -> bool:
    """Whether `place` is `hf://org/name`, or does not exist locally and is a valid hub id, `org/name`."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    name = _as_id(place)
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name and (_has_scheme(place) or not Path(place).exists())


def fetched(
    place: Path | str,
    *,
    revision: str | None = None,
    cache_dir: Path | str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
    force_download: bool = False,
    files: Sequence[str] = SET,
) -> Path:
    """The local folder of `place`: itself, or for a hub id its snapshot in the hub's cache, downloaded if needed.

    The arguments are those of `huggingface_hub.snapshot_download`, `files` being its `allow_patterns`. An interrupted
    download is resumed by the next call. An id without `hf://` may be a mistyped path: a warning says that it is
    looked for on the hub. `local_files_only` uses the local cache only, as does HF_HUB_OFFLINE=1 for the
    whole process. Raises `MissingWeights` if the id or revision does not exist, access is denied, the files are not in
    the cache, or the download fails.
    """
    if not is_hub_id(place):
        return Path(place)
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    name = _as_id(place)
    if not _has_scheme(place):
        logger.warning("%s is no folder here: it is looked for on the Hugging Face Hub, as %s%s", name, SCHEME, name)
    offline = local_files_only or constants.HF_HUB_OFFLINE
    try:
        folder = snapshot_download(
            name,
            revision=revision,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
            token=token,
            force_download=force_download,
            allow_patterns=list(files),
        )
    except RevisionNotFoundError:
        raise MissingWeights(f"{name}: the hub has no revision {revision!r} of it") from None
    except GatedRepoError:
        raise MissingWeights(f"{name}: its owner wants to be asked: do so on its page, then hf auth login") from None
    except RepositoryNotFoundError:
        raise MissingWeights(f"{name}: no folder here, and not on the hub (if private: hf auth login)") from None
    except LocalEntryNotFoundError as error:
        if offline:
            wanted = name if revision is None else f"{name} --revision {revision}"
            reason = f"not, or not all, in the hub's cache; run once while online: bringback weights pull {wanted}"
        else:
            reason = f"the hub cannot be reached: {first_line(error.__cause__ or error)}"
        raise MissingWeights(f"{name}: no folder here, and {reason}") from None
    except Exception as error:  # error types depend on the hub's version and its HTTP library
        raise MissingWeights(f"{name}: cannot be downloaded; the same again goes on: {first_line(error)}") from error
    return Path(folder)


def _has_scheme(place: Path | str) -> bool:
    return str(place).startswith(("hf:/", "hf:\\"))  # a Path has one slash, or Windows' own


def _as_id(place: Path | str) -> str:
    name = place.as_posix() if isinstance(place, Path) else place
    return name.removeprefix("hf:").lstrip("/") if _has_scheme(place) else name
