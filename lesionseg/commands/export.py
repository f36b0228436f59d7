"""``lesionseg export``: a model in ONNX; and the MLflow model that every finished run leaves, which is applied by what
stands here, too."""

import base64
import gzip
import hashlib
import logging
import re
import warnings
import zipfile
from collections.abc import Sequence
from importlib.metadata import requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import torch

import lesionseg
from lesionseg.commands.evaluate import load_checkpoints
from lesionseg.commands.predict import lesion_rows
from lesionseg.commands.scoring import segment
from lesionseg.config.schema import ExportConfig
from lesionseg.config.sections import TrainerSection
from lesionseg.data.cache import Cache
from lesionseg.data.dataset import Study, TaskStudy, parse_channel, sources_of
from lesionseg.errors import InputError
from lesionseg.io import content_digest, link_or_copy, write_json, written_whole
from lesionseg.transfer.checkpoint import SourceModel, load_model

ONNX, DESCRIPTION = "model.onnx", "model.json"
_TOLERANCE = 1e-3  # of logits
_LOADER = "load_lesionseg"
_OVERLAP = 0.25  # of windows


def export(config: ExportConfig) -> int:
    """Write the network as ONNX, and beside it all that is to be known to apply it."""
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise InputError(f"format=onnx: needs {error.name}; pip install 'lesionseg[onnx]'") from error
    models = load_checkpoints(config)
    if len(models) > 1:
        raise InputError(f"checkpoint={config.checkpoint}: is {len(models)} models; export one of them")
    (model,), output = models, Path(config.output).expanduser().resolve()
    difference = _write_onnx(model, output / ONNX)
    write_json(output / DESCRIPTION, _description(model, output / ONNX, difference))
    print(f"Written to {output}; in onnxruntime its logits are PyTorch's to {difference:.1e}")
    return 0


def _write_onnx(model: SourceModel, path: Path) -> float:
    """Write a network for one window at a time, and return how far onnxruntime's logits are from PyTorch's."""
    import onnxruntime

    network = model.network()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it misses torchvision, which nothing here needs
    torch.manual_seed(0)
    windows = torch.randn(4, 1, len(model.card.inputs), *model.card.patch_size)
    with written_whole(path) as partial, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch against itself
        try:
            program: Any = torch.onnx.export(
                network, (windows[0],), dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
            )
            program.save(partial, external_data=False)
        except (RuntimeError, torch.onnx.OnnxExporterError) as error:
            raise InputError(
                f"checkpoint {model.origin}: {model.card.network['_target_']} cannot be written as ONNX "
                f"({str(error).splitlines()[0]})"
            ) from error
        session = onnxruntime.InferenceSession(str(partial), providers=["CPUExecutionProvider"])
        with torch.no_grad():
            apart = [
                float(np.abs(session.run(None, {"image": one.numpy()})[0] - network(one).numpy()).max())
                for one in windows
            ]
        if not max(apart) <= _TOLERANCE:
            raise InputError(
                f"checkpoint {model.origin}: onnxruntime's logits are {max(apart):.1e} from PyTorch's, and "
                f"{_TOLERANCE:g} is the most"
            )
    return max(apart)


def _description(model: SourceModel, onnx: Path, difference: float) -> dict[str, Any]:
    card = model.card
    return {
        "input": {
            "name": "image",
            "shape": [1, len(card.inputs), *card.patch_size],
            "axes": "batch, channel, x to the right, y to the front, z up (voxels)",
            "channels": card.inputs,
            "spacing_mm": card.spacing,
            "normalisation": "of each image, before it is resampled: zero mean and unit variance in the brain, 0 "
            "outside; a difference of two is taken after that",
        },
        "output": {
            "name": "logits",
            "shape": [1, 1, *card.patch_size],
            "probability": f"sigmoid; windows overlap by {_OVERLAP}, and count by a Gaussian around their middle",
            "threshold": card.threshold,
            "min_lesion_volume_mm3": card.min_lesion_volume,
            "connectivity": card.criterion.connectivity,
        },
        "card": card.to_dict(),
        "weights_sha256": model.digest,
        "onnx_sha256": content_digest(onnx),
        "difference_from_pytorch": difference,
        "made_by": {name: version(name) for name in ("lesionseg", "torch", "onnx", "onnxruntime")},
    }


