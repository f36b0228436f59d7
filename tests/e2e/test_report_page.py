"""The report in a real browser: everything is on it and can be seen, on a laptop, on a phone and on paper."""

import json
import re
import shutil
import subprocess
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lesionseg.report import Chapter, Comparison, StudyPicture, compare, write_page
from lesionseg.report.cells import difference_cell, mean_cell
from lesionseg.report.slices import FALSE, FOUND, MISSED

ARMS, SIZES, REPEATS, PATIENTS = ("scratch", "pretrained", "frozen"), (2, 5, 10), 3, 8

# The page has no script of its own; this one is put into a copy of it and writes down what there is to be seen.
PROBE = """<pre id="measured"></pre><script>
function box(element) { const b = element.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; }
function measure() {
  document.querySelectorAll('details').forEach(one => { one.open = true; });
  document.getElementById('measured').textContent = '';
  const measured = {
    window: window.innerWidth,
    page: document.documentElement.scrollWidth,
    headings: [...document.querySelectorAll('h3')].map(one => one.innerText),
    figures: [...document.querySelectorAll('svg')].map(one => ({
      id: one.id, box: box(one), marks: one.querySelectorAll('path, use').length,
      words: [...one.querySelectorAll('text')].filter(text => box(text)[2] > 0).map(text => text.textContent),
      images: [...one.querySelectorAll('image')].map(box),
    })),
    cells: [...document.querySelectorAll('table')].map(
      one => [one.id, [...one.querySelectorAll('td, th')].map(cell => cell.innerText)]),
    letters: Math.min(...[...document.querySelectorAll('svg text')].map(one => box(one)[3])),
  };
  document.getElementById('measured').textContent = 'MEASURED' + JSON.stringify(measured);
}
measure();
window.addEventListener('resize', measure);
</script>"""


@pytest.fixture(scope="module")
def cases() -> pd.DataFrame:
    """A row per run and test patient, of random lesions that are found or not."""
    random = np.random.default_rng(0)
    lesions, hard = random.integers(2, 30, PATIENTS), random.normal(0, 0.1, PATIENTS)
    rows: list[dict[str, Any]] = []
    for number, arm in enumerate(ARMS):
        for size in SIZES:
            for repeat in range(REPEATS):
                for patient in range(PATIENTS + 1):
                    level = 0.75 - 0.5 * size**-0.6 + 0.15 * bool(number) * size**-0.5
                    rows.append(_case(random, lesions, hard, level, patient, arm, size, repeat))
    return pd.DataFrame(rows)


def _case(
    random: np.random.Generator, lesions: Any, hard: Any, level: float, patient: int, arm: str, size: int, repeat: int
) -> dict[str, Any]:
    n = int(lesions[patient]) if patient < PATIENTS else 0
    found = int(random.binomial(n, np.clip(level + hard[patient], 0, 1))) if n else 0
    false = int(random.poisson(1.5))
    sensitivity = found / n if n else nan
    ppv = found / (found + false) if found + false else 0.0
    f1 = 2 * sensitivity * ppv / (sensitivity + ppv) if n and sensitivity + ppv else (0.0 if n else nan)
    return {
        **{"init": arm, "train_size": size, "repeat": repeat, "subject": f"sub-{patient:02d}", "session": ""},
        **{"n_reference": n, "n_prediction": found + false, "detected_reference": found, "true_prediction": found},
        **{"lesion_sensitivity": sensitivity, "lesion_ppv": ppv, "lesion_f1": f1, "dice": 0.8 * f1},
        **{"false_positives": false, "false_positive_volume_ml": 0.02 * false},
    }


@pytest.fixture(scope="module")
def comparison(cases: pd.DataFrame) -> Comparison:
    return compare(cases, ARMS)


@pytest.fixture(scope="module")
def report(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    image = np.random.default_rng(0).integers(50, 200, (80, 100), np.uint8)
    verdict = np.zeros((80, 100), np.uint8)
    verdict[10:14, 20:25], verdict[30:33, 40:44], verdict[60:63, 50:52] = FOUND, MISSED, FALSE
    pictures = tuple(
        StudyPicture(arm, which, f"sub-{arm}-{which}", "F1 0.50: 1 of 2 found, 1 false", image, verdict, (1.0, 1.0))
        for arm in ARMS
        for which in ("median", "worst")
    )
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_page([Chapter(comparison, pictures)], path)
    return path


def measure(chromium: Any, report: Path, width: int) -> dict[str, Any]:
    """What the browser sees in a window of that width."""
    probed = report.with_name(f"probed{width}.html")
    probed.write_text(report.read_text(encoding="utf-8").replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    text = chromium.open(probed, f'MEASURED{{"window":{width},', width=width).text
    measured: dict[str, Any] = json.loads(text.partition("MEASURED")[2])
    return measured


@pytest.fixture(scope="module")
def laptop(chromium: Any, report: Path) -> dict[str, Any]:
    return measure(chromium, report, 1280)


def test_all_sections_are_on_the_page(laptop: dict[str, Any]) -> None:
    assert [heading[0] for heading in laptop["headings"]] == list("123456")


def test_the_numbers_are_on_the_page(laptop: dict[str, Any], comparison: Comparison) -> None:
    [scores] = [cells for name, cells in laptop["cells"] if name == "c1-scores"]
    for size in SIZES:
        for score in ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice"):
            for arm in ARMS:
                [*shown] = [
                    cell for cell in scores if cell.startswith(mean_cell(comparison.results.mean(arm, size, score)))
                ]
                assert shown
                found = comparison.results.difference(arm, size, score)
                assert found is None or any(difference_cell(found.difference) in cell for cell in shown)


def test_every_figure_and_picture_can_be_seen(laptop: dict[str, Any]) -> None:
    figures = {figure["id"]: figure for figure in laptop["figures"]}
    drawn = [name for name in figures if "picture" not in name]
    assert drawn == ["c1-learning_curves", "c1-label_savings", "c1-patients"]
    for name in drawn:
        left, _top, width, height = figures[name]["box"]
        assert width > 600
        assert height > 250
        assert left >= 0
        assert left + width <= laptop["window"]
        assert figures[name]["marks"] > 50
    assert {"pretrained", "frozen", "scratch"} <= set(figures["c1-learning_curves"]["words"])
    pictures = [figure for name, figure in figures.items() if "picture" in name]
    assert len(pictures) == 6
    for picture in pictures:
        [(_left, _top, width, height)] = picture["images"]
        assert width > 150
        assert height > 150
        assert picture["marks"] >= 5, "an outline for each lesion, and a letter beside what is missed or false"


def test_text_in_figures_can_be_read(laptop: dict[str, Any]) -> None:
    assert laptop["letters"] >= 9, "pixels, from the top of the tallest letter to the foot of the lowest"


def test_nothing_is_wider_than_a_laptop(laptop: dict[str, Any]) -> None:
    assert laptop["page"] <= laptop["window"] == 1280


def test_nothing_is_wider_than_a_phone(chromium: Any, report: Path) -> None:
    phone = measure(chromium, report, 400)
    assert phone["page"] <= phone["window"] == 400
    assert phone["letters"] >= 9, "figures stay large enough to be read, and are moved to and fro"


def test_it_prints(report: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs a browser: no Chromium is installed")
    printed = report.with_name("report.pdf")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--no-pdf-header-footer")
    own = f"--user-data-dir={report.parent / 'browser'}"
    command = [browser, *flags, own, f"--print-to-pdf={printed}", report.as_uri()]
    subprocess.run(command, capture_output=True, timeout=180, check=True)
    content = printed.read_bytes()
    assert content.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", content)) <= 12
