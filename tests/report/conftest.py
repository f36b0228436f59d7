"""What runs tell of themselves, and a comparison of them, made up."""

from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lesionseg.report import (
    ArmMean,
    ArmSavings,
    Comparison,
    Conduct,
    FrocBand,
    LearningCurve,
    MatchedPpv,
    PatientScore,
    RecordedRun,
    RepeatMean,
    Results,
    Share,
    SizeDifference,
    SizeStratum,
    SplitDigest,
    TransferSummary,
    Validation,
    WeightSource,
    WithoutLesions,
)
from lesionseg.stats import (
    clustered_ratio,
    crossed_difference,
    isotonic_curve,
    label_savings,
    mixed_model,
    power_law_curve,
    sign_flip_test,
    summarise,
    wilcoxon_test,
)

SOURCE = WeightSource("runs:/4f2a", "flair_lesions", "1a2b3c4d" * 8, 1.0)


@pytest.fixture
def arm_runs() -> Callable[..., list[RecordedRun]]:
    """Runs of one arm over sizes and repeats: ``arm_runs("scratch", (2, 5), monitor="val/dice")``; ``each`` gives
    further fields of a run by its size and repeat."""

    def make(
        arm: str,
        sizes: Sequence[int] = (2, 5),
        repeats: Sequence[int] = (0, 1, 2),
        *,
        settings: dict[str, Any] | None = None,
        each: Callable[[int, int], dict[str, Any]] = lambda size, repeat: {},
        **further: Any,
    ) -> list[RecordedRun]:
        base: dict[str, Any] = {
            "settings": {"trainer.steps": 200, "optim.learning_rate": 0.005, **(settings or {})},
            "source": None if arm == "scratch" else SOURCE,
            "learning_rate": 0.005,
            "monitor": "val/dice",
        }
        return [
            RecordedRun(arm, size, repeat, **{**base, "subjects": f"{size}/{repeat}", **further, **each(size, repeat)})
            for size in sizes
            for repeat in repeats
        ]

    return make


SCORES = ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")
ARMS = ("scratch", "pretrained", "frozen", "adapter", "l2_sp", "gradual", "linear_probe", "shuffled")
SENTENCE = "pretrained with 2 studies reaches what scratch reaches with 4.5 (95 % interval 3 to more than 20)."


