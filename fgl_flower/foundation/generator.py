"""Any diffusers text-to-image pipeline, by hub id or folder, with the identity the synthetic store files it under."""

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from fgl_flower.device import resolve_device, resolve_precision
from fgl_flower.errors import ModelError, reason
from fgl_flower.extension_points import GENERATOR
from fgl_flower.foundation.checkpoints import (
    component_config,
    index_of,
    not_a_pipeline,
    read_json,
    refuse_other_paths,
    variant_of,
)
from fgl_flower.foundation.distilled import distilled_defaults
from fgl_flower.foundation.halves import COMBINED, combine, prior_named_by
from fgl_flower.foundation.lora import Lora, check_lora, find_lora, fuse
from fgl_flower.foundation.memory import RESIDENT, Memory
from fgl_flower.foundation.miniature import NAMES, weights_dir
from fgl_flower.foundation.origin import Origin
from fgl_flower.foundation.own import NoScheduler, OwnGenerator, OwnPipeline, instance
from fgl_flower.foundation.single_file import check_single_file, configuration_of, load_single_file
from fgl_flower.foundation.snapshots import snapshot_of
from fgl_flower.foundation.speed import NO_SPEED, Speed
from fgl_flower.foundation.weights_hash import file_hash, weights_hash

if TYPE_CHECKING:
    import torch

PRECISIONS = ("float32", "bfloat16", "float16")

# What a checkpoint without fgl.json gets that was not distilled: the settings of FGL (Zhang et al., arXiv 2306.16064).
DEFAULT_STEPS = 50
DEFAULT_GUIDANCE = 2.0


@dataclass(frozen=True)
class GeneratorCard:
    """What identifies a generator, known without loading its weights into memory.

    Attributes
    ----------
    id : str
        Hub id, the name of a shipped miniature, or the name of a local folder.
    revision : str
        Commit of a hub id; "sha256:..." over the files of a folder, so that retrained weights are another generator.
    pipeline : str
        diffusers' pipeline class.
    scheduler : str
        diffusers' scheduler class the checkpoint names.
    steps : int
        Denoising steps by default.
    guidance : float
        Guidance scale by default; 1 is none.
    size : int
        Side of the drawn image, in pixels, by default.
    folder : Path
        Where the checkpoint lies on this machine.
    base : Path, optional
        Folder that holds the components this one leaves out.
    prior : Path, optional
        Folder of the other half, where a pipeline is kept as a decoder and a prior.
    file : Path, optional
        Single-file checkpoint that holds the weights; `folder` is then its configuration.
    lora : Lora, optional
        Weights that are fused into it; the revision tells them and their scale, too.
    """

    id: str
    revision: str
    pipeline: str
    scheduler: str
    steps: int
    guidance: float
    size: int
    folder: Path
    base: Path | None = None
    lora: Lora | None = None
    file: Path | None = None
    prior: Path | None = None

    @property
    def folders(self) -> tuple[Path, ...]:
        """The folders that hold the components; the first that has one wins."""
        return tuple(folder for folder in (self.folder, self.base, self.prior) if folder)


def inspect(model: str | Origin, revision: str = "") -> GeneratorCard:
    """Describe a generator without loading it; a hub id that is not cached is downloaded.

    Parameters
    ----------
    model : str or Origin
        Hub id, path of a folder written by `save_pretrained` or of a .safetensors file of a whole pipeline, 'miniature'
        or 'miniature-fast'; or an origin, which says more.
    revision : str
        Hub revision (branch, tag or commit) of a plain id; empty: the default branch. Ignored for folders.

    Raises
    ------
    ModelError
        If there is no such model or it is not a diffusers pipeline, or no such LoRA.
    """
    origin = Origin.of(model, revision)
    if GENERATOR.refers(origin.generator):
        if origin.lora:
            raise ModelError("generator-lora does not go with a generator of your own: leave it empty")
        return _own_card(origin.generator)
    card = _card(origin)
    if not origin.lora:
        return card
    lora = find_lora(origin.lora, origin.lora_scale)
    return replace(card, lora=lora, revision=f"{card.revision}+lora:{file_hash(lora.file)[:32]}*{lora.scale:g}")


