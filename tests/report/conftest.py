"""A small sweep as its runs would leave it: two arms, two sizes, three repeats, five test patients, one of them without
lesion."""

import numpy as np
import pandas as pd
import pytest

from lesionseg.report.provenance import RunRecord

ARMS = ("scratch", "pretrained")


@pytest.fixture(scope="session")
def cases():
    rng = np.random.default_rng(0)
    rows = []
    for arm, gain in zip(ARMS, (0.0, 0.2), strict=True):
        for size in (2, 8):
            for repeat in (0, 1, 2):
                for patient in range(5):
                    n = 0 if patient == 4 else 10
                    found = int(min(n, round(n * (0.3 + gain + size / 40 + rng.normal(0, 0.05)))))
                    ppv = 0.5 if n else 0.0
                    ratio = found / n if n else np.nan
                    f1 = 2 * ratio * ppv / (ratio + ppv) if n else np.nan
                    rows.append(
                        {
                            **{"init": arm, "train_size": size, "repeat": repeat, "subject": f"p{patient}"},
                            **{"session": "", "study": f"p{patient}", "n_reference": n, "n_prediction": 2 * found},
                            **{"detected_reference": found, "true_prediction": found, "lesion_sensitivity": ratio},
                            **{"lesion_ppv": ppv, "lesion_f1": f1, "dice": f1, "false_positives": 1 + patient},
                            **{"false_positive_volume_ml": 0.1, "merged_lesions": 2 if n else 0},
                            **{"volume_reference_ml": 1.0 if n else 0.0, "volume_prediction_ml": 1.5},
                        }
                    )
    return pd.DataFrame(rows)


@pytest.fixture(scope="session")
def record():
    """Make what a run left besides its tables."""

    def make(arm, train_size=2, repeat=0, *, source="", best=None, search=None, **settings):
        config = {
            "init": {"train": True, "checkpoint": source or None},
            "optim": {"learning_rate": 0.001},
            "metrics": {"monitor": "val/dice", "threshold": 0.5, "criteria": {}},
        }
        transfer = {"source": source, "source_task": "infarct", "source_digest": "ab" * 32, "loaded_share": 0.9}
        return RunRecord(
            arm=arm,
            train_size=train_size,
            repeat=repeat,
            config=config,
            settings={"optim.learning_rate": 0.001, "optim.name": "adamw", **settings},
            split={"sha256": f"{train_size}{repeat}"},
            transfer=transfer,
            search=search,
            best_validation=best,
        )

    return make
