"""``lesionseg predict``: segment scans with a trained model, or with the mean of several."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lesionseg.commands.evaluate import load_checkpoints, mean_threshold
from lesionseg.commands.plan import cache_of, load_dataset, triple
from lesionseg.commands.scoring import Segmentation, segment
from lesionseg.config.schema import PredictConfig
from lesionseg.data.cache import Cache
from lesionseg.data.dataset import (
    Channel,
    Dataset,
    Source,
    Study,
    TaskStudy,
    missing_files,
    nothing_usable,
    parse_channel,
    select_studies,
    sources_of,
)
from lesionseg.data.nifti import Array, dicom_fault, write_volume
from lesionseg.data.preprocessing import unlike
from lesionseg.data.quality_control import audit
from lesionseg.data.readers import read_table
from lesionseg.errors import InputError
from lesionseg.io import progress_bar, read_json, write_csv, write_json
from lesionseg.metrics import lesion_table
from lesionseg.metrics.components import label_components
from lesionseg.report.scan_page import write_scan_page
from lesionseg.transfer.checkpoint import ModelCard, SourceModel

_ENDINGS = (".nii", ".nii.gz")
_NOTHING_TO_COMPARE = ("side", "label", "verdict", "dice", "touches")  # of a lesion without a reference


def predict(config: PredictConfig) -> int:
    """Write per study a mask, a probability map, tables of lesions and a page, on the grid of its first image.

    What is done already, by the same weights and on the same scans, is not done again; a study that cannot be segmented
    is told at the end, and stops no other.
    """
    models = load_checkpoints(config)
    card = models[0].card
    channels = [parse_channel(name) for name in card.inputs]
    dataset = _find_scans(config, channels)
    studies = select_studies(dataset, channels, None)
    if not studies:
        raise InputError(f"{nothing_usable(dataset, channels, None)}; the model reads {', '.join(card.inputs)}")
    for one in dataset.studies:
        lacks = missing_files(dataset, one, channels, None)
        if lacks and not any(one in (used.study, dataset.prior_of(used.study)) for used in studies):
            print(f"{one.name}: left out, it has {' and '.join(lacks)}")
    output = Path(config.output).expanduser().resolve()
    cache, networks, failed = cache_of(config.paths), [model.network() for model in models], list[str]()
    threshold = mean_threshold(models) if config.threshold is None else config.threshold
    with progress_bar("Segmenting", "study", len(studies)) as shown:
        for study in studies:
            record = {**_record(cache, study, models), "threshold": threshold, "flips": config.flips}
            name = f"{study.name}_label-{card.target}"
            shown.update()
            done = read_json(output / f"{name}.json")
            if record.items() <= done.items():
                shown.write(f"{study.name}: is done already")
                continue
            faults = _faults(dataset, study, channels)
            if faults:
                failed += faults
                continue
            try:
                ready = cache.get(study, triple(card.spacing))
                (found,) = segment(networks, card, [ready], config.trainer, threshold=threshold, flips=config.flips)
            except ValueError as error:
                failed.append(f"{study.name}: {error}")
                continue
            warnings = unlike(ready.facts(), card.training_images)
            rows, numbers = lesion_rows(found, card)
            _write(output, name, found, rows, numbers, {**record, "warnings": warnings})
            shown.write(f"{study.name}: {len(rows)} lesions, {sum(row['volume_mm3'] for row in rows) / 1000:.2f} ml")
            for warning in warnings:
                shown.write(f"{study.name}: WARNING: unlike the training data: {warning}")
    if len(failed) and len(studies) == 1:
        raise InputError(failed)
    print(f"Written to {output}")
    if failed:
        print(f"{len(failed)} faults, and what they are of was left out:", *failed, sep="\n", file=sys.stderr)
    return 1 if failed else 0


def _find_scans(config: PredictConfig, channels: Sequence[Channel]) -> Dataset:
    """Return what is to be segmented: files that are named by contrast, a scan, a folder or a table of scans, or a
    dataset."""
    sources = sources_of(channels)
    if config.dataset is not None:
        return load_dataset(config.dataset, config.subjects)
    if config.files:
        return _named(config.files, sources)
    assert config.input is not None, "the schema asks for one of the three"
    path = Path(config.input).expanduser().resolve()
    fault = f"input={config.input}: there is no such file or folder" if not path.exists() else dicom_fault(path)
    if fault:
        raise InputError(fault)
    if path.suffix.lower() in (".csv", ".tsv"):
        contrasts = {source.contrast: source.contrast for source in sources}
        return read_table(path, name="input", images=contrasts, masks={})
    scans = sorted(one for one in path.iterdir() if one.name.endswith(_ENDINGS)) if path.is_dir() else [path]
    if not scans:
        raise InputError(
            f"input={config.input}: holds no scan (.nii or .nii.gz) and no folder sub-*; name a folder of scans, or "
            "the patterns by which they are found, as conf/dataset/bids.yaml says"
        )
    if len(sources) > 1:
        wanted = " ".join(f"{source}=FILE" for source in sources)
        raise InputError(
            f"input={config.input}: the model reads {', '.join(map(str, sources))}, and files do not tell which is "
            f"which; give {wanted}, a table with a column for each, or a dataset"
        )
    studies = tuple(Study(_stem(scan), "", {sources[0].contrast: scan}) for scan in scans)
    return Dataset("input", path, studies)


def _named(files: Sequence[str], sources: Sequence[Source]) -> Dataset:
    """Return one study of files such as ``flair=a.nii.gz`` and ``prior.flair=b.nii.gz``."""
    named = {key: Path(path).expanduser().resolve() for key, _, path in (text.partition("=") for text in files)}
    wanted = ", ".join(map(str, sources))
    known = {key: path for key, path in named.items() if key in map(str, sources)}
    faults = [
        f"{key}={path}: the model reads {wanted}; {key} is none of them, and no setting of predict (--help shows these)"
        for key, path in named.items()
        if key not in known
    ]
    faults += [f"{source}: has no file; give {source}=FILE" for source in sources if str(source) not in named]
    faults += [f"{key}={path}: there is no such file" for key, path in known.items() if not path.is_file()]
    if faults:
        raise InputError(faults)
    now, before = (
        {source.contrast: named[str(source)] for source in sources if source.prior == prior} for prior in (False, True)
    )
    subject = _stem(next(iter((now or before).values())))
    prior = (Study(subject, "before", before),) if before else ()
    return Dataset("files", Path.cwd(), (*prior, Study(subject, "", now)))


def _stem(scan: Path) -> str:
    return scan.name.removesuffix(".gz").removesuffix(".nii").removeprefix("sub-")


def _faults(dataset: Dataset, study: TaskStudy, channels: Sequence[Channel]) -> list[str]:
    prior = dataset.prior_of(study.study)
    alone = Dataset(dataset.name, dataset.root, (*([prior] if prior else []), study.study))
    found = audit(alone, channels, None).faults
    return list(found[found["study"] == study.name]["text"])


def _record(cache: Cache, study: TaskStudy, models: Sequence[SourceModel]) -> dict[str, Any]:
    """Return what a study's prediction depends on."""
    return {
        "study": study.name,
        "models": [{"from": model.origin, "weights": model.digest} for model in models],
        "images": {str(source): {"path": str(path), "sha256": _digest(cache, path)} for source, path in study.sources},
    }


