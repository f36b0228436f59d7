"""The cohort that a configuration names; the embedded one is made on first use."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock

from lesionseg.config.schema import DatasetSection
from lesionseg.data.cohorts import read_bids, read_manifest, read_nnunet, select_subjects
from lesionseg.data.study import Cohort
from lesionseg.runs.progress import bar


def load_cohort(dataset: DatasetSection, subjects: Sequence[str] | None = None) -> Cohort:
    """Find all studies; no scan is read.

    Args:
        dataset: where they are.
        subjects: only these; None leaves it to ``dataset.subjects``.

    Raises:
        InputError: everything that is wrong with folder or table.
    """
    root = Path(dataset.root).expanduser().resolve()
    if dataset.synthetic is not None:
        _make(root, dataset)
    images, masks = dataset.images, dataset.masks
    if dataset.format == "bids":
        cohort = read_bids(root, name=dataset.name, images=images, masks=masks)
    elif dataset.format == "manifest":
        cohort = read_manifest(
            root,
            name=dataset.name,
            images=images,
            masks=masks,
            subject=dataset.subject,
            session=dataset.session,
            site=dataset.site,
            split=dataset.split,
        )
    else:
        cohort = read_nnunet(root, name=dataset.name, images=images, masks=masks, case=dataset.case)
    return select_subjects(select_subjects(cohort, dataset.subjects), subjects)


def _make(root: Path, dataset: DatasetSection) -> None:
    from lesionseg.data.synthetic import make_cohort

    section = dataset.synthetic
    assert section is not None
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")), bar(f"Making {dataset.name}", "subject", section.subjects) as shown:
        make_cohort(
            root,
            subjects=section.subjects,
            seed=section.seed,
            pathology=section.pathology,
            shape=_triple(section.shape),
            spacing=_triple(section.spacing),
            progress=lambda done, _: shown.update(done - shown.n),
        )


def _triple(values: Sequence[Any]) -> tuple[Any, Any, Any]:
    x, y, z = values
    return x, y, z
