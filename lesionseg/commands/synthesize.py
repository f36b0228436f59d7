"""``lesionseg synthesize``: write a synthetic cohort."""

import sys
from collections.abc import Callable
from pathlib import Path

import joblib

from lesionseg.config.schema import SynthesizeConfig
from lesionseg.config.sections import SyntheticSection
from lesionseg.errors import InputError
from lesionseg.io import check_writable, progress_bar
from lesionseg.synthetic.cohort import check_cohort, make_cohort


def synthesize(config: SynthesizeConfig) -> int:
    """Write the subjects that are not there yet, and say what lies where and which command comes next."""
    output = Path(config.output).expanduser().resolve()
    faults: list[str] = []
    checks: list[Callable[[], None]] = [
        lambda: check_writable("output", output),
        lambda: check_cohort(output, config.seed, config.pathology),
    ]
    for check in checks:
        try:
            check()
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    there = write_cohort(output, config, "Making subjects")
    subjects = f"{config.subjects} subject{'s' if config.subjects > 1 else ''}"
    new = f"{config.subjects - there} new" + (f", {there} there already" if there else "")
    task = "flair_lesions" if "FLAIR" in config.pathology.contrasts else "<task>"
    root = f"dataset.root={output}"
    if any(letter in str(output) for letter in "~=(){}[],' "):
        root = f"""'dataset.root="{output}"'"""  # once for the shell, once for Hydra
    print(
        f"{subjects} in {output} ({new}):\n"
        "  sub-*/                 scans, and what each subject was drawn from (*_parameters.json)\n"
        "  derivatives/lesions/   masks\n"
        "  participants.tsv       scanner and number of lesions of each\n"
        f"Next: lesionseg check dataset=bids {root} task={task}"
    )
    return 0


def write_cohort(root: Path, section: SyntheticSection, what: str) -> int:
    """Make the cohort of a section of the configuration, under a progress bar; return how many subjects were there."""
    before: list[int] = []
    try:
        with progress_bar(what, "subject", section.subjects) as shown:

            def tell(done: int, total: int) -> None:
                if not before:
                    before.append(done)
                    shown.initial = done  # what took no time is left out of the speed
                shown.update(done - shown.n)

            make_cohort(
                root,
                subjects=section.subjects,
                seed=section.seed,
                pathology=section.pathology,
                workers=section.workers or joblib.cpu_count(),
                progress=tell,
            )
    except (KeyboardInterrupt, SystemExit):
        print(f"Whole subjects are kept in {root}.", file=sys.stderr)
        raise
    return before[0]
