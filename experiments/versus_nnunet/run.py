"""lesionseg and nnU-Net v2 on the same subjects for the same CPU seconds.

    python run.py ours      DATA WORK [--repeats 0 1 2]
    python run.py nnunet    DATA WORK --python .venv-nnunet/bin/python [--repeats 0 1 2] [--real REAL]
    python run.py score     DATA WORK [--real REAL]
    python run.py panoptica DATA WORK --python .venv-bench/bin/python

DATA holds two BIDS folders: ms (28 subjects) and source (the pathology to pretrain on); REAL is one of patients, whom
every model is tested on, too. What is finished is not made again.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from lesionseg.data.splits import Split, make_split

HERE = Path(__file__).parent
SIZES = (2, 5, 10)
SOURCE = ["train_size=18", "split.test=3", "split.validation=3"]


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=["ours", "nnunet", "score", "panoptica"])
    parser.add_argument("data", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--python", type=Path, help="of nnU-Net's or panoptica's environment")
    parser.add_argument("--real", type=Path, help="a BIDS folder of patients with masks of lesions")
    parser.add_argument("--repeats", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    data, work = options.data.resolve(), options.work.resolve()
    match options.action:
        case "ours":
            train_ours(data, work, options.repeats)
        case "nnunet":
            train_nnunet(data, work, options.python, options.repeats, patients(options.real))
        case "score":
            print(score(data, work, patients(options.real)).round(3).to_markdown(index=False))
        case "panoptica":
            print(beside_panoptica(work, options.python).to_markdown(index=False))


def train_ours(data: Path, work: Path, repeats: list[int]) -> None:
    """Train every arm; a baseline costs seconds, a run 600 of them."""
    source = ",".join(f'"{one}"' for one in [f"dataset.root={data / 'source'}", *SOURCE])
    own = [f"dataset.root={data / 'ms'}", f"init.source=[{source}]", f"paths.outputs={work / 'outputs'}"]
    command = [sys.executable, "-m", "lesionseg", "train", "--config-dir", str(HERE), "--config-name", "study"]
    for repeat in repeats:
        subprocess.run([*command, *own, f"repeat={repeat}"], check=True)


def subjects_of(data: Path) -> list[str]:
    """Return the subjects' labels."""
    return sorted(folder.name.removeprefix("sub-") for folder in (data / "ms").glob("sub-*"))


def split_of(data: Path, size: int, repeat: int) -> Split:
    """Return the split that our runs have, too."""
    return make_split(subjects_of(data), train_size=size, repeat=repeat, test=8, validation=4, seed=0)


def patients(real: Path | None) -> dict[str, tuple[Path, Path]]:
    """Return FLAIR and mask of each patient; none without a folder of them."""
    found = {}
    for mask in sorted(real.resolve().glob("derivatives/lesions/*/*/anat/*_label-lesion_mask.nii.gz")) if real else ():
        image = mask.name.replace("_label-lesion_mask", "_FLAIR")
        found[f"real{mask.name[4:].partition('_')[0]}"] = real.resolve().joinpath(*mask.parts[-4:-1], image), mask
    return found


def train_nnunet(data: Path, work: Path, python: Path, repeats: list[int], real: dict[str, tuple[Path, Path]]) -> None:
    """Train nnU-Net on the training subjects of each run, and on all 20 who are not tested on."""
    arm = [str(python), str(HERE / "nnunet_arm.py")]
    raw = work / "nnUNet_raw" / "Dataset001_MS"
    if not raw.exists():
        export(data, raw)
    (raw / "imagesTs").mkdir(exist_ok=True)
    for name, (image, _) in real.items():
        shutil.copy(image, raw / "imagesTs" / f"{name}_0000.nii.gz")
    if not (work / "nnUNet_preprocessed").exists():
        subprocess.run([*arm, "prepare", str(work)], check=True)
    for repeat in repeats:
        for size in (*reversed(SIZES), 20):
            name = f"nnunet-n{size}-r{repeat}"
            if (work / "predictions" / name / "seconds.json").exists():
                continue
            split = split_of(data, min(size, 10), repeat)
            train = split.train if size < 20 else [*split.pool, *split.validation]
            cases = ["--train", *train, "--validation", *split.validation, "--test", *split.test, *real]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            subprocess.run([*arm, "train", str(work), name, *cases, "--seed", str(repeat)], check=True, env=environment)


