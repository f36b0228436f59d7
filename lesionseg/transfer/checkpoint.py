"""Our checkpoints: what a model is, beside its weights."""

import hashlib
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor, nn

from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.io import content_digest, read_json
from lesionseg.metrics import Criterion

METADATA_KEY = "lesionseg"
_PREFIX = "network."
COMPILED = "_orig_mod."
"""What ``torch.compile`` puts into the names of a network or of its parts."""
NETWORKS = ("lesionseg.", "monai.networks.", "dynamic_network_architectures.")
"""Where the networks are that a checkpoint may name of itself."""
_THREE = Field(min_length=3, max_length=3)
CONTRASTS: Mapping[str, str] = {
    "flair": "flair",
    "t2flair": "flair",
    "t2f": "flair",  # BraTS since 2023, as are t1n and t1c
    "t1": "t1",
    "t1w": "t1",
    "t1n": "t1",
    "t1pre": "t1",
    "t1post": "t1_post",
    "t1gd": "t1_post",
    "t1wgd": "t1_post",
    "t1ce": "t1_post",
    "t1wce": "t1_post",
    "t1c": "t1_post",
    "t2": "t2",
    "t2w": "t2",
}
"""The usual names, in small letters and without ``-``, ``_`` and blanks."""


@dataclass(frozen=True)
class ModelCard:
    """What must be known to use a model's weights, or to judge what they are worth elsewhere."""

    __pydantic_config__ = ConfigDict(extra="forbid", allow_inf_nan=False)

    network: dict[str, Any]  # description of the network, ``_target_`` and arguments
    task: str  # the task's name
    inputs: Annotated[list[str], Field(min_length=1)]  # channel names, in order
    target: str  # name of the mask it learned
    spacing: Annotated[list[Annotated[float, Field(gt=0)]], _THREE]  # working voxel size in mm
    patch_size: Annotated[list[Annotated[int, Field(gt=0)]], _THREE]  # voxels of the windows that it is applied by
    normalisation: str  # of the images
    threshold: Annotated[float, Field(gt=0, lt=1)]  # on the probability
    matching: dict[str, Any]  # description of the criterion that it was judged by, ``_target_`` and arguments
    min_lesion_volume: Annotated[float, Field(ge=0)]  # mm³; smaller components count as background
    dataset: str  # the name of the dataset it learned from
    train_subjects: list[str]  # whom it learned from, and validated on
    init: str  # its own initialisation
    # of each thing that `image_facts` says of a study, the lowest and highest of those it was trained on
    training_images: dict[str, list[list[float]]] = field(default_factory=dict)

    @property
    def criterion(self) -> Criterion:
        """When a lesion counts as found."""
        criterion: Criterion = build(self.matching, Criterion)
        return criterion

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as stored in the checkpoint."""
        return asdict(self)


@dataclass(frozen=True)
class SourceModel:
    """A model read from a checkpoint."""

    card: ModelCard  # what it is
    weights: Mapping[str, Tensor]  # parameter name to values, as in the network's state dict
    digest: str  # SHA-256 over names and values, hexadecimal: the same weights have the same digest
    origin: str  # where it was read from

    def network(self) -> nn.Module:
        """The network with these weights, in evaluation mode."""
        try:
            network: nn.Module = build(self.card.network, nn.Module)
            network.load_state_dict(dict(self.weights))
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"checkpoint {self.origin}: its network {self.card.network} cannot be made again ({error}); install "
                "what it was trained with"
            ) from error
        return network.eval()


def load_model(path: Path, *, trust: bool = False) -> SourceModel:
    """Read a checkpoint that lesionseg wrote, or a folder of ``lesionseg export``. Nothing in the file is executed
    (``weights_only``), and its card may name a network of `NETWORKS` alone, unless it is trusted."""
    if (path / "model.json").is_file():
        return _exported(path)
    if not path.is_file():
        raise InputError(f"checkpoint {path}: there is no such file; give a path, or runs:/<run id>")
    check_whole(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises nearly anything for a file that is not its own
        raise InputError(
            f"checkpoint {path}: is no checkpoint that can be read ({_reason(error)}); "
            "give the best.ckpt of a run of lesionseg"
        ) from error
    model = own_model(content, path)
    for spec, allowed in ((model.card.network, NETWORKS), (model.card.matching, ("lesionseg.",))):
        target = str(spec.get("_target_"))
        if not trust and not target.startswith(allowed):
            programs = ", ".join(name.rstrip(".") for name in allowed)
            raise InputError(
                f"checkpoint {path}: names {target!r}, and to import that may run any code; only what is in {programs} "
                "is imported unasked. If you trust whoever made it set trust=true"
            )
    return model


def _exported(folder: Path) -> SourceModel:
    """Return the model that an exported folder describes, with the network as ONNX."""
    content, onnx = read_json(folder / "model.json"), folder / "model.onnx"
    if not onnx.is_file() or content.get("onnx_sha256") != content_digest(onnx):
        raise InputError(f"checkpoint {folder}: model.onnx is not the one that model.json describes; export it again")
    card = replace(
        _card(content.get("card"), folder),
        network={"_target_": "lesionseg.models.OnnxNetwork", "path": str(onnx)},
    )
    return SourceModel(card, {}, content["onnx_sha256"], str(folder))


def check_whole(path: Path) -> None:
    """Hold every part of a file of ``torch.save`` against its checksum, which PyTorch does not."""
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError) as error:
            damaged = str(error)
        if damaged:
            raise InputError(
                f"checkpoint {path}: is damaged ({damaged}); copy it again from its source, or train it again"
            )


def check_weights(weights: Mapping[str, Any], path: Path) -> None:
    """Raise InputError unless all are dense tensors of real, finite numbers, or whole ones that count something."""
    faults = []
    for name, value in weights.items():
        if not isinstance(value, Tensor) or value.is_meta or value.is_quantized or value.layout != torch.strided:
            faults.append(f"{name} holds no plain values")
        elif not value.is_floating_point() and value.dtype not in (torch.int64, torch.int32, torch.bool):
            faults.append(f"{name} is of type {value.dtype}")
        elif value.is_floating_point() and not torch.isfinite(value).all():
            faults.append(f"{name} holds NaN or infinite values")
    if faults:
        more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
        raise InputError(
            f"checkpoint {path}: its weights cannot be used: {'; '.join(faults[:3])}{more}; save the network's state "
            "dict in 32 or 16 bits"
        )


def own_model(content: Any, path: Path) -> SourceModel:
    """The model in a checkpoint's content."""
    if not isinstance(content, dict) or METADATA_KEY not in content or "state_dict" not in content:
        raise InputError(
            f"checkpoint {path}: was not written by lesionseg (it has no key {METADATA_KEY!r}); "
            "give the best.ckpt of a run of lesionseg"
        )
    card = _card(content[METADATA_KEY], path)
    state = content["state_dict"] if isinstance(content["state_dict"], Mapping) else {}
    weights = {
        str(name).removeprefix(_PREFIX).replace(COMPILED, ""): value
        for name, value in state.items()
        if str(name).startswith(_PREFIX)
    }
    if not weights:
        raise InputError(
            f"checkpoint {path}: holds no weights (no name in its state_dict begins with {_PREFIX!r}); "
            "give the best.ckpt of a run of lesionseg"
        )
    check_weights(weights, path)
    return SourceModel(card, weights, weights_digest(weights), str(path))


