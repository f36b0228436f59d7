"""What a source model and a target task do not have in common, in words."""

from collections.abc import Collection

from lesionseg.weights.checkpoint import ModelCard
from lesionseg.weights.formats import ForeignCard

_SPACING_RATIO = 1.5


def differences(
    source: ModelCard | ForeignCard,
    target: ModelCard,
    test_subjects: Collection[str] = (),
    *,
    threshold_to_be_chosen: bool = False,
) -> list[str]:
    """One sentence for each difference that is known to matter; a warning where it is known to hurt.

    Args:
        source: the model that the weights come from; of another program's, what it tells.
        target: the model that is trained from them.
        test_subjects: whom the target is scored on: a source that has seen them makes the scores worthless.
        threshold_to_be_chosen: the target's is only what it starts with, so that it is no difference.
    """
    found = []
    if source.spacing is not None:
        ratios = [max(a / b, b / a) for a, b in zip(source.spacing, target.spacing, strict=True)]
        if max(ratios) > 1:
            warning = " (WARNING: more than 1.5 times)" if max(ratios) > _SPACING_RATIO else ""
            found.append(f"spacing {source.spacing} mm there, {target.spacing} mm here{warning}")
    fields = ["task", "target", "inputs", "patch_size", "threshold", "dataset"]
    if threshold_to_be_chosen:
        fields.remove("threshold")
    for field in fields:
        there, here = getattr(source, field, None), getattr(target, field)
        if there is not None and there != here:
            found.append(f"{field} {there!r} there, {here!r} here")
    if source.normalisation not in (None, target.normalisation):
        found.append(f"WARNING: normalisation {source.normalisation!r} there, {target.normalisation!r} here")
    if isinstance(source, ForeignCard):
        untold = [field for field in ("inputs", "spacing", "normalisation") if getattr(source, field) is None]
        if untold:
            found.append(f"WARNING: {source.program} does not tell the source's {', '.join(untold)}")
        return [*found, *source.notes]
    shared = sorted(set(source.train_subjects) & set(target.train_subjects))
    if source.dataset == target.dataset and shared:
        found.append(f"the source was trained on {len(shared)} of this dataset's subjects")
    seen = sorted(set(source.train_subjects) & set(test_subjects))
    if source.dataset == target.dataset and seen:
        found.append(
            f"WARNING: the source was trained on {len(seen)} of the test subjects ({', '.join(seen[:5])}"
            f"{', ...' if len(seen) > 5 else ''}): its scores here say nothing of new patients"
        )
    return found