class MadeUp:  # the fixture `made_up` hands it to the tests
    """Scores of each arm, size, score, patient and repeat, and what a comparison makes of them.

    Args:
        arms: names, the reference first.
        sizes: training studies.
        repeats: how many.
        patients: test patients with lesions.
        level: what all scores are, if they are not to be random.
        without: cells (arm, size) that have no run.
    """

    def __init__(
        self,
        arms: Sequence[str] = ARMS[:3],
        sizes: Sequence[int] = (2, 5, 10, 20),
        repeats: int = 3,
        patients: int = 12,
        level: float | None = None,
        without: Sequence[tuple[str, int]] = (),
    ) -> None:
        self.arms, self.sizes, self.repeats, self.patients = tuple(arms), tuple(sizes), repeats, patients
        random = np.random.default_rng(0)
        hard, luck = random.normal(0, 0.15, patients), random.normal(0, 0.03, repeats)
        self.scores: dict[tuple[str, int], np.ndarray[Any, Any]] = {}
        for number, arm in enumerate(arms):
            for size in sizes:
                gain = (0.25 - 0.03 * number) * size**-0.5 if number else 0.0
                noise = random.normal(0, 0.05, (len(SCORES), patients, repeats))
                drawn = 0.75 - 0.5 * size**-0.6 + gain + hard[:, None] + luck + noise
                if (arm, size) not in without:
                    self.scores[arm, size] = np.clip(drawn, 0, 1) if level is None else np.full(noise.shape, level)

    def of(self, arm: str, size: int, score: str) -> np.ndarray[Any, Any]:
        """Patients × repeats; NaN where there is no run."""
        nothing = np.full((len(SCORES), self.patients, self.repeats), nan)
        return self.scores.get((arm, size), nothing)[SCORES.index(score)]

    def mean(self, arm: str, size: int, score: str) -> ArmMean:
        """One row of the means."""
        table = self.of(arm, size, score)
        found = summarise(table.mean(axis=1))
        reach = 2.2 * found.standard_error
        lesions = np.arange(1, self.patients + 1)
        pooled = clustered_ratio(lesions * table.mean(axis=1), lesions) if score in SCORES[:2] else None
        repeats = tuple(RepeatMean(number, float(mean)) for number, mean in enumerate(table.mean(axis=0)))
        return ArmMean(
            arm, size, score, found.mean, found.standard_error, found.mean - reach, found.mean + reach,
            found.n, 1, repeats, pooled,
        )  # fmt: skip

    def difference(self, arm: str, size: int, score: str) -> SizeDifference:
        """One row of the differences."""
        table = self.of(arm, size, score) - self.of(self.arms[0], size, score)
        crossed = crossed_difference(table)
        adjusted = min(1.0, crossed.p * 12) if score != "dice" else nan
        mixed = mixed_model(table) if size == self.sizes[0] else None
        others = (sign_flip_test(table, n_resamples=500), wilcoxon_test(table), mixed)
        return SizeDifference(arm, self.arms[0], size, score, crossed, adjusted, *others)

    def results(self) -> Results:
        """All the numbers of the table."""
        there = [(arm, size, score) for size in self.sizes for score in SCORES for arm in self.arms]
        there = [cell for cell in there if cell[:2] in self.scores]
        compared = [cell for cell in there if cell[0] != self.arms[0] and (self.arms[0], cell[1]) in self.scores]
        return Results(
            arms=self.arms,
            sizes=self.sizes,
            repeats=tuple(range(self.repeats)),
            n_patients=self.patients + 1,
            n_patients_with_lesions=self.patients,
            n_studies=self.patients + 1,
            n_inconsistent=0,
            means=tuple(self.mean(*cell) for cell in there),
            differences=tuple(self.difference(*cell) for cell in compared),
            n_tests=sum(score != "dice" for _, _, score in compared),
            without_lesions=tuple(WithoutLesions(a, s, 1, 0.67, 0.012, 0.33) for a, s, d in there if d == "dice"),
            missing=tuple(
                f"{arm}, train_size {size}, repeat {repeat} has no finished run"
                for arm in self.arms
                for size in self.sizes
                for repeat in range(self.repeats)
                if (arm, size) not in self.scores
            ),
            patients=tuple(
                PatientScore(*cell, f"sub-{patient:02d}", float(value))
                for cell in there
                for patient, value in enumerate(self.of(*cell).mean(axis=1))
            ),
        )

    def curves(self) -> tuple[LearningCurve, ...]:
        """A curve per score and arm."""
        return tuple(self._curve(arm, score) for score in SCORES for arm in self.arms)

    def _curve(self, arm: str, score: str) -> LearningCurve:
        sizes = tuple(size for size in self.sizes if (arm, size) in self.scores)
        rows = [self.mean(arm, size, score) for size in sizes]
        means = tuple(row.mean for row in rows)
        by_repeat = {number: tuple(row.by_repeat[number].mean for row in rows) for number in range(self.repeats)}
        ends = (tuple(row.low for row in rows), tuple(row.high for row in rows))
        isotonic = isotonic_curve(sizes, means) if len(sizes) > 1 else None
        power_law = power_law_curve(sizes, means) if len(sizes) > 2 else None
        return LearningCurve(arm, score, sizes, means, *ends, by_repeat, isotonic, power_law)

    def savings(self) -> tuple[ArmSavings, ...]:
        """What every arm but the first saves."""
        if len(self.sizes) < 2:
            return tuple(
                ArmSavings(arm, self.arms[0], s, None, "One size.") for s in SCORES[:3] for arm in self.arms[1:]
            )
        cubes = {
            (arm, score): np.array([self.of(arm, size, score) for size in self.sizes])
            for arm in self.arms
            for score in SCORES
        }
        return tuple(
            ArmSavings(arm, self.arms[0], score, found, SENTENCE)
            for score in SCORES[:3]
            for arm in self.arms[1:]
            for found in [label_savings(self.sizes, cubes[self.arms[0], score], cubes[arm, score], n_resamples=100)]
        )

    def strata(self) -> tuple[SizeStratum, ...]:
        """Four ranges of volumes; the last one is empty at the first size."""
        edges = (0.0, 10.0, 30.0, 100.0, inf)
        return tuple(
            SizeStratum(arm, size, edges[bin], edges[bin + 1], self._share(arm, size, bin), Share(0.5, 0.06, 9, 30.0))
            for size in self.sizes
            for arm in self.arms
            for bin in range(4)
            if (arm, size) in self.scores
        )

    def _share(self, arm: str, size: int, bin: int) -> Share:
        empty = bin == 3 and size == self.sizes[0]
        mean = nan if empty else 0.1 + 0.2 * bin + 0.03 * self.arms.index(arm)
        return Share(mean, nan if empty else 0.05, 0 if empty else 10, 0.0 if empty else 40.0 - 9 * bin)

    def froc(self) -> tuple[FrocBand, ...]:
        """A smooth curve for each."""
        at = np.concatenate([[0.0], np.geomspace(0.05, 32, 99)])
        bands = []
        for arm, size in self.scores:
            curve = (0.85 - 0.5 / size + 0.03 * self.arms.index(arm)) * at / (at + 0.7)
            low, high = (curve * 0.9, curve * 1.1) if self.repeats > 1 else (None, None)
            point = (2.0, 0.4 + 0.03 * self.arms.index(arm))
            bands.append(
                FrocBand(
                    arm=arm,
                    train_size=size,
                    false_positives=at,
                    sensitivity=curve,
                    low=low,
                    high=high,
                    area=0.6,
                    area_limit=8.0,
                    operating_point=point,
                    n_repeats=self.repeats,
                )
            )
        return tuple(bands)

    def matched(self) -> tuple[MatchedPpv, ...]:
        """At every size."""
        return tuple(
            MatchedPpv(arm, self.arms[0], size, 0.41, 0.62, 0.55, self.difference(arm, size, "lesion_ppv").difference)
            for size in self.sizes
            for arm in self.arms[1:]
            if (arm, size) in self.scores
        )

    def conduct(self) -> Conduct:
        """What was run."""
        return Conduct(
            sweep="demo",
            task="flair_lesions",
            inputs=("flair",),
            target="lesion",
            spacing="1 × 1 × 1",
            dataset="open_ms",
            n_subjects=40,
            n_validation=4,
            n_test=self.patients + 1,
            splits=tuple(
                SplitDigest(size, repeat, f"{size * 7919 + repeat:064x}")
                for size in self.sizes
                for repeat in range(self.repeats)
            ),
            sizes=self.sizes,
            repeats=tuple(range(self.repeats)),
            model="unet: UNet3D, widths [16, 32, 64, 128]",
            steps="2000",
            batch_size="2",
            patch_size="64 × 64 × 64",
            learning_rates=tuple(f"{arm}: 0.003 (9 of 12 runs), 0.001 (3)" for arm in self.arms),
            monitor="val/lesion_f1",
            criterion="a lesion is found if it shares a voxel with a predicted one (connectivity 26)",
            min_volume=3.0,
            rescored=False,
            threshold="probability of at least 0.5",
            transfers=tuple(
                TransferSummary(arm, "runs:/4f2a" if n else "", "stroke" if n else "", "ab" * 32 if n else "",
                                0.97 if n else 0.0, n, 2, 0, 1.0, ("The source has no T1.",) if n else (),
                                {"freeze": "encoder"} if n == 2 else {})
                for n, arm in enumerate(self.arms)
            ),
            undefined="Without reference lesion sensitivity and F1 are undefined.",
            versions={"lesionseg": "0.1.0", "torch": "2.13.0", "mlflow": "3.17.2"},
            command=f"lesionseg compare sweep=demo arms=[{','.join(self.arms)}]",
            train_command="lesionseg train --multirun sweep=demo train_size=2,5,10,20",
        )  # fmt: skip

    def comparison(self, whole: bool = True, **changes: Any) -> Comparison:
        """Everything, or only what the table of cases gives; ``changes`` are further fields."""
        results = self.results()
        told: dict[str, Any] = {
            "sweep": "demo",
            "task": "flair_lesions",
            "results": results,
            "curves": self.curves(),
            "savings": self.savings(),
            "strata": self.strata() if whole else (),
            "froc": self.froc() if whole else (),
            "matched": self.matched() if whole else (),
            "answer": ("With 2 training studies pretrained found more (p = 0.003).", "With 20 it did not.", SENTENCE),
            "validation": Validation("val/lesion_f1", (), ("On validation pretrained is not behind at any size.",)),
            "compared": ("pretrained starts from stroke.ckpt, scratch from no weights",),
            "caveats": ("An interval that includes zero does not say that the arms are equal.",),
            "conduct": self.conduct() if whole else None,
            "methods": "We trained 3D U-Nets with 2, 5, 10 and 20 studies." if whole else "",
        }
        return Comparison(**{**told, **changes})