def _digest(cache: Cache, path: Path) -> str:
    try:
        return cache.digest(path)
    except OSError:  # its reading tells why
        return ""


def lesion_rows(found: Segmentation, card: ModelCard) -> tuple[list[dict[str, Any]], Array]:
    """Return a row for each lesion, the largest first, and the number of each voxel's lesion. The hemisphere is that of
    the lesion's centre, left or right of the middle of the brain's box."""
    native, study = found.study.native, found.study
    rows = []
    empty = np.zeros_like(found.mask)
    smallest = card.min_lesion_volume
    table = lesion_table(
        empty, found.mask, native.affine, card.criterion, probability=found.probability, min_volume_mm3=smallest
    )
    to_box, labels = np.linalg.inv(study.grid.affine), label_components(found.mask, card.criterion.connectivity)[0]
    numbers = np.zeros(len(table) + 1, np.int32)
    for number, lesion in enumerate(sorted(table, key=lambda one: -one.volume_mm3), start=1):
        numbers[lesion.label] = number
        row = {key: value for key, value in lesion.as_row().items() if key not in _NOTHING_TO_COMPARE}
        across = (to_box @ [lesion.x_mm, lesion.y_mm, lesion.z_mm, 1])[0] - (study.grid.shape[0] - 1) / 2
        rows.append({"lesion": number, "kind": card.target, **row, "hemisphere": "left" if across < 0 else "right"})
    return rows, numbers[labels]


def _write(
    output: Path, name: str, found: Segmentation, rows: list[dict[str, Any]], numbers: Array, record: dict[str, Any]
) -> None:
    """Write everything of one study; the record comes last, and tells that the others are whole."""
    native, image = found.study.native, found.study.study.sources[0][1]
    write_volume(output / f"{name}_prob.nii.gz", found.probability, native, image)
    if found.disagreement is not None:
        write_volume(output / f"{name}_disagreement.nii.gz", found.disagreement, native, image)
    write_volume(output / f"{name}_mask.nii.gz", found.mask, native, image)
    write_csv(output / f"{name}_lesions.csv", rows)
    write_scan_page(output / f"{name}.html", image, numbers, native, rows, record)
    write_json(output / f"{name}.json", {**record, "lesions": rows})
