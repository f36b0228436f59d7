"""The F1 of lesions matched one to one as panoptica has it, beside lesionseg's: started by `run.py panoptica`.

    python panoptica_scores.py PAIRS.csv ...

Prints a JSON object: table to the mean over its cases, lesions below 3 mm³ left out on either side first, as there.
"""

import json
import logging
import sys

import cc3d
import nibabel as nib
import numpy as np
import pandas as pd
from panoptica import ConnectedComponentsInstanceApproximator, InputType, Metric, NaiveThresholdMatching
from panoptica import Panoptica_Evaluator as Evaluator
from panoptica.utils.citation_reminder import disable_citation_reminder
from panoptica.utils.constants import CCABackend

SMALLEST = 3.0  # mm³


def lesions(path: str) -> np.ndarray:
    """Return a mask without its smallest lesions, 26-connected."""
    image = nib.load(path)
    labels = cc3d.connected_components(np.asarray(image.dataobj) > 0, connectivity=26)
    keep = np.bincount(labels.ravel()) * np.prod(image.header.get_zooms()[:3]) >= SMALLEST * (1 - 1e-9)
    keep[0] = False
    return keep[labels].astype(np.uint8)


def main() -> None:
    """Score every table of pairs."""
    logging.getLogger("panoptica").setLevel(logging.ERROR)
    disable_citation_reminder()
    evaluator = Evaluator(
        expected_input=InputType.SEMANTIC,
        instance_approximator=ConnectedComponentsInstanceApproximator(CCABackend.cc3d),
        instance_matcher=NaiveThresholdMatching(Metric.IOU, 0.1),
        instance_metrics=[Metric.IOU],
        global_metrics=[],
    )
    means = {}
    for table in sys.argv[1:]:
        scores = []
        for pair in pd.read_csv(table).to_dict("records"):
            found = evaluator.evaluate(lesions(pair["prediction"]), lesions(pair["reference"]))["ungrouped"]
            scores.append(found.rq if found.n_ref_instances else np.nan)
        means[table] = float(np.nanmean(scores))
    print(json.dumps(means))


if __name__ == "__main__":
    main()
