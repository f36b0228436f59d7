"""What is installed: the wheel and its configuration, and which parts import without which libraries."""

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The wheel built from a copy of the sources, unpacked."""
    pytest.importorskip("build")
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("lesionseg", "conf"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPOSITORY / name, folder / name)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", "dist", "."]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (wheel,) = (folder / "dist").glob("lesionseg-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    yield folder / "site"
    shutil.rmtree(folder)


def test_the_wheel_holds_every_configuration_file(unpacked_wheel):
    def files(conf: Path) -> set[Path]:
        return {path.relative_to(conf) for path in conf.rglob("*.yaml")}

    assert Path("train.yaml") in files(unpacked_wheel / "lesionseg" / "conf")
    assert files(unpacked_wheel / "lesionseg" / "conf") == files(REPOSITORY / "conf")


def test_the_wheel_holds_the_reports_template(unpacked_wheel):
    assert (unpacked_wheel / "lesionseg" / "report" / "report.html.j2").is_file()


def test_an_installed_wheel_finds_its_configuration(unpacked_wheel, tmp_path, environment):
    code = (
        "from lesionseg.config.compose import conf_dir; print(conf_dir())\n"
        "from lesionseg.cli import main; main(['train', '--cfg', 'job'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(unpacked_wheel)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[0] == str(unpacked_wheel / "lesionseg" / "conf")
    assert "name: flair_lesions" in done.stdout


def test_the_numerical_parts_import_with_torch_numpy_and_scipy_alone(environment):
    code = (
        "import sys\nimport lesionseg.metrics, lesionseg.stats, lesionseg.models, lesionseg.inference\n"
        "heavy = {'hydra', 'omegaconf', 'mlflow', 'pytorch_lightning', 'nibabel', 'torchio', 'pydantic', 'pandas'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_metrics_import_with_numpy_scipy_and_cc3d_alone(environment):
    code = (
        "import sys\nbefore = set(sys.modules)\nimport lesionseg.metrics\n"
        "known = sys.stdlib_module_names | {'numpy', 'scipy', 'cc3d', 'fastremap', 'lesionseg'}\n"
        "tops = {name.partition('.')[0] for name in set(sys.modules) - before} - known\n"
        "print(sorted(name for name in tops if name[0] != '_' and hasattr(sys.modules[name], '__file__')))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_imports_point_one_way(environment, tmp_path):
    pytest.importorskip("importlinter")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--cache-dir", str(tmp_path)],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert " kept, 0 broken." in done.stdout, done.stdout
    assert done.returncode == 0