class PackagedModel:
    """What ``mlflow.pyfunc.load_model`` gives: scans in, masks and lesions out."""

    def __init__(self, checkpoint: Path) -> None:
        self._model = load_model(checkpoint, trust=True)  # whoever loads an MLflow model runs its code
        self._network = self._model.network()

    def predict(self, scans: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        """Segment scans.

        Args:
            scans: a row for each, a column for each image of the task (``flair``, ``prior.flair``), each cell a path,
                the bytes of a NIfTI file in base64, or a pair of voxels (X, Y, Z) and affine (4 × 4).
            params: none are known.

        Returns:
            A row for each scan: ``mask``, of 0 and 1 on the scan's own grid, as voxels where voxels were given, else a
            compressed NIfTI file in base64; ``lesions``, a list of mappings such as the table of ``lesionseg predict``.
        """
        return pd.DataFrame([self._segment(row) for row in scans.to_dict("records")], columns=["mask", "lesions"])

    def _segment(self, row: dict[Any, Any]) -> dict[str, Any]:
        card = self._model.card
        sources = sources_of([parse_channel(name) for name in card.inputs])
        missing = [str(source) for source in sources if str(source) not in row]
        if missing:
            raise ValueError(f"the model reads {', '.join(map(str, sources))}; there is no column {', '.join(missing)}")
        with TemporaryDirectory() as folder:
            files = [(one, _as_file(row[str(one)], Path(folder) / f"{one}.nii.gz")) for one in sources]
            study = TaskStudy(Study("scan", "", {}), tuple(files), None)
            x, y, z = card.spacing
            ready = Cache(Path(folder) / "cache").get(study, (x, y, z))
            (found,) = segment([self._network], card, [ready], _TRAINER, threshold=card.threshold)
            rows, _ = lesion_rows(found, card)
            mask: Any = found.mask
            if isinstance(row[str(sources[0])], str):
                content = gzip.compress(nib.Nifti1Image(mask, ready.native.affine).to_bytes())
                mask = base64.b64encode(content).decode()
        return {"mask": mask, "lesions": rows}


_TRAINER = TrainerSection.model_construct(window_overlap=_OVERLAP, precision="32-true", accelerator="auto")


def _as_file(cell: Any, path: Path) -> Path:
    if not isinstance(cell, str):
        voxels, affine = cell
        nib.save(nib.Nifti1Image(np.asarray(voxels, np.float32), np.asarray(affine, float)), path)
        return path
    if cell.endswith((".nii", ".nii.gz")):
        return Path(cell)
    content = base64.b64decode(cell, validate=True)
    path = path if content[:2] == b"\x1f\x8b" else path.with_suffix("")
    path.write_bytes(content)
    return path


def save_mlflow_model(folder: Path, checkpoint: Path, inputs: Sequence[str], card_text: str, code: Path) -> None:
    """Write an MLflow model of a checkpoint, with this package's code and the versions of what it needs.

    Args:
        folder: to be made.
        checkpoint: which is linked, not copied, where the file system can.
        inputs: the task's channels.
        card_text: Markdown.
        code: a folder for the archive of the code, which all models of one version share.
    """
    archive, loader = _archive(code), code / f"{_LOADER}.py"
    loader.write_text(_LOADER_CODE, encoding="utf-8")
    sources = sources_of([parse_channel(name) for name in inputs])
    with warnings.catch_warnings():
        # of MLflow at its own types, and that no input example is kept, which would be a patient's scan
        warnings.simplefilter("ignore")
        import mlflow.pyfunc
        from mlflow.models import ModelSignature
        from mlflow.types.schema import AnyType, ColSpec, Schema

        anything = [Schema([ColSpec(AnyType(), str(one)) for one in names]) for names in (sources, ("mask", "lesions"))]
        mlflow.pyfunc.save_model(
            folder,
            loader_module=_LOADER,
            data_path=str(checkpoint),
            code_paths=[str(loader), str(archive)],
            signature=ModelSignature(*anything),
            pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in _required()],
        )
    (folder / "README.md").write_text(card_text, encoding="utf-8")
    link_or_copy(checkpoint, folder / "data" / checkpoint.name)
    link_or_copy(archive, folder / "code" / archive.name)


_LOADER_CODE = '''"""Load the model beside, by the code of lesionseg that lies beside as an archive."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("lesionseg.zip")))


def _load_pyfunc(path):
    from lesionseg.commands.export import PackagedModel

    return PackagedModel(Path(path))
'''


def _archive(folder: Path) -> Path:
    """Return an archive of this package's modules, made once of what they are."""
    root = Path(lesionseg.__file__).parent
    files = sorted(file for file in root.rglob("*") if file.suffix in (".py", ".j2", ".mplstyle"))
    content = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    path = folder / content[:16] / "lesionseg.zip"
    if not path.is_file():
        with written_whole(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in files:
                archive.write(file, Path("lesionseg") / file.relative_to(root))
    return path


def _required() -> list[str]:
    """Return the packages that lesionseg needs, without its extras."""
    names = [re.split(r"[<>=!~; \[]", text)[0] for text in requires("lesionseg") or () if "extra ==" not in text]
    return sorted(names)