def export(data: Path, raw: Path) -> None:
    """Write each subject's first session as nnU-Net wants it."""
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for subject in subjects_of(data):
        name = f"sub-{subject}/ses-1/anat/sub-{subject}_ses-1"
        shutil.copy(data / "ms" / f"{name}_FLAIR.nii.gz", raw / "imagesTr" / f"{subject}_0000.nii.gz")
        mask = data / "ms" / "derivatives" / "lesions" / f"{name}_label-lesion_mask.nii.gz"
        shutil.copy(mask, raw / "labelsTr" / f"{subject}.nii.gz")
    description = {"channel_names": {"0": "FLAIR"}, "labels": {"background": 0, "lesion": 1}}
    description |= {"numTraining": len(subjects_of(data)), "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(description))


def score(data: Path, work: Path, real: dict[str, tuple[Path, Path]]) -> pd.DataFrame:
    """Return the mean scores of each arm and size, all of them by ``lesionseg score`` on the native grids."""
    rows = []
    for run in sorted((work / "outputs" / "runs" / "versus_nnunet").glob("*-r?-*")):
        if json.loads((run / "status.json").read_text())["status"] == "FINISHED":
            name = run.name.rsplit("-", 1)[0]
            masks = {file.name[4:6]: file for file in (run / "predictions").glob("*.nii.gz")}
            masks |= {patient: segmented(run, work / "real" / name, image) for patient, (image, _) in real.items()}
            rows.append({"run": name, **_scored(data, work, name, masks, real)})
    for run in sorted((work / "predictions").glob("nnunet-*")):
        if (run / "seconds.json").exists():
            masks = {file.name.partition(".")[0]: file for file in run.glob("*.nii.gz")}
            rows.append({"run": run.name, **_scored(data, work, run.name, masks, real)})
    table = pd.DataFrame(rows)
    table[["arm", "n", "repeat"]] = table["run"].str.extract(r"(\w+)-n(\d+)-r(\d)")
    table.to_csv(work / "runs.csv", index=False)
    means = table.astype({"n": int}).groupby(["arm", "n"], as_index=False)
    shown = means[[key for key in table.columns if key not in ("run", "arm", "n", "repeat")]].mean()
    each = means["f1"].agg(lambda values: ", ".join(f"{value:.2f}" for value in values))["f1"]
    return shown.assign(runs=means.size()["size"], each=each)


def segmented(run: Path, output: Path, image: Path) -> Path:
    """Return a run's mask of a scan, made now if it is not there."""
    own = [f"checkpoint={run / 'checkpoints' / 'best.ckpt'}", f"flair={image}", f"output={output}"]
    subprocess.run([sys.executable, "-m", "lesionseg", "predict", *own], check=True, stdout=subprocess.DEVNULL)
    (mask,) = output.glob("*_mask.nii.gz")
    return mask


def _scored(
    data: Path, work: Path, name: str, masks: dict[str, Path], real: dict[str, tuple[Path, Path]]
) -> dict[str, float]:
    """Return the scores of a run's test subjects, and of the patients under the same names with ``real`` before."""
    mask = "derivatives/lesions/sub-{0}/ses-1/anat/sub-{0}_ses-1_label-lesion_mask.nii.gz"
    references = {key: real[key][1] if key in real else data / "ms" / mask.format(key) for key in masks}
    found: dict[str, float] = {}
    for prefix, keys in (("", masks.keys() - real.keys()), ("real ", masks.keys() & real.keys())):
        if not keys:
            continue
        pairs = work / "scores" / f"{prefix.strip()}{name}.csv"
        pairs.parent.mkdir(parents=True, exist_ok=True)
        rows = [{"reference": references[key], "prediction": masks[key]} for key in sorted(keys)]
        pd.DataFrame(rows).to_csv(pairs, index=False)
        output = pairs.with_suffix(".json")
        own = [f"pairs={pairs}", f"output={output}", "min_volume=3"]
        subprocess.run([sys.executable, "-m", "lesionseg", "score", *own], check=True, stdout=subprocess.DEVNULL)
        mean = json.loads(output.read_text())["mean"]
        any_overlap, one_to_one = (mean["criteria"][rule] for rule in ("any_overlap_26", "one_to_one_iou_0.1"))
        scores = {key: any_overlap[key] for key in ("f1", "sensitivity", "ppv")}
        scores |= {"f1 one to one": one_to_one["f1"], "dice": mean["dice"]}
        found |= {f"{prefix}{key}": value for key, value in scores.items()}
    return found


def beside_panoptica(work: Path, python: Path) -> pd.DataFrame:
    """Return the F1 of lesions matched one to one of each run, by lesionseg and by panoptica."""
    tables = sorted((work / "scores").glob("*.csv"))
    command = [str(python), str(HERE / "panoptica_scores.py"), *map(str, tables)]
    theirs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    ours = {
        table: json.loads(table.with_suffix(".json").read_text())["mean"]["criteria"]["one_to_one_iou_0.1"]["f1"]
        for table in tables
    }
    rows = [(table.stem, ours[table], theirs[str(table)], abs(ours[table] - theirs[str(table)])) for table in tables]
    return pd.DataFrame(rows, columns=["run", "lesionseg", "panoptica", "apart"])


if __name__ == "__main__":
    main()
