"""Model files (safetensors, everything else as JSON in the header) and training checkpoints.

Neither can carry code: safetensors holds numbers and text, checkpoints are read with
``weights_only=True``. A model file of the same tensors and facts has the same bytes.
"""

import hashlib
import json
import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from halcmd.errors import InputError, ModelError
from halcmd.formats.files import atomic, unreadable

if TYPE_CHECKING:
    from torch import Tensor

FORMAT_VERSION = 1

_PIXEL_SIZE_TOLERANCE = 0.01

# One key only: safetensors writes several in an order that changes from run to run.
_KEY = "halcmd"


@dataclass(frozen=True)
class ModelInfo:
    """What a model file says about its tensors.

    Attributes
    ----------
    network : str
        A key of ``halcmd.networks.NETWORKS``.
    widths : tuple of int
        Channels of its stages.
    dropout : float
        Share of units dropped in training.
    classes : dict of str to int
        Class name to class number, in the order of the logits; empty for a pretrained model.
    box : int
        Edge of the particles in voxels.
    pixel_size : float
        Angstrom.
    contrast : str
        ``bright``, ``dark`` or ``unknown``.
    tilt_range : (float, float) or None
        Degrees.
    temperature : float
        Logits are divided by it before the softmax.
    normalisation : str
        ``zscore``: each particle has zero mean and unit standard deviation.
    provenance : dict
        halcmd version, seed, steps, labelled particles per class; nothing that changes between two
        runs of the same command.
    format_version : int
    """

    network: str
    widths: tuple[int, ...]
    dropout: float
    classes: dict[str, int]
    box: int
    pixel_size: float
    contrast: str
    tilt_range: tuple[float, float] | None
    temperature: float = 1.0
    normalisation: str = "zscore"
    provenance: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION


@dataclass(frozen=True)
class StoredModel:
    """Tensors of a model file by name, what it says about them, and the hash that names them."""

    tensors: dict[str, "Tensor"]
    info: ModelInfo
    hash: str


def write_model(path: Path, tensors: Mapping[str, "Tensor"], info: ModelInfo) -> str:
    """Write a model file at once.

    Returns
    -------
    str
        The hash of the tensors, halModel.
    """
    from safetensors.torch import save

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(asdict(info), sort_keys=True)
    with atomic(path) as temporary:
        temporary.write_bytes(save(plain, metadata={_KEY: text}))
    return hash_of(plain)


def read_model(path: Path) -> StoredModel:
    """A model file, tensors on the CPU.

    Raises
    ------
    ModelError
        The file is no model of halcmd, is damaged, or of a later format version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            info = _info_of(file.metadata(), path)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise _no_model(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    return StoredModel(tensors, info, hash_of(tensors))


def read_info(path: Path) -> tuple[ModelInfo, int]:
    """What a model file says about itself and how many parameters it holds; loads no torch.

    Raises
    ------
    ModelError
        As ``read_model``.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            info = _info_of(file.metadata(), path)
            shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
            names = list(file.keys())
    except SafetensorError as error:
        raise _no_model(path, str(error)) from error
    except OSError as error:
        raise unreadable(path, error) from error
    counted = [_size(shape) for name, shape in zip(names, shapes, strict=True) if _learnt(name)]
    return info, sum(counted)


def check_fits(info: ModelInfo, *, box: int, pixel_size: float, contrast: str, where: Path) -> None:
    """Raise ModelError where a model was trained on other boxes than these.

    Parameters
    ----------
    info : ModelInfo
        Of the model.
    box, pixel_size, contrast
        Of the particles: voxels, Angstrom, ``bright``, ``dark`` or ``unknown``.
    where : Path
        The model file, for the message.
    """
    found = None
    if info.box != box:
        found = f"boxes of {info.box} px in the model, {box} px here"
        hint = f"extract with --box {info.box}, or train on these particles"
    elif abs(info.pixel_size / pixel_size - 1.0) > _PIXEL_SIZE_TOLERANCE:
        found = f"{info.pixel_size:g} A per pixel in the model, {pixel_size:g} A here"
        hint = f"extract with --angpix {info.pixel_size:g}, or train on these particles"
    elif info.contrast != contrast:
        found = f"contrast {info.contrast} in the model, {contrast} here"
        hint = "extract both with the same --contrast"
    if found:
        raise ModelError(
            "this model was trained on other boxes", where=str(where), found=found, hint=hint
        )


def hash_of(tensors: Mapping[str, "Tensor"]) -> str:
    """16 hex digits of the SHA-256 over names, shapes and bytes of the tensors, in name order."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous().numpy()
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def hash_of_hashes(hashes: list[str]) -> str:
    """The one hash of an ensemble; of a single model, its own."""
    if len(hashes) == 1:
        return hashes[0]
    return hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write the state of a training run at once: tensors, numbers and text in dicts and lists."""
    import torch

    with atomic(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(dict(state), file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # such as a full disk, hidden by torch's own
                raise error.__context__ from error
            raise


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state of a training run, tensors on the CPU.

    Raises
    ------
    InputError
        The file is no checkpoint or holds more than plain data.
    """
    import torch

    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise unreadable(path, error) from error
    except (RuntimeError, pickle.UnpicklingError, EOFError) as error:
        raise InputError(
            "this checkpoint cannot be read",
            where=str(path),
            found=str(error).split("\n")[0][:120],
            hint="start afresh with --overwrite",
        ) from error
    return state


def _info_of(metadata: Mapping[str, str] | None, path: Path) -> ModelInfo:
    text = (metadata or {}).get(_KEY)
    if text is None:
        raise _no_model(path, "a safetensors file without halcmd's header")
    try:
        facts = json.loads(text)
        version = int(facts["format_version"])
        if version > FORMAT_VERSION:
            raise ModelError(
                "this model was written by a later halcmd",
                where=str(path),
                found=f"format version {version}; this halcmd reads up to {FORMAT_VERSION}",
                hint="update halcmd",
            )
        known = {item.name for item in fields(ModelInfo)}
        facts = {name: value for name, value in facts.items() if name in known}
        tilts = facts["tilt_range"]
        facts["tilt_range"] = None if tilts is None else (float(tilts[0]), float(tilts[1]))
        facts["widths"] = tuple(int(width) for width in facts["widths"])
        # JSON keys are sorted; the numbers give the order of the logits back
        facts["classes"] = dict(sorted(facts["classes"].items(), key=lambda item: int(item[1])))
        return ModelInfo(**facts)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _no_model(path, f"a header that lacks or garbles {error}") from error


def _no_model(path: Path, found: str) -> ModelError:
    return ModelError(
        "this is no model of halcmd, or it is damaged",
        where=str(path),
        found=found[:160],
        hint="the model.safetensors of a train or pretrain job",
    )


def _learnt(name: str) -> bool:
    """Whether a tensor is learnt, rather than a running statistic."""
    return not name.endswith(("running_mean", "running_var", "num_batches_tracked"))


def _size(shape: list[int]) -> int:
    size = 1
    for edge in shape:
        size *= edge
    return size
