"""``lesionseg evaluate``: score a trained model on labelled studies, or a sweep's stored predictions once more."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from textwrap import fill
from typing import Any

import pandas as pd
from tabulate import tabulate

from lesionseg.commands.compare import OWN, changed_note
from lesionseg.commands.initialise import checkpoint_path
from lesionseg.commands.plan import cache_of, load_dataset, outputs, store_of, to_paste, triple
from lesionseg.commands.scoring import ScoreTables, criteria_of, scores_text, segment
from lesionseg.commands.sweep_runs import RunFiles, finished_runs, run_key, sections_of, stored_predictions
from lesionseg.config.schema import EvaluateConfig, ExportConfig, PredictConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.data.dataset import parse_channel, select_studies
from lesionseg.data.quality_control import audit
from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.io import check_writable, progress_bar, write_csv, write_json, written_whole
from lesionseg.metrics import UNDEFINED_POLICY, Criterion, score_criteria
from lesionseg.report.scores import arm_means, ranking_text
from lesionseg.tracking.mlflow_store import Run
from lesionseg.tracking.sweep import find_parent
from lesionseg.transfer.checkpoint import ModelCard, SourceModel, load_model

_WIDTH = 110  # letters in a line of text


def evaluate(config: EvaluateConfig) -> int:
    """Score a model on every study that has its channels and its target's mask, or a sweep's stored predictions."""
    if config.sweep is not None:
        return _evaluate_sweep(config, config.sweep)
    models = load_checkpoints(config)
    card = models[0].card
    studies = _prepare_studies(config, card)
    if config.min_volume is not None:
        card = replace(card, min_lesion_volume=config.min_volume)
    threshold = mean_threshold(models) if config.threshold is None else config.threshold
    tables, networks = ScoreTables(config.metrics), [model.network() for model in models]
    with progress_bar("Scoring", "study", len(studies)) as shown:
        for segmentation in segment(networks, card, studies, config.trainer, threshold=threshold):
            tables.add(segmentation, card)
            shown.update()
    output = Path(config.output).expanduser().resolve()
    tables.write(output)
    averages, metrics = tables.averages, tables.metrics()
    origins, weights = (", ".join(found) for found in zip(*((one.origin, one.digest) for one in models), strict=True))
    record = {"checkpoint": origins, "weights": weights, "threshold": threshold}
    write_json(output / "scores.json", {**record, **metrics})
    columns = ["study", "n_reference", "n_prediction", "lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"]
    print(tabulate([[case[name] for name in columns] for case in tables.cases], headers=columns, floatfmt=".2f"))
    scores = ("sensitivity", "ppv", "f1")
    means = [
        [name, *(metrics[f"verdict/{name}/lesion_{score}"] for score in scores)] for name in config.metrics.criteria
    ]
    print("\nMeans under other criteria\n" + tabulate(means, ["criterion", "sensitivity", "PPV", "F1"], floatfmt=".2f"))
    print(
        f"\nA lesion counts from {card.min_lesion_volume} mm³ ({card.criterion.connectivity}-connected) and is "
        f"{card.criterion.describe()}; threshold {threshold:g}. Means over "
        f"{averages['lesion_sensitivity'].n} studies with lesions: {scores_text(averages)}."
    )
    print(f"\n{fill(UNDEFINED_POLICY, _WIDTH)}\n\nWritten to {output}")
    return 0


def _evaluate_sweep(config: EvaluateConfig, sweep: str) -> int:
    """Score every stored test prediction of a sweep under the task's own and the configured criteria, and tell whether
    the arms' ranking depends on the criterion."""
    output = Path(config.output).expanduser().resolve() / sweep
    check_writable("output", output)
    store = store_of(config.tracking, config.paths, create=False)
    runs = finished_runs(store, config.paths, sweep)
    _, task = sections_of(RunFiles.of(store, runs.finished[0]))
    smallest = task.min_lesion_volume if config.min_volume is None else config.min_volume
    criteria: dict[str, Criterion] = {OWN: build(task.matching, Criterion), **criteria_of(config.metrics)}
    rows: list[dict[str, Any]] = []
    changed: list[str] = []
    for one in stored_predictions(store, runs.finished, config.dataset, changed):
        scores = score_criteria(one.reference, one.prediction, one.spacing, criteria, min_volume_mm3=smallest)
        place = dict(zip(("init", "train_size", "repeat"), one.key, strict=True))
        place |= {key: one.case[key] for key in ("study", "subject", "session")}
        rows += [{**place, "criterion": rule, **asdict(found)} for rule, found in scores.items()]
    means = arm_means(pd.DataFrame(rows))
    print(ranking_text(means))
    notes = [
        *runs.unfinished,
        *([changed_note(changed)] if changed else []),
        f"A lesion counts from {smallest:g} mm³, unless a criterion has a minimum of its own; the stored masks were "
        f"made without components below {task.min_lesion_volume:g} mm³. {OWN} is the criterion of the runs "
        "themselves. Means over patients with reference lesions; whether a difference is more than chance, lesionseg "
        "compare tells.",
        UNDEFINED_POLICY,
    ]
    print("\n" + "\n".join(fill(note, _WIDTH) for note in notes))
    files = [write_csv(output / "criteria.csv", rows), output / "criteria.md"]
    with written_whole(files[1]) as partial:
        text = [f"# {sweep} under {len(criteria)} criteria", ranking_text(means, "github"), *notes]
        partial.write_text("\n\n".join(text) + "\n", encoding="utf-8")
    parent = find_parent(store, sweep)
    assert parent is not None, "its runs have one"
    for file in files:
        Run(store, parent).log_file(file, "criteria")
    page = to_paste(f"ui sweep={sweep}", config.paths, config.tracking)
    print(f"Written to {output} and to the sweep's parent run in MLflow ({page})")
    return 0


