"""The learning rate of a run, chosen from a few on its validation studies before it is trained."""

import copy
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import nn

from lesionseg.config.schema import TrainConfig
from lesionseg.data.cache import CachedStudy
from lesionseg.data.files import write_json
from lesionseg.runs.assemble import assemble, machine_of
from lesionseg.training import NotFiniteError, rehearse
from lesionseg.weights import ModelCard, TransferReport

NAN = float("nan")


@dataclass(frozen=True)
class Candidate:
    """A learning rate, and what a short training with it came to.

    Args:
        learning_rate: at the end of the warm-up.
        score: the monitored one on the validation studies, 0 … 1; NaN: undefined, or the training broke off.
        loss: of the segmentation, mean over the last quarter of the steps; NaN: it became NaN or infinite, and the
            training broke off.
    """

    learning_rate: float
    score: float
    loss: float


@dataclass(frozen=True)
class LearningRateChoice:
    """The learning rate of a run.

    Args:
        learning_rate: the chosen one.
        candidates: what it was chosen from, in the configuration's order.
    """

    learning_rate: float
    candidates: tuple[Candidate, ...]

    def in_words(self) -> str:
        """Every candidate with its score."""
        return ", ".join(
            f"{one.learning_rate:g} ({'not finite' if math.isnan(one.loss) else f'{one.score:.2f}'})"
            for one in self.candidates
        )


def choose_learning_rate(
    config: TrainConfig,
    network: nn.Module,
    card: ModelCard,
    report: TransferReport,
    studies: Mapping[str, Sequence[CachedStudy]],
    record: Path,
) -> LearningRateChoice:
    """Try each of ``optim.learning_rates`` and choose the one with the highest score on the validation studies.

    Each is trained for ``optim.search_steps`` from the same first weights, on the patches that the run itself begins
    with, in a schedule of its own: the warm-up no longer than that, the decay over the steps that are left, and starts
    that ``init.train_from`` gives as shares of all steps at these shares of it. It is validated once, at its end.

    Args:
        config: of the run, with candidates.
        network: with its first weights; each candidate trains a copy of it, and it stays as it is.
        card: what the model is.
        report: where its weights come from.
        studies: by part, ``train`` and ``validation``; never those of the test.
        record: JSON file that tells what was chosen from what. Where it tells of these very candidates, the search was
            made before and is not repeated.

    Raises:
        NotFiniteError: the loss of every candidate became NaN or infinite.
    """
    candidates = _recorded(config, record)
    if candidates is None:
        candidates = [_try(_in_small(config, rate), network, card, report, studies) for rate in config.candidate_rates]
    chosen = best_candidate(candidates)
    content = {"chosen": chosen.learning_rate, "candidates": [asdict(one) for one in candidates], **_terms(config)}
    write_json(record, content)
    return LearningRateChoice(chosen.learning_rate, tuple(candidates))


def best_candidate(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate with the highest score; where several have it, the lowest loss of theirs decides, then the rate,
    the smallest first. An undefined score counts as 0, and what broke off is not chosen.

    Raises:
        NotFiniteError: all of them broke off.
    """
    whole = [one for one in candidates if not math.isnan(one.loss)]
    if not whole:
        rates = ", ".join(f"{one.learning_rate:g}" for one in candidates)
        raise NotFiniteError(
            f"the loss became NaN or infinite with each of optim.learning_rates=[{rates}]; give lower ones, set "
            "trainer.precision=32-true, or look at the studies with lesionseg check"
        )
    return min(whole, key=lambda one: (-one.score if one.score > 0 else 0.0, one.loss, one.learning_rate))


def with_learning_rate(config: TrainConfig, rate: float) -> TrainConfig:
    """The configuration with one rate instead of several."""
    optim = config.optim.model_copy(update={"learning_rate": rate, "learning_rates": None})
    return config.model_copy(update={"optim": optim})


def _in_small(config: TrainConfig, rate: float) -> TrainConfig:
    """The run as a candidate makes it."""
    steps = config.optim.search_steps
    small = with_learning_rate(config, rate)
    return small.model_copy(
        update={
            "optim": small.optim.model_copy(update={"warmup_steps": min(small.optim.warmup_steps, steps)}),
            "trainer": small.trainer.model_copy(update={"steps": steps, "validate_every": steps}),
        }
    )


def _try(
    config: TrainConfig,
    network: nn.Module,
    card: ModelCard,
    report: TransferReport,
    studies: Mapping[str, Sequence[CachedStudy]],
) -> Candidate:
    rate = config.optim.learning_rate
    module, data = assemble(config, copy.deepcopy(network), card, report, studies)
    try:
        end = rehearse(
            module,
            data,
            machine=machine_of(config.trainer),
            monitor=config.metrics.monitor,
            gradient_clip=config.optim.gradient_clip,
        )
    except NotFiniteError:
        return Candidate(rate, NAN, NAN)
    return Candidate(rate, end.score, end.loss)


def _terms(config: TrainConfig) -> dict[str, Any]:
    """What a search depends on beside its candidates, as the record has it."""
    return {"steps": config.optim.search_steps, "monitor": config.metrics.monitor}


def _recorded(config: TrainConfig, record: Path) -> list[Candidate] | None:
    """The candidates of an earlier search, None if there was none, or another one."""
    if not record.is_file():
        return None
    content = json.loads(record.read_text(encoding="utf-8"))
    if {key: content.get(key) for key in _terms(config)} != _terms(config):
        return None
    found = [
        Candidate(**{key: NAN if value is None else value for key, value in one.items()})
        for one in content["candidates"]
    ]
    return found if [one.learning_rate for one in found] == list(config.candidate_rates) else None
