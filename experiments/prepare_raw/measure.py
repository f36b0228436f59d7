"""How well the registration of prepare.py finds a displacement that is known: python measure.py DATA [--tries 20]

DATA is BIDS with two sessions on one grid, brain extracted. The second session is turned and moved at random (up to 10°
about each axis and 10 mm along it), and registered back to the first. The error is the mean over the brain of how far
the map that was found puts a point from where it belongs.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import SimpleITK as sitk
from prepare import register


def main() -> None:
    """Print a row for each subject."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--subjects", nargs="+", default=["lg01", "lg03"])
    parser.add_argument("--tries", type=int, default=20)
    options = parser.parse_args()
    rows = []
    for subject in options.subjects:
        scan = "sub-{0}/ses-{1}/anat/sub-{0}_ses-{1}_FLAIR.nii.gz"
        first, second = (
            sitk.ReadImage(str(options.data / scan.format(subject, session)), sitk.sitkFloat32) for session in (1, 2)
        )
        rng = np.random.default_rng(0)
        errors = [error_of(first, second, rng) for _ in range(options.tries)]
        mean, worst, good = np.mean(errors), max(errors), sum(error < 0.5 for error in errors)
        rows.append(
            {"subject": subject, "tries": len(errors), "mean mm": mean, "worst mm": worst, "below 0.5 mm": good}
        )
        print(pd.DataFrame(rows).round(2).to_string(index=False), flush=True)


def error_of(first: sitk.Image, second: sitk.Image, rng: np.random.Generator) -> float:
    """Displace the second scan, find it again, and return the mean error in mm."""
    brain = sitk.Cast(sitk.NotEqual(first, 0), sitk.sitkUInt8)
    middle = first.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in first.GetSize()])
    known = sitk.Euler3DTransform(
        middle, *np.radians(rng.uniform(-10, 10, 3)).tolist(), rng.uniform(-10, 10, 3).tolist()
    )
    moved = sitk.Resample(second, second, known, sitk.sitkLinear)  # moved(x) = second(known(x))
    found = register(first, moved, brain)  # first(x) is moved(found(x)), thus second(known(found(x)))
    points = np.argwhere(sitk.GetArrayFromImage(brain))[::5001, ::-1]
    errors = []
    for index in points.tolist():
        point = first.TransformIndexToPhysicalPoint(index)
        back = known.TransformPoint(found.TransformPoint(point))
        errors.append(np.linalg.norm(np.subtract(back, point)))
    return float(np.mean(errors))


if __name__ == "__main__":
    main()