def _card(origin: Origin) -> GeneratorCard:
    model_id, file = origin.generator, Path(origin.generator).expanduser().resolve()
    single = file.suffix == ".safetensors" and file.is_file()
    if origin.config and not single:
        raise ModelError("generator-config goes with a generator that is a single .safetensors file: leave it empty")
    if single:
        folder, name, commit = configuration_of(file, origin.config), file.name, ""
    elif model_id in NAMES or Path(model_id).expanduser().is_dir():
        folder = weights_dir(model_id) if model_id in NAMES else Path(model_id).expanduser().resolve()
        name, commit = (model_id if model_id in NAMES else folder.name), ""
    else:
        refuse_other_paths(model_id)
        folder = snapshot_of(model_id, origin.revision)
        name, commit = model_id, folder.name
    return _card_of(origin, folder, name, commit, file if single else None)


def _card_of(origin: Origin, folder: Path, name: str, commit: str, file: Path | None) -> GeneratorCard:
    """Return the card of what lies in a folder; `commit` is empty unless the hub's cache holds it."""
    own = read_json(folder / "fgl.json")
    base = (folder / own["base"]).resolve() if "base" in own and file is None else None
    folders = (folder, base) if base else (folder,)
    pipeline = index_of(folders).get("_class_name")
    if pipeline is None:
        raise ModelError(f"{origin.generator!r} is not a diffusers pipeline: {not_a_pipeline(folder)}")
    prior = None
    if str(pipeline) in COMBINED:
        pipeline, (prior, of_prior) = COMBINED[pipeline], _prior(folder)
        folders, commit = (*folders, prior), f"{commit}+{of_prior}" if commit and of_prior else ""
    scheduler, few = component_config(folders, "scheduler", "scheduler_config.json"), distilled_defaults(folders)
    return GeneratorCard(
        id=name,
        revision=commit or (f"{weights_hash(folders)}+file:{file_hash(file)[:32]}" if file else weights_hash(folders)),
        pipeline=str(pipeline),
        scheduler=scheduler.get("_class_name", ""),
        steps=int(_number(own, "steps", folder)) or (few.steps if few else DEFAULT_STEPS),
        guidance=_number(own, "guidance", folder) if "guidance" in own else (few.guidance if few else DEFAULT_GUIDANCE),
        size=int(_number(own, "size", folder)) or _default_size(folders),
        folder=folder,
        base=base,
        file=file,
        prior=prior,
    )


def _prior(folder: Path) -> tuple[Path, str]:
    """Return the folder of a decoder's prior and its commit; empty where it is a plain folder."""
    named = prior_named_by(folder)
    if Path(named).expanduser().is_dir():
        return Path(named).expanduser().resolve(), ""
    refuse_other_paths(named)
    prior = snapshot_of(named, prior=True)
    return prior, prior.name


def _own_card(reference: str) -> GeneratorCard:
    own: OwnGenerator = instance(GENERATOR, reference)
    kinds = OwnPipeline.__name__, NoScheduler.__name__
    return GeneratorCard(reference, str(own.revision), *kinds, 1, 1.0, int(own.size), Path())


