"""The cohort that a configuration names; the embedded one is made on first use."""

from collections.abc import Sequence
from pathlib import Path

from lesionseg.config.sections import DatasetSection
from lesionseg.data.cohorts import read_bids, read_manifest, read_nnunet, select_subjects
from lesionseg.data.study import Cohort


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
        from lesionseg.runs.synthesize import write_cohort  # SciPy and its kin take their time

        write_cohort(root, dataset.synthetic, f"Making {dataset.name}")
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
