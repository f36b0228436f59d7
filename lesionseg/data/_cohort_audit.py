"""What a cohort has and lacks for a task, before any voxel is read."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from lesionseg.data.channels import Source
from lesionseg.data.study import Cohort, Study


def lacks(study: Study, prior: Study | None, sources: Sequence[Source], target: str | None) -> tuple[str, ...]:
    """What a task needs and a study has not, in words; empty if it can be used."""
    needs: list[str] = [
        f"no contrast '{source.contrast}'"
        for source in sources
        if not source.prior and source.contrast not in study.images
    ]
    if any(source.prior for source in sources) and prior is None:
        needs.append("no session before it")
    needs += [
        f"no contrast '{source.contrast}' in the session before it ({prior.name})"
        for source in sources
        if source.prior and prior is not None and source.contrast not in prior.images
    ]
    if target is not None and target not in study.masks:
        needs.append(f"no mask for the target '{target}'")
    return tuple(needs)


def cohort_faults(cohort: Cohort) -> Iterator[str]:
    """Studies that stand in the cohort twice, and subjects in two splits."""
    for name, count in Counter(study.name for study in cohort.studies).items():
        if count > 1:
            yield f"{name} stands in the cohort {count} times; keep one study for each subject and session"
    splits: dict[str, set[str]] = defaultdict(set)
    for study in cohort.studies:
        if study.split is not None:
            splits[study.subject].add(study.split)
    for subject, found in splits.items():
        if len(found) > 1:
            yield (
                f"sub-{subject} is in the splits {' and '.join(sorted(found))}; all sessions of a subject "
                "belong to one, or the test would see patients of the training"
            )


def nothing_usable(cohort: Cohort, sources: Sequence[Source], target: str | None) -> str:
    """Why a task can use no study of a cohort at all."""
    studies = cohort.studies
    if not studies:
        return f"{cohort.name}: no study in {cohort.root}; check the dataset's root and its list of subjects"
    contrasts = dict.fromkeys(contrast for study in studies for contrast in study.images)
    targets = dict.fromkeys(name for study in studies for name in study.masks)
    reasons = [
        f"no study has contrast '{contrast}' (contrasts found: {', '.join(contrasts) or 'none'})"
        for contrast in dict.fromkeys(source.contrast for source in sources)
        if contrast not in contrasts
    ]
    if any(source.prior for source in sources) and len(cohort.subjects) == len(studies):
        reasons.append("no subject has two sessions, so that no study has one before it")
    if target is not None and target not in targets:
        reasons.append(f"no study has a mask for the target '{target}' (targets found: {', '.join(targets) or 'none'})")
    if not reasons:
        reasons.append("each needed image and mask is there for some study, but for none all of them are")
    return (
        f"{cohort.name}: no study can be used for this task: {'; '.join(reasons)}. Choose another task, or "
        "add what is missing to the dataset's 'images' and 'masks'"
    )
