"""Every voxel of a cohort read and judged before anything is trained on it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, is_dataclass
from math import isnan
from pathlib import Path
from typing import Any

from lesionseg.data._audit_table import audit_table
from lesionseg.data._cohort_audit import cohort_faults, lacks, nothing_usable
from lesionseg.data._field_of_view import overlap
from lesionseg.data._image_audit import ImageAudit, audit_image
from lesionseg.data._mask_audit import MaskAudit, audit_mask
from lesionseg.data._scan import Scan, UnreadableScanError, read_scan
from lesionseg.data.channels import Channel, Source, sources_of
from lesionseg.data.study import Cohort, MaskFile, Study

_THREADS = 2


@dataclass(frozen=True)
class StudyAudit:
    """What a task reads of one study.

    Args:
        study: its name.
        subject: label of the subject.
        session: label of the session; empty where the cohort knows none.
        site: where it was scanned, if known.
        split: the split the cohort fixes, if any.
        prior: name of the session before it, if the task reads that.
        images: those that could be read, in the order of the task's sources.
        mask: the target's mask; None if the task has no target or the mask could not be read.
        faults: what is wrong, each with study, image and file, and how to mend it.
        notes: what is worth knowing and no fault.
    """

    study: str
    subject: str
    session: str
    site: str | None
    split: str | None
    prior: str | None
    images: tuple[ImageAudit, ...]
    mask: MaskAudit | None
    faults: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Audit:
    """What a task would find in a cohort.

    Args:
        cohort: the dataset's name.
        root: where it was read from.
        sources: images the task reads of each study.
        target: the mask it learns; None if it needs none.
        studies: those that have all the task needs, faulty ones included.
        faults: all that is wrong, of single studies and of the cohort.
        left_out: studies the task cannot use, each with the reason.
        notes: what is worth knowing and no fault, such as a study without lesion.
    """

    cohort: str
    root: Path
    sources: tuple[str, ...]
    target: str | None
    studies: tuple[StudyAudit, ...]
    faults: tuple[str, ...]
    left_out: tuple[str, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON's own types: NaN as None, paths as text."""
        content = _as_json(self)
        assert isinstance(content, dict)
        return content

    def table(self) -> str:
        """One row a study, at most 110 columns wide."""
        return audit_table(self.studies)


def audit(
    cohort: Cohort,
    channels: Sequence[Channel],
    target: str | None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """Read every image and mask that a task needs and say what is wrong with them.

    Args:
        cohort: the studies.
        channels: the task's input channels.
        target: the mask it learns; None if it needs none.
        progress: called after each study with the studies done and those to do.
    """
    sources = sources_of(channels)
    reads_prior = any(source.prior for source in sources)
    priors = [cohort.prior_of(study) if reads_prior else None for study in cohort.studies]
    pairs = list(zip(cohort.studies, priors, strict=True))
    missing = [lacks(study, prior, sources, target) for study, prior in pairs]
    usable = [pair for pair, lacking in zip(pairs, missing, strict=True) if not lacking]
    rows: list[StudyAudit] = []
    with ThreadPoolExecutor(_THREADS) as pool:
        for row in pool.map(lambda pair: audit_study(pair[0], pair[1], sources, target), usable):
            rows.append(row)
            if progress is not None:
                progress(len(rows), len(usable))
    faults = [*cohort_faults(cohort), *(fault for row in rows for fault in row.faults), *_copies(rows)]
    if not usable:
        faults.append(nothing_usable(cohort, sources, target))
    return Audit(
        cohort.name,
        cohort.root,
        tuple(map(str, sources)),
        target,
        tuple(rows),
        tuple(faults),
        left_out=tuple(
            f"{study.name}: {'; '.join(lacking)}"
            for study, lacking in zip(cohort.studies, missing, strict=True)
            if lacking
        ),
        notes=tuple(note for row in rows for note in row.notes),
    )


def audit_study(study: Study, prior: Study | None, sources: Sequence[Source], target: str | None) -> StudyAudit:
    """Read what a task needs of one study and say what is wrong with it.

    Images need no common grid, for they are resampled later, but their fields of view must overlap; the mask
    must lie on the grid of one of the study's own images.

    Args:
        study: the session.
        prior: the session before it; None if there is none or the task does not read it.
        sources: images the task reads.
        target: the mask it learns; None if it needs none.
    """
    faults = [f"{study.name}: {lacking}" for lacking in lacks(study, prior, sources, target)]
    scans: dict[Source, Scan] = {}
    images: list[ImageAudit] = []
    for source in sources:
        path = _path(study, prior, source)
        if path is None:
            continue
        where = f"{study.name}, {source} ({path})"
        try:
            scans[source] = read_scan(path)
        except UnreadableScanError as error:
            faults.append(f"{where}: {error}")
            continue
        image, image_faults = audit_image(str(source), scans[source])
        images.append(image)
        faults += [f"{where}: {fault}" for fault in image_faults]
    faults += _apart(study, scans)
    mask: MaskAudit | None = None
    notes: list[str] = []
    if target is not None and target in study.masks:
        own = [scan for source, scan in scans.items() if not source.prior]
        mask, mask_faults = _read_mask(study.masks[target], own)
        where = f"{study.name}, mask {target} ({study.masks[target].path})"
        faults += [f"{where}: {fault}" for fault in mask_faults]
        if mask is not None and not mask.lesion_count and not mask_faults:
            notes.append(f"{where}: no lesion; its sensitivity will be undefined and its false positives counted")
    return StudyAudit(
        study.name,
        study.subject,
        study.session,
        study.site,
        study.split,
        prior.name if prior and any(source.prior for source in sources) else None,
        tuple(images),
        mask,
        tuple(faults),
        tuple(notes),
    )


def _path(study: Study, prior: Study | None, source: Source) -> Path | None:
    """The file of a source; None if the study or its prior lacks it."""
    whose = prior if source.prior else study
    return whose.images.get(source.contrast) if whose else None


def _read_mask(mask: MaskFile, images: Sequence[Scan]) -> tuple[MaskAudit | None, tuple[str, ...]]:
    try:
        scan = read_scan(mask.path)
    except UnreadableScanError as error:
        return None, (str(error),)
    return audit_mask(scan, mask.label, images)


def _apart(study: Study, scans: Mapping[Source, Scan]) -> Iterator[str]:
    """Images whose field of view has nothing in common with the first one's."""
    read = list(scans.items())
    for source, scan in read[1:]:
        first_source, first = read[0]
        if not overlap(first.grid, scan.grid):
            yield (
                f"{study.name}, {source} ({scan.path}): it shows nothing of what {first_source} "
                f"({first.path}) shows, their fields of view are apart; check that both are of one patient "
                "and session, and register them"
            )


def _copies(rows: Sequence[StudyAudit]) -> Iterator[str]:
    """Different files that hold the same voxels, under two names."""
    first: dict[str, tuple[Path, str]] = {}
    seen: set[Path] = set()
    for row in rows:
        for image in row.images:
            if image.path in seen or isnan(image.median):
                continue
            seen.add(image.path)
            where = f"{row.study}, {image.source}"
            path, earlier = first.setdefault(image.digest, (image.path, where))
            if path != image.path:
                yield (
                    f"{where} ({image.path}): the same voxels as {earlier} ({path}); one is a copy of the "
                    "other: remove it, or put the right scan in its place"
                )


def _as_json(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _as_json(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_as_json(part) for part in value]
    if isinstance(value, float) and isnan(value):
        return None
    return str(value) if isinstance(value, Path) else value
