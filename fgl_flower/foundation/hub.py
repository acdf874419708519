"""Where a model of the hub lies on this machine, and why it cannot be had, in one sentence for each reason."""

import contextlib
import errno
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fgl_flower.errors import ModelError, reason


def hub_folder(role: str, model_id: str, revision: str, patterns: Sequence[str], *, download: bool = True) -> Path:
    """Return the folder of a model: a folder of this machine, or the hub's cache, into which it is downloaded.

    Parameters
    ----------
    role : str
        The key that names the model.
    model_id : str
        Hub id or path of a folder.
    revision : str
        Hub revision; empty: the default branch. Ignored for folders.
    patterns : sequence of str
        Files to be had, such as "*.safetensors".
    download : bool
        Whether it may be downloaded.

    Raises
    ------
    ModelError
        If there is no such model; see `hub_fault`.
    """
    folder = Path(model_id).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or model_id.startswith(("./", "../", "~")):
        raise ModelError(f"no {role} {model_id!r}: there is no such folder")
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {"revision": revision or None, "allow_patterns": list(patterns)}
    try:
        with contextlib.suppress(OSError, ValueError):
            cached = Path(snapshot_download(model_id, local_files_only=True, **options))
            if any(cached.rglob("*.safetensors")):  # somebody may have asked for its configuration alone
                return cached
        if download:
            return Path(snapshot_download(model_id, **options))
    except Exception as error:  # the hub client raises a dozen unrelated types
        raise ModelError(hub_fault(error, role, model_id, revision)) from error
    raise ModelError(f"the {role} {model_id!r} is not cached")


def hub_fault(error: BaseException, role: str, model_id: str, revision: str = "") -> str:
    """Return a sentence on why a download failed and what to change.

    Parameters
    ----------
    error : BaseException
        What the hub client raised; the errors that led to it are looked at, too.
    role : str
        The key that names the model: "generator", "captioner" or "model".
    model_id, revision : str
        As configured.
    """
    import httpx
    from huggingface_hub import errors

    raised = list(_chain(error))

    def has(*kinds: type[BaseException]) -> bool:
        return any(isinstance(one, kinds) for one in raised)

    start = f"no {role} {model_id!r}" + (f" at revision {revision!r}" if revision else "")
    if has(errors.HFValidationError):
        return f"{start}: it is neither a folder on this machine nor of the form of a hub id, owner/name"
    if has(errors.GatedRepoError):
        return (
            f"{start}: it is gated; accept its terms on its page of the hub, then log in (hf auth login, or HF_TOKEN)"
        )
    if has(errors.RevisionNotFoundError):
        return f"{start}: the hub has the model, but no such revision; set {role}-revision to a branch, tag or commit"
    if has(errors.RepositoryNotFoundError):
        return f"{start}: it is no folder on this machine, and the hub has none of this name (or it is private: log in)"
    if has(errors.RemoteEntryNotFoundError):
        return (
            f"{start}: the hub has it, but without the files of such a model; is it of another kind (a LoRA, a file)?"
        )
    if has(errors.OfflineModeIsEnabled) or _offline():
        return f"{start}: it is not cached on this machine, and HF_HUB_OFFLINE is set; unset it or give a folder"
    if any(isinstance(one, OSError) and one.errno == errno.ENOSPC for one in raised):
        return f"{start}: no space left for its files; free some, or set HF_HOME to a larger disk"
    network = (ConnectionError, TimeoutError, httpx.TransportError, errors.LocalEntryNotFoundError)
    if has(*network):
        return f"{start}: it is not cached on this machine, and the hub cannot be reached; connect or give a folder"
    return f"{start}: the hub client failed ({reason(error)})"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)
