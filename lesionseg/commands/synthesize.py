"""``lesionseg synthesize``: write a synthetic cohort."""

import sys
from pathlib import Path

import joblib

from lesionseg.config.schema import SynthesizeConfig, SyntheticSection
from lesionseg.errors import InputError
from lesionseg.io import check_writable, progress_bar
from lesionseg.synthetic.cohort import cohort_faults, make_cohort


def synthesize(config: SynthesizeConfig) -> int:
    """Write the subjects that are not there yet, and tell what lies where and which command looks at it.

    Returns:
        0.

    Raises:
        InputError: all that is wrong with the folder and with what the cohort is drawn from; nothing is written then.
    """
    output = Path(config.output).expanduser().resolve()
    faults: list[str] = []
    try:
        check_writable("output", output)
    except InputError as error:
        faults += error.faults
    faults += cohort_faults(
        output, subjects=config.subjects, seed=config.seed, pathology=config.pathology, workers=_workers(config)
    )
    if faults:
        raise InputError(faults)
    there = write_cohort(output, config, "Making subjects")
    print(_told(config, output, there))
    return 0


def write_cohort(root: Path, section: SyntheticSection, what: str) -> int:
    """Make the cohort that a section of the configuration describes, under a bar; how many subjects were there before.

    Raises:
        InputError: see :func:`~lesionseg.data.synthetic.cohort.make_cohort`.
    """
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
                workers=_workers(section),
                progress=tell,
            )
    except (KeyboardInterrupt, SystemExit):
        print(f"Stopped; whole subjects are kept in {root}, and the same command goes on", file=sys.stderr)
        raise
    return before[0]


def _workers(section: SyntheticSection) -> int:
    return section.workers or joblib.cpu_count()


def _told(config: SynthesizeConfig, output: Path, there: int) -> str:
    """What lies where, and what comes next."""
    subjects = f"{config.subjects} subject{'s' if config.subjects > 1 else ''}"
    new = f"{config.subjects - there} new" + (f", {there} there already" if there else "")
    task = "flair_lesions" if "FLAIR" in config.pathology.contrasts else "<task>"
    root = f"dataset.root={output}"
    if any(letter in root.partition("=")[2] for letter in "~=(){}[],' "):
        root = f"""'dataset.root="{output}"'"""  # once for the shell, once for Hydra
    return "\n".join(
        [
            f"{subjects} in {output} ({new}):",
            "  sub-*/                 scans, and what each subject was drawn from (*_parameters.json)",
            "  derivatives/lesions/   masks",
            "  participants.tsv       scanner and number of lesions of each",
            f"Next: lesionseg check dataset=bids {root} task={task}",
        ]
    )
