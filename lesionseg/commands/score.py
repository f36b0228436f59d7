"""``lesionseg score``: anybody's masks against reference masks; needs no model and no MLflow."""

from pathlib import Path

from lesionseg import __version__
from lesionseg.config.schema import ScoreConfig
from lesionseg.data.pairing import FilePair, PairVoxels, UnpairedError, pair_files, read_pair, read_pairs
from lesionseg.errors import InputError
from lesionseg.instantiate import build
from lesionseg.io import check_writable, progress_bar, write_json
from lesionseg.metrics import Criterion, LesionCurve, StudyScores, lesion_curve, pool_curves, score_study
from lesionseg.report.scores import ScoredCases


def score(config: ScoreConfig) -> int:
    """Pair the files, score every case, print the tables and write the JSON file."""
    output = Path(config.output).expanduser().resolve() if config.output else None
    if output is not None:
        if output.is_dir():
            raise InputError(f"output={config.output}: is a folder; name a file, such as scores.json")
        check_writable("output", output.parent)
    faults: list[str] = []
    try:
        pairs = _pairs(config)
    except UnpairedError as error:  # the others are read nevertheless, so that all that is wrong is told at once
        faults, pairs = list(error.faults), list(error.pairs)
    if output is not None and any(output in (pair.reference.resolve(), pair.prediction.resolve()) for pair in pairs):
        raise InputError(
            f"output={config.output}: is one of the files to be scored; name another one, such as scores.json"
        )
    criteria = {name: build(spec, Criterion) for name, spec in config.metrics.criteria.items()}
    scored = _score_all(config, pairs, criteria, faults)
    print(scored.to_text())
    if output is not None:
        write_json(output, scored.to_json())
        print(f"\nWritten to {output}")
    return 0


def _pairs(config: ScoreConfig) -> list[FilePair]:
    if config.pairs is not None:
        return read_pairs(Path(config.pairs).expanduser())
    assert config.reference is not None, "the schema asks for both"
    assert config.prediction is not None, "the schema asks for both"
    return pair_files(config.reference, config.prediction, probabilities=config.threshold is not None)


def _score_all(
    config: ScoreConfig, pairs: list[FilePair], criteria: dict[str, Criterion], faults: list[str]
) -> ScoredCases:
    """Score until a file is found wanting; from then on, and where there are faults already, look for faults alone."""
    metrics = config.metrics
    spacings: dict[str, tuple[float, float, float]] = {}
    studies: dict[str, StudyScores] = {}
    curves: list[LesionCurve] = []
    with progress_bar("Scoring", "case", len(pairs)) as shown:
        for pair in pairs:
            try:
                case = read_pair(
                    pair,
                    threshold=config.threshold,
                    reference_label=config.reference_label,
                    prediction_label=config.prediction_label,
                )
            except InputError as error:
                faults += error.faults
            if not faults:
                spacings[case.name] = case.grid.spacing
                studies[case.name], curve = _score_case(config, case, criteria)
                curves += [curve] if curve else []
            shown.update()
    if faults:
        raise InputError(faults)
    options = {
        "threshold": config.threshold,
        "reference_label": config.reference_label,
        "prediction_label": config.prediction_label,
        "min_volume_mm3": config.min_volume,
        "surface_tolerance_mm": metrics.surface_tolerance,
        "lowest_probability": metrics.lowest_probability,
        "lesionseg": __version__,
    }
    return ScoredCases(
        criteria,
        spacings,
        studies,
        pool_curves(curves) if curves else None,
        metrics.volume_edges,
        metrics.false_positives,
        metrics.surface_tolerance,
        options,
    )


def _score_case(
    config: ScoreConfig, case: PairVoxels, criteria: dict[str, Criterion]
) -> tuple[StudyScores, LesionCurve | None]:
    """One case under all criteria, the first one in front; and its curve, where there is a probability map."""
    metrics, first = config.metrics, next(iter(criteria.values()))
    scores = score_study(
        case.reference,
        case.prediction,
        case.grid.affine,
        first,
        probability=case.probability,
        min_volume_mm3=config.min_volume,
        criteria=criteria,
        volume_edges_mm3=metrics.volume_edges,
        tolerance_mm=metrics.surface_tolerance,
    )
    if case.probability is None:
        return scores, None
    curve = lesion_curve(
        case.reference,
        case.probability,
        case.grid.spacing,
        connectivity=first.connectivity,
        min_volume_mm3=config.min_volume if first.min_volume_mm3 is None else first.min_volume_mm3,
        lowest=metrics.lowest_probability,
    )
    return scores, curve