class Generator:
    """A loaded pipeline on its device.

    Attributes
    ----------
    card : GeneratorCard
    pipeline : diffusers.DiffusionPipeline
        Frozen, in evaluation mode.
    device : torch.device
    precision : str
        One of `PRECISIONS`.
    offloaded : bool
        Whether its parts wait in the host's memory and come to an accelerator by themselves.
    speed : Speed
        What was done to draw faster.
    """

    def __init__(
        self,
        card: GeneratorCard,
        pipeline: Any,
        device: "torch.device",
        precision: str,
        *,
        offloaded: bool = False,
        speed: Speed = NO_SPEED,
    ) -> None:
        self.card = card
        self.speed = speed
        self.offloaded = offloaded and device.type != "cpu"
        self.pipeline = pipeline
        self.device = device
        self.precision = precision

    @classmethod
    def load(
        cls,
        model: str | Origin,
        revision: str = "",
        device: str = "auto",
        precision: str = "auto",
        *,
        safety_checker: bool = False,
        memory: Memory = RESIDENT,
        speed: Speed = NO_SPEED,
    ) -> Self:
        """Load a generator; see `inspect` for ids.

        Parameters
        ----------
        model, revision
            As for `inspect`.
        device : str
            'auto', 'cpu', 'mps', 'cuda' or 'cuda:N'.
        precision : str
            'auto' or one of `PRECISIONS`; see `resolve_precision`.
        safety_checker : bool
            Whether to load the one of the checkpoint; only who draws asks it.
        memory : Memory
            How to save memory of an accelerator.
        speed : Speed
            How to draw faster, by other pixels.

        Raises
        ------
        ModelError
            If the checkpoint is missing or cannot be loaded.
        """
        import torch

        origin = Origin.of(model, revision)
        model_id, card = origin.generator, inspect(origin)
        target = resolve_device(device)
        precision = resolve_precision(precision, target)
        if GENERATOR.refers(model_id):
            return cls(card, OwnPipeline(instance(GENERATOR, model_id)), target, precision)
        _quiet()
        check_single_file(card)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # about spellings in other people's checkpoints
                load = load_single_file if card.file else _load_pipeline
                pipeline = load(card, getattr(torch, precision), safety_checker=safety_checker)
            check_lora(card)
            if card.lora:
                fuse(pipeline, card.lora)
            speed.apply(pipeline)
        except (OSError, ValueError, KeyError, RuntimeError, AttributeError) as error:
            raise ModelError(f"cannot load the generator {model_id!r}: {str(error).splitlines()[0]}") from error
        pipeline.set_progress_bar_config(disable=True)
        for component in pipeline.components.values():
            if isinstance(component, torch.nn.Module):
                component.eval().requires_grad_(False)
        try:
            placed = memory.place(pipeline, target)
            return cls(card, placed, target, precision, offloaded=memory.offload != "none", speed=speed)
        except RuntimeError as error:
            raise ModelError(f"the generator {model_id!r} does not fit on {target}: {reason(error)}") from error


def _quiet() -> None:
    import diffusers
    import transformers

    for logging in (diffusers.utils.logging, transformers.utils.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()


def _load_pipeline(card: GeneratorCard, dtype: "torch.dtype", *, safety_checker: bool) -> Any:
    import diffusers

    options: dict[str, Any] = {"torch_dtype": dtype, "local_files_only": True}
    if card.prior:
        load = diffusers.DiffusionPipeline.from_pretrained
        return combine(*(load(half, **options, **_variant((half,))) for half in (card.folder, card.prior)))
    options |= _variant(card.folders)
    root = card.base or card.folder
    index = read_json(root / "model_index.json")
    if "safety_checker" in index and not safety_checker:
        options |= {"safety_checker": None, "requires_safety_checker": False}
    if card.base:  # this folder's components win over those of the base
        for name, (library, class_name) in ((k, v) for k, v in index.items() if isinstance(v, list)):
            if (card.folder / name).is_dir():
                module = diffusers if library == "diffusers" else __import__(library)
                config = card.folder / name / "scheduler_config.json"
                kind = str(read_json(config).get("_class_name", class_name))
                extra = {} if config.exists() else {"torch_dtype": dtype}
                options[name] = getattr(module, kind).from_pretrained(card.folder / name, **extra)
    return diffusers.DiffusionPipeline.from_pretrained(root, **options)


def _variant(folders: tuple[Path, ...]) -> dict[str, str]:
    return {"variant": variant} if (variant := variant_of(folders)) else {}


def _number(own: dict[str, Any], key: str, folder: Path) -> float:
    """Return a number of fgl.json; 0 where there is none."""
    value = own.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ModelError(f"{folder / 'fgl.json'}: {key} must be a number of at least 0, not {value!r}")
    return float(value)


def _default_size(folders: tuple[Path, ...]) -> int:
    """Return the side a checkpoint was trained at: latent side times the scale of its autoencoder."""
    denoiser = component_config(folders, "unet") or component_config(folders, "transformer")
    vae = component_config(folders, "vae") or component_config(folders, "movq")
    levels = ("block_out_channels", "encoder_block_out_channels", "dim_mult")  # by the kind of autoencoder
    blocks = next((vae[key] for key in levels if key in vae), ())
    side = denoiser.get("sample_size", 64)
    return int(side if isinstance(side, int) else side[0]) * 2 ** max(len(blocks) - 1, 0)
