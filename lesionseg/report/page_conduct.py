"""The page's tables of what was run."""

from math import isnan

from lesionseg.report.cells import NOTHING
from lesionseg.report.conduct import Conduct
from lesionseg.report.page_tables import Cell, Table, by_size


def conduct_table(conduct: Conduct) -> Table:
    """What was run, an item a row."""
    items = {
        "Task": f"{conduct.task}: {', '.join(conduct.inputs)} → {conduct.target}",
        "Data": f"{conduct.dataset}, {conduct.n_subjects} subjects, of whom {conduct.n_validation} for validation and "
        f"{conduct.n_test} for the test; voxels of {conduct.spacing} mm",
        "Training studies": ", ".join(map(str, conduct.sizes)),
        "Repeats": str(len(conduct.repeats)),
        "Network": conduct.model,
        "Optimiser steps": conduct.steps,
        "Patches per step": f"{conduct.batch_size}, of {conduct.patch_size} voxels",
        "Learning rates": "; ".join(conduct.learning_rates),
        "Checkpoint chosen by": conduct.monitor,
        "Criterion": conduct.criterion + (" (scored again from the stored predictions)" if conduct.rescored else ""),
        "Smallest lesion": f"{conduct.min_volume:g} mm³",
        "Threshold": conduct.threshold,
        "Undefined scores": conduct.undefined,
        "Versions": ", ".join(f"{name} {version}" for name, version in conduct.versions.items()),
    }
    rows = [(Cell((name,), head=True), Cell((text,))) for name, text in items.items() if text]
    return Table("conduct", f"What was run in {conduct.sweep or conduct.task}.", ("", ""), tuple(rows))


def transfer_table(conduct: Conduct) -> Table | None:
    """Where each arm's first weights come from; None where nobody knows."""
    if not conduct.transfers:
        return None
    rows = [
        (
            Cell((one.arm,), head=True),
            Cell((one.source or "none: drawn from the seed", one.source_task)),
            Cell((one.source_digest[:12] or NOTHING,)),
            Cell((f"{100 * one.loaded_share:.0f} %",)),
            Cell((f"{one.adapted} / {one.fresh} / {one.skipped}",)),
            Cell((NOTHING if isnan(one.trained_share) else f"{100 * one.trained_share:.0f} %",)),
            Cell(
                ("; ".join([*(f"{key}: {value}" for key, value in one.strategy.items()), *one.differences]) or NOTHING,)
            ),
        )
        for one in conduct.transfers
    ]
    header = ("Arm", "Weights from", "SHA-256", "Loaded", "Adapted / fresh / skipped", "Trained at first", "Besides")
    return Table(
        "transfer", "First weights of each arm, from the transfer report of its first run.", header, tuple(rows)
    )


def split_table(conduct: Conduct) -> Table | None:
    """The hash of who trained, validated and tested; None where it is not known."""
    if not conduct.splits:
        return None
    cells = [(one.train_size, str(one.repeat), (one.sha256,)) for one in conduct.splits]
    caption = "SHA-256 of the subjects of each size and repeat, as in split.json."
    return Table("splits", caption, ("Training studies", "Repeat", "SHA-256"), by_size(cells))