def load_checkpoints(config: EvaluateConfig | PredictConfig | ExportConfig) -> list[SourceModel]:
    """Return the model that ``checkpoint`` names, or all repeats of ``sweep:<name>/<init>/<train_size>``."""
    named, downloads = str(config.checkpoint), outputs(config.paths) / "cache" / "models"
    check_writable("paths.outputs", outputs(config.paths))
    check_writable("output", Path(config.output).expanduser().resolve())
    in_mlflow = named.startswith(("runs:/", "models:/", "sweep:"))
    store = store_of(config.tracking, config.paths, create=False) if in_mlflow else None
    addresses = [named]
    if store is not None and named.startswith("sweep:"):
        sweep, *place = named.removeprefix("sweep:").split("/")
        runs = finished_runs(store, config.paths, sweep).finished
        addresses = [f"runs:/{run.info.run_id}" for run in runs if [str(key) for key in run_key(run)[:2]] == place]
        if not addresses:
            places = sorted({f"sweep:{sweep}/{init}/{size}" for init, size, _ in map(run_key, runs)})
            raise InputError(f"checkpoint {named}: no finished run is there; there are {', '.join(places)}")
    found = [_load(checkpoint_path(address, store, downloads), trust=config.trust) for address in addresses]
    return [replace(one, origin=name) if store else one for one, name in zip(found, addresses, strict=True)]


def mean_threshold(models: Sequence[SourceModel]) -> float:
    """Return the threshold of several models' mean."""
    return sum(model.card.threshold for model in models) / len(models)


def _load(path: Path, *, trust: bool) -> SourceModel:
    source = load_model(path, trust=trust)
    try:
        source.card.criterion  # noqa: B018
    except ValueError as error:
        raise InputError(
            f"checkpoint {source.origin}: its criterion {source.card.matching} cannot be made again ({error}); install "
            "what it was trained with"
        ) from error
    return source


def _prepare_studies(config: EvaluateConfig, card: ModelCard) -> Sequence[CachedStudy]:
    """Prepare the studies that have what the model needs and a mask, after a look for faults."""
    assert config.dataset is not None, "the schema asks for it"
    dataset = load_dataset(config.dataset, config.subjects)
    channels = [parse_channel(name) for name in card.inputs]
    found = select_studies(dataset, channels, card.target)
    if not found:
        wanted = f"the channels {card.inputs} and a mask {card.target!r}"
        raise InputError(
            f"{dataset.name} ({dataset.root}): no study has {wanted}, which the model of {config.checkpoint} needs; "
            "see lesionseg check"
        )
    faults = audit(dataset, channels, card.target).faults["text"]
    if len(faults):
        raise InputError(faults)
    cache, spacing = cache_of(config.paths), triple(card.spacing)
    ready = []
    with progress_bar("Preparing studies", "study", len(found)) as shown:
        for study in found:
            ready.append(cache.get(study, spacing))
            shown.update()
    return ready
