"""Pipelines of the hub as they lie in its cache: downloaded once, whole, and of no other kind than can draw."""

import contextlib
from pathlib import Path
from typing import Any

from fgl_flower.errors import ModelError
from fgl_flower.foundation.capabilities import check_kind
from fgl_flower.foundation.checkpoints import index_of, missing_part, read_json
from fgl_flower.foundation.halves import COMBINED
from fgl_flower.foundation.hub import hub_fault


def snapshot_of(model_id: str, revision: str = "", *, prior: bool = False) -> Path:
    """Return the folder of a hub id in the hub's cache, into which it is downloaded; its name is the commit.

    A snapshot that an interrupted download left is completed, and other kinds of pipelines are refused by their index.

    Parameters
    ----------
    model_id : str
    revision : str
        Branch, tag or commit; empty: the default branch.
    prior : bool
        Whether it is the half of a pipeline that a decoder names, which is refused otherwise.

    Raises
    ------
    ModelError
        See `hub_fault` and `check_kind`.
    """
    import diffusers
    from huggingface_hub import hf_hub_download

    options: dict[str, Any] = {"revision": revision} if revision else {}
    cached = None
    with contextlib.suppress(OSError, ValueError):
        cached = Path(diffusers.DiffusionPipeline.download(model_id, local_files_only=True, **options))
    if cached and not missing_part((cached,)) and not _lacks_card(cached):
        return cached
    try:
        if not prior:
            check_kind(model_id, read_json(Path(hf_hub_download(model_id, "model_index.json", **options))))
        folder = Path(diffusers.DiffusionPipeline.download(model_id, **options))
        if missing_part((folder,)):  # some repositories hold half-precision weights alone
            folder = Path(diffusers.DiffusionPipeline.download(model_id, variant="fp16", **options))
        if _lacks_card(folder):
            hf_hub_download(model_id, "README.md", **options)
        return folder
    except ModelError:
        raise
    except Exception as error:  # the hub client raises a dozen unrelated types
        if cached:
            return cached  # what it lacks is told by whoever needs it
        raise ModelError(hub_fault(error, "generator", model_id, revision)) from error


def _lacks_card(folder: Path) -> bool:
    """Return whether a decoder is without the model card that names its prior."""
    return str(index_of((folder,)).get("_class_name")) in COMBINED and not (folder / "README.md").exists()
