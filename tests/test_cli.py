"""The command line itself: help, exit codes, and what it may import before it answers."""

import subprocess
import sys
from typing import Any

import pytest

from lesionseg.cli import COMMANDS, _goes_for, _sources, main, plain_words
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.config.schema import SCHEMAS

HEAVY = ("torch", "hydra", "omegaconf", "mlflow", "pytorch_lightning", "nibabel", "numpy", "torchio", "scipy")


def _end(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[Any, str, str]:
    """Exit code, output and errors of a command in this process."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    out, err = capsys.readouterr()
    return caught.value.code, out, err


def test_every_command_has_a_schema():
    assert set(COMMANDS) == set(SCHEMAS)


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",), ("help",)])
def test_the_overview_names_every_command(capsys, arguments):
    code, out, _ = _end(capsys, *arguments)
    assert code == 0
    assert "usage: lesionseg COMMAND [key=value ...]" in out
    for command, (what, _) in COMMANDS.items():
        assert f"  {command:<12}{what}\n" in out


def test_an_unknown_command_ends_with_2(capsys):
    code, out, err = _end(capsys, "trian", "task=new_lesions")
    assert (code, out) == (2, "")
    assert err.startswith("lesionseg: there is no command 'trian'; did you mean 'train'?\n\nlesionseg: how many scans")


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_a_commands_help_shows_its_settings(capsys, command):
    code, out, _ = _end(capsys, command, "--help")
    assert code == 0
    assert out.startswith(f"usage: lesionseg {command} [key=value ...] [--config-dir FOLDER]")
    assert ("[--multirun]" in out) == (command == "train")
    assert COMMANDS[command][0] in out
    assert f"# lesionseg {command}: " in out
    if command == "synthesize":
        assert "  pathology=glioma | infarct | metastasis | ms | small_vessel\n" in out
    if command == "train":
        assert "  task=enhancing_lesions | flair_lesions | new_lesions\n" in out
        assert "  init=discriminative_lr | encoder_only | frozen_encoder | gradual_unfreeze | head_first | l2_sp" in out


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["nonsense"]])
def test_help_imports_nothing_heavy(arguments, environment):
    code = (
        "import sys\nfrom lesionseg.cli import main\n"
        f"try:\n    main({arguments!r})\n"
        f"except SystemExit:\n    print('LOADED', sorted(set({HEAVY!r}) & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "LOADED []"


def test_a_faulty_configuration_is_told_without_lightning_and_mlflow(environment):
    code = (
        "import sys\nfrom lesionseg.cli import main\n"
        "try:\n    main(['train', 'trian_size=2'])\n"
        "except SystemExit as end:\n"
        "    print(end.code, sorted({'torch', 'mlflow', 'pytorch_lightning', 'torchio'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == (
        "trian_size=2: there is no key 'trian_size' in the configuration; did you mean 'train_size'?\n"
    )
    # network, loss and transforms are looked at, and these are made of torch
    assert done.stdout == "2 ['torch', 'torchio']\n"


def test_what_may_be_configured_is_known_without_numerical_libraries(environment):
    code = (
        "import sys\nfrom lesionseg.cli import main\n"
        "try:\n    main(['synthesize', 'subjects=0', 'output=x'])\n"
        "except SystemExit as end:\n"
        f"    print(end.code, sorted({{*{HEAVY!r}, 'nilearn', 'sklearn', 'joblib'}} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == "subjects: input should be greater than or equal to 1, found 0\n"
    assert done.stdout == "2 ['hydra', 'numpy', 'omegaconf']\n"


SIGNALLED = {
    "an import, which torch's C++ would abort at an exception": "import library",
    "a destructor, whose exceptions Python ignores": (
        "class Thing:\n    def __del__(self):\n        os.kill(os.getpid(), number)\n"
        "Thing()\nprint('went on', flush=True)"
    ),
}


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("what", SIGNALLED)
def test_a_signal_ends_the_command_wherever_it_meets_it(what, name, code, tmp_path, environment):
    (tmp_path / "library.py").write_text(
        f"import os, signal\nos.kill(os.getpid(), signal.{name})\nprint('went on', flush=True)\n", encoding="utf-8"
    )
    program = (
        f"import os, signal, time\nfrom lesionseg.cli import _on_signals, _stop\nnumber = signal.{name}\n"
        f"_on_signals(_stop)\n{SIGNALLED[what]}\ntime.sleep(60)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (code, "went on\n", "")


def test_all_faults_of_a_configuration_end_with_2_in_one_list(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = _end(capsys, "train", "train_size=0", "optim.schedule=linear", "dataset=bids")
    assert (code, out) == (2, "")
    assert err == (
        "Found 3 faults:\n"
        "  1. dataset.root: has no value; give it as dataset.root=...\n"
        "  2. optim.schedule: input should be 'cosine' or 'constant', found 'linear'\n"
        "  3. train_size: input should be greater than or equal to 1, found 0\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_hydra_shows_the_whole_configuration(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, _ = _end(capsys, "train", "task=new_lesions", "--cfg", "job", "--resolve")
    assert code == 0
    assert "in_channels: 2\n" in out
    assert "uri: sqlite:///outputs/mlflow.db\n" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["evaluate", "check", "synthesize"])
def test_only_training_is_swept(capsys, command):
    more = {
        "evaluate": ["checkpoint=x", "dataset.root=a,b"],
        "check": ["dataset.root=a,b"],
        "synthesize": ["output=x", "subjects=1,2"],
    }
    code, _, err = _end(capsys, command, "--multirun", *more[command])
    assert code == 2
    assert err == f"lesionseg {command} takes one configuration; sweeps are for lesionseg train\n"


@pytest.mark.parametrize(
    ("text", "source", "goes"),
    [
        ("trainer.steps=5", ["dataset=infarct"], True),
        ("dataset.root=/mine", ["train_size=3"], True),
        ("dataset.root=/mine", ["dataset=infarct"], False),
        ("dataset=bids", ["dataset=infarct"], False),
        ("+dataset.extra=1", ["dataset=infarct"], False),
        ("split.file=mine.yaml", ["dataset=infarct"], False),
        ("pathology@dataset.synthetic.pathology=ms", ["dataset=infarct"], False),
        ("pathology@dataset.synthetic.pathology=ms", ["pathology@dataset.synthetic.pathology=glioma"], False),
        ("dataset.synthetic.pathology.spacing=[2,2,2]", ["dataset=infarct"], False),
        ("dataset.synthetic.pathology.spacing=[2,2,2]", ["train_size=3"], True),
        ("split.test=3", ["dataset=infarct"], True),
        ("split.test=3", ["dataset=infarct", "split.test=5"], False),
        ("init.min_loaded=0.9", [], False),
        ("train_size=4", [], False),
        ("repeat=1", [], False),
        ("sweep=first", [], False),
        ("force=true", [], False),
        ("tracking.uri=sqlite:///x.db", [], True),
    ],
)
def test_what_of_a_sweep_holds_for_its_source_model(text, source, goes):
    assert _goes_for(text, source) is goes


def test_a_source_is_trained_plainly_whatever_a_study_sets_for_its_arms(tmp_path):
    (tmp_path / "study.yaml").write_text(
        "# @package _global_\ndefaults: [train, override init: pretrained, _self_]\nsweep: grid\n"
        "init: {source: [train_size=3], l2_sp: 0.1, layer_decay: 0.8, train_from: {encoder: 0.2}}\n"
    )
    request = Request("train", (), config_dir=tmp_path, config_name="study")
    jobs, _ = compose_jobs(request)
    (source,) = _sources(request, jobs)
    assert (source.init.name, source.init.knobs, source.train_size) == ("scratch", {}, 3)
    assert jobs[0].config.init.knobs["l2_sp"] == 0.1  # type: ignore[attr-defined]


def test_plain_words_become_overrides(tmp_path):
    (tmp_path / "sub-01").mkdir()
    assert plain_words("predict", ["model=runs:/1", "flair=a b.nii.gz", "prior.flair=c.nii", "threshold=0.4"]) == [
        "checkpoint='runs:/1'",
        "threshold=0.4",
        "files=['flair=a b.nii.gz','prior.flair=c.nii']",
    ]
    assert plain_words("predict", ["treshold=0.4"]) == ["treshold=0.4"]
    assert plain_words("predict", [f"input={tmp_path}"]) == [f"dataset.root='{tmp_path}'"]
    assert plain_words("export", ["run=0123"]) == ["checkpoint='runs:/0123'"]
    assert plain_words("train", ["model=tiny_unet"]) == ["model=tiny_unet"]