@pytest.fixture(scope="session")
def made_up() -> type[MadeUp]:
    """Makes comparisons of random numbers: ``made_up(arms=("scratch", "pretrained"), sizes=(2, 5)).comparison()``."""
    return MadeUp


@pytest.fixture(scope="session")
def demo() -> Comparison:
    """Three arms, four sizes, three repeats, twelve patients."""
    return MadeUp().comparison()


@pytest.fixture
def case_grid() -> Callable[..., pd.DataFrame]:
    """Rows of cases: ``case_grid({("scratch", 5): [[0.2, 0.4], [0.3, 0.5]]})`` by arm and size, of each repeat the
    patients; all four scores are the same."""

    def make(values: dict[tuple[str, int], Sequence[Sequence[float]]], **further: Any) -> pd.DataFrame:
        return pd.DataFrame(
            [
                {
                    **{"init": arm, "train_size": size, "repeat": repeat, "study": f"sub-{patient}"},
                    **{"subject": f"{patient}", "session": "", "n_reference": 2, **dict.fromkeys(SCORES, value)},
                    **{"false_positives": 0, "false_positive_volume_ml": 0.0, **further},
                }
                for (arm, size), repeats in values.items()
                for repeat, patients in enumerate(repeats)
                for patient, value in enumerate(patients)
            ]
        )

    return make
