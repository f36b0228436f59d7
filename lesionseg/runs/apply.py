"""A trained model and the studies it is applied to, as ``evaluate`` and ``predict`` want them."""

from collections.abc import Sequence
from pathlib import Path

from lesionseg.config.schema import EvaluateConfig, PredictConfig
from lesionseg.data.audit import audit
from lesionseg.data.cache import CachedStudy
from lesionseg.data.channels import parse_channel
from lesionseg.data.selection import select_studies
from lesionseg.errors import InputError
from lesionseg.runs.cohort import load_cohort
from lesionseg.runs.initialise import checkpoint_path
from lesionseg.runs.plan import cache_of, outputs, store_of, triple
from lesionseg.runs.progress import bar
from lesionseg.runs.writable import check_writable
from lesionseg.weights import ModelCard, SourceModel, load_model


def load_source(config: EvaluateConfig | PredictConfig) -> SourceModel:
    """The model that ``checkpoint`` names.

    Raises:
        InputError: there is none, or outputs cannot be written.
    """
    assert config.checkpoint is not None, "the schema asks for it"
    check_writable("paths.outputs", outputs(config.paths))
    check_writable("output", Path(config.output).expanduser().resolve())
    named = config.checkpoint.startswith("runs:/")
    store = store_of(config.tracking, config.paths, create=False) if named else None
    source = load_model(checkpoint_path(config.checkpoint, store, outputs(config.paths) / "cache" / "models"))
    try:
        source.card.criterion  # noqa: B018
    except ValueError as error:
        raise InputError(
            f"checkpoint {source.origin}: its criterion {source.card.matching} cannot be made again ({error}); install "
            "what it was trained with"
        ) from error
    return source


def labelled_or_not(
    config: EvaluateConfig | PredictConfig, card: ModelCard, *, labelled: bool
) -> Sequence[CachedStudy]:
    """The prepared studies that have what the model needs, after a look for faults.

    Args:
        config: names the dataset.
        card: names channels and target.
        labelled: whether a study must have a mask of the target.

    Raises:
        InputError: faulty scans, or no study at all.
    """
    assert config.dataset is not None, "the schema asks for it"
    cohort = load_cohort(config.dataset, config.subjects)
    channels = [parse_channel(name) for name in card.inputs]
    target = card.target if labelled else None
    found = select_studies(cohort, channels, target)
    if not found:
        wanted = f"the channels {card.inputs}" + (f" and a mask {card.target!r}" if labelled else "")
        raise InputError(
            f"{cohort.name} ({cohort.root}): no study has {wanted}, which the model of {config.checkpoint} needs; "
            "see lesionseg check"
        )
    faults = audit(cohort, channels, target).faults
    if faults:
        raise InputError(faults)
    cache, spacing = cache_of(config.paths), triple(card.spacing)
    with bar("Preparing studies", "study", len(found)) as shown:
        return cache.get_all(found, spacing, lambda done, _: shown.update(done - shown.n))