def _card(content: Any, path: Path) -> ModelCard:
    try:
        return TypeAdapter(ModelCard).validate_python(content)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:3])
        raise InputError(
            f"checkpoint {path}: its card is not as this version of lesionseg writes it ({told}); train it again"
        ) from error


def store_threshold(path: Path, threshold: float) -> None:
    """Write the threshold that was chosen for a model into its checkpoint's card; the file is replaced as a whole."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    content[METADATA_KEY]["threshold"] = threshold
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)


def weights_digest(weights: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types and values in order of name, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    text = str(error)
    if "weights_only" in text or "Weights only" in text:
        return "it is none of PyTorch's files, or holds code, which is never run"
    return (text.splitlines() or [type(error).__name__])[0][:200]


@dataclass(frozen=True)
class ForeignCard:
    """What its file says; None where it does not. Axes are in our order: x, y, z."""

    program: str  # that wrote it, as ``nnU-Net`` or ``PyTorch``
    # description of the network, ``_target_`` and arguments, to make the same one from
    network: dict[str, Any] | None = None
    channels: int | None = None  # how many input channels the network has
    inputs: list[str] | None = None  # their names, in order
    classes: list[str] | None = None  # names of the output maps, in order; the background is one of nnU-Net's
    # what makes probabilities of the maps: ``softmax`` over classes that exclude each other, the background first, or
    # ``sigmoid`` of each alone
    activation: Literal["softmax", "sigmoid"] | None = None
    spacing: list[float] | None = None  # working voxel size in mm
    patch_size: list[int] | None = None  # voxels
    normalisation: str | None = None  # of the images, in that program's words
    dataset: str | None = None  # the name of the dataset it learned from
    notes: tuple[str, ...] = ()  # what else is to be known, in sentences: what was left out, renamed or turned


def contrast_name(name: str) -> str:
    """A channel's name in our words, ``t1_post`` for ``T1Gd`` or ``T1-CE``; one that is not known in small letters."""
    return CONTRASTS.get(re.sub(r"[-_ ]", "", name.casefold()), name.lower())


def read_channels(names: Sequence[str]) -> tuple[list[str], str]:
    """Channels in our words, and in a sentence which name was read as which; that is empty where none was changed.

    Where two of them come to the same, as T1 and T1w, all are left as they are, in small letters.
    """
    read = [contrast_name(name) for name in names]
    if len(set(read)) < len(read):
        read = [name.lower() for name in names]
    changed = [f"{name} as {ours}" for name, ours in zip(names, read, strict=True) if name != ours]
    return read, f"its channels' names were read so: {', '.join(changed)}" if changed else ""
