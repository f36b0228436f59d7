"""Bring raw scans to what lesionseg expects: contrasts and sessions of a subject on one grid, bias corrected, the brain
extracted, as BIDS; with a picture of each study to look at.

    python prepare.py TABLE OUTPUT [--brain hd-bet|synthstrip|none]

TABLE is a .csv with a row for each session: subject, session, and a column for each contrast (flair, t1, t1_post, t2)
that holds a NIfTI file or a folder of DICOM. Every image is registered rigidly to the first session's reference, FLAIR
if there is one, and resampled once, to its grid.

Needs SimpleITK, pandas and matplotlib; dcm2niix for DICOM; hd-bet or mri_synthstrip for the brain, whichever is chosen.
"""

import argparse
import json
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import SimpleITK as sitk
from matplotlib.figure import Figure

SUFFIX = {"flair": "FLAIR", "t1": "T1w", "t1_post": "ce-gadolinium_T1w", "t2": "T2w"}


def main() -> None:
    """Prepare every subject of the table; one that fails stops no other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--brain", choices=["hd-bet", "synthstrip", "none"], default="hd-bet")
    options = parser.parse_args()
    rows = pd.read_csv(options.table, dtype=str, keep_default_na=False)
    failed = []
    for subject, sessions in rows.groupby("subject", sort=False):
        try:
            prepare_subject(str(subject), sessions, options)
        except (RuntimeError, ValueError, OSError, subprocess.CalledProcessError) as error:
            failed.append(f"sub-{subject}: {error}")
    options.output.mkdir(parents=True, exist_ok=True)
    description = {"Name": "prepared scans", "BIDSVersion": "1.9.0", "DatasetType": "derivative"}
    description |= {"GeneratedBy": [{"Name": "prepare.py of lesionseg", "Version": sitk.Version.VersionString()}]}
    (options.output / "dataset_description.json").write_text(json.dumps(description, indent=2) + "\n")
    print("\n".join([f"{len(failed)} of {rows['subject'].nunique()} subjects failed", *failed]))
    raise SystemExit(1 if failed else 0)


def prepare_subject(subject: str, sessions: pd.DataFrame, options: argparse.Namespace) -> None:
    """Write all images of a subject on the grid of the first session's reference."""
    reference = brain = None
    for row in sessions.to_dict("records"):
        images = {contrast: read_image(Path(row[contrast])) for contrast in SUFFIX if row.get(contrast)}
        if not images:
            raise ValueError(f"session {row['session']} has no image")
        first = next(iter(images))  # FLAIR, if there is one
        if reference is None:
            reference = n4(images[first])
            brain = brain_of(reference, options.brain)
        name = f"sub-{subject}_ses-{row['session']}"
        folder = options.output / f"sub-{subject}" / f"ses-{row['session']}" / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        prepared = {}
        for contrast, image in images.items():
            corrected = n4(image)
            moved = register(reference, corrected, brain)
            prepared[contrast] = sitk.Mask(sitk.Resample(corrected, reference, moved, sitk.sitkLinear), brain)
            sitk.WriteImage(prepared[contrast], str(folder / f"{name}_{SUFFIX[contrast]}.nii.gz"))
        draw(sitk.Mask(reference, brain), prepared, options.output / "pictures" / f"{name}.png")
        print(f"{name}: {', '.join(prepared)}", flush=True)


def read_image(path: Path) -> sitk.Image:
    """Read a NIfTI file, or the one that dcm2niix makes of a folder of DICOM."""
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder")
    if path.is_file():
        return sitk.ReadImage(str(path), sitk.sitkFloat32)
    with TemporaryDirectory() as folder:
        subprocess.run(["dcm2niix", "-z", "y", "-o", folder, str(path)], check=True, capture_output=True)
        made = sorted(Path(folder).glob("*.nii.gz"))
        if len(made) != 1:
            raise ValueError(
                f"{path}: holds {len(made)} series ({', '.join(one.name for one in made)}); name one of them"
            )
        return sitk.ReadImage(str(made[0]), sitk.sitkFloat32)


def n4(image: sitk.Image) -> sitk.Image:
    """Take the bias field out (N4, doi 10.1109/TMI.2010.2046908), found on a coarse grid."""
    head = sitk.OtsuThreshold(image, 0, 1, 200)
    shrink = [max(1, round(4 / spacing)) for spacing in image.GetSpacing()]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([50, 50, 30])
    corrector.Execute(sitk.Shrink(image, shrink), sitk.Shrink(head, shrink))
    return image / sitk.Exp(corrector.GetLogBiasFieldAsImage(image))


def register(fixed: sitk.Image, moving: sitk.Image, brain: sitk.Image) -> sitk.Transform:
    """Return the rigid map from points of the fixed image to those of the moving one, by mutual information in and
    around the brain."""
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(50)
    method.SetMetricFixedMask(sitk.BinaryDilate(brain, [round(6 / spacing) for spacing in brain.GetSpacing()]))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentagePerLevel([0.5, 0.3, 0.15])
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-3, 200, 0.6, 1e-7)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([4, 2, 1])
    method.SetSmoothingSigmasPerLevel([4.0, 2.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def brain_of(image: sitk.Image, program: str) -> sitk.Image:
    """Return the brain's mask by the program chosen; ``none``: all that is not 0 is brain, the skull is off already."""
    if program == "none":
        return sitk.Cast(sitk.NotEqual(image, 0), sitk.sitkUInt8)
    with TemporaryDirectory() as folder:
        scan, out, mask = (str(Path(folder) / name) for name in ("scan.nii.gz", "brain.nii.gz", "mask.nii.gz"))
        sitk.WriteImage(image, scan)
        command = ["hd-bet", "-i", scan, "-o", out, "--save_bet_mask"]
        if program == "synthstrip":
            command = ["mri_synthstrip", "-i", scan, "-m", mask]
        subprocess.run(command, check=True, capture_output=True)
        found = mask if program == "synthstrip" else out.replace(".nii.gz", "_bet.nii.gz")
        return sitk.ReadImage(found, sitk.sitkUInt8)


def draw(reference: sitk.Image, images: dict[str, sitk.Image], path: Path) -> None:
    """Draw each image in a checkerboard with the reference: edges go on from square to square where they fit."""
    figure = Figure(figsize=(4 * len(images), 4.4))
    for axes, (contrast, image) in zip(figure.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True):
        arrays = [sitk.GetArrayFromImage(one) for one in (reference, image)]
        a, b = (one[len(one) // 2] / np.percentile(one[one > 0], 99.5) for one in arrays)
        squares = (np.add.outer(*(np.arange(size) // 24 for size in a.shape))) % 2 == 0
        axes.imshow(np.where(squares, a, b), cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"{path.stem} {contrast}", fontsize=8)
        axes.set_axis_off()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)


if __name__ == "__main__":
    main()
