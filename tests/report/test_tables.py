from dataclasses import replace

import matplotlib
import pandas as pd
import pytest
from matplotlib.text import Text

from lesionseg.report.comparison import compare, write_tables
from lesionseg.report.figures import arm_styles, draw_comparison, look, write_figures
from lesionseg.report.tables import (
    as_html,
    as_text,
    markdown,
    note,
    score_table,
    terminal,
    write_page,
)
from lesionseg.report.text import signed, volume_range
from lesionseg.tracking.views import COLOURS

ARMS = ("scratch", "pretrained")


@pytest.fixture(scope="module")
def comparison(cases):
    return compare(cases, ARMS, sweep="<first>", task="flair_lesions", notes=["A note."])


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (signed(0.123), "+0.12"),
        (signed(-0.034), "−0.03"),
        (signed(-0.001), "0.00"),
        (volume_range(0, 10), "< 10"),
        (volume_range(10, 100), "10–100"),
        (volume_range(100, float("inf")), "≥ 100"),
    ],
)
def test_values_in_a_cell(found, text):
    assert found == text


def test_the_table_of_scores_has_a_row_per_size_arm_and_score(comparison):
    table = score_table(comparison.analysis)
    assert table.index.get_level_values(0).unique().tolist() == ["2", "8"]
    text = as_text(table, "github").splitlines()
    assert len(text) == 2 + len(table)
    assert sum(line.split("|")[1].strip() == "2" for line in text) == 1  # a name is not repeated below itself


def test_no_learning_is_no_arm_and_comes_first_where_it_is_not_beaten(cases):
    none = cases[cases["init"] == "pretrained"].assign(init="threshold")
    found = compare(pd.concat([cases, none]), ARMS, baseline="threshold")
    assert found.arms == ARMS
    assert found.answer[0].startswith("WARNING: With 8 training studies scratch and pretrained cannot be told to be ")
    assert "threshold (no learning)" in terminal(found)
    assert set(found.frames()["baseline"]["arm"]) == set(ARMS)


def test_html_escapes_what_users_name():
    table = pd.DataFrame({"<b>": ["<script>"]}, index=pd.Index(["<i>"], name="arm"))
    html = as_html(table, "t", "caption")
    assert not [tag for tag in ("<script>", "<b>", "<i>") if tag in html]


def test_markdown_holds_no_html_that_users_name(comparison):
    named = replace(comparison, sweep="<script>alert(1)</script>", notes=["<img src=x>", "p < 0.05"])
    text = markdown(named)
    assert "<script" not in text
    assert "<img" not in text
    assert "p < 0.05" in text


def test_nothing_of_a_figure_is_cut_off_and_colours_stay_with_their_arms(cases):
    long = {"scratch": "scratch", "pretrained": "pretrained_on_a_very_long_name_of_a_dataset_and_a_strategy"}
    renamed = cases.assign(init=cases["init"].map(long))
    for everyone in ((), (*long.values(), "lora")):
        compared = replace(compare(renamed, tuple(long.values())), everyone=everyone)
        for figure in [one.figure for one in draw_comparison(compared) if one.figure is not None]:
            renderer, box = figure.canvas.get_renderer(), figure.bbox
            texts = [text for text in figure.findobj(Text) if text.get_text() and text.get_visible()]
            for text in texts:
                extent = text.get_window_extent(renderer)
                inside = box.x0 - 1 <= extent.x0 and extent.x1 <= box.x1 + 1 and box.y0 - 1 <= extent.y0
                assert inside, text.get_text()
    colours = {arm: style["color"] for arm, style in arm_styles(["lora", "scratch"], ["scratch", "lora", "x"]).items()}
    assert colours == {arm: arm_styles(["scratch", "lora", "x"])[arm]["color"] for arm in ("lora", "scratch")}
    with look():
        assert [one["color"].lstrip("#") for one in matplotlib.rcParams["axes.prop_cycle"]] == list(COLOURS), (
            "as in MLflow"
        )


def test_terminal_markdown_and_note_say_the_same_answer(comparison):
    for text in (terminal(comparison), markdown(comparison), note(comparison, 8000)):
        assert all(sentence in text for sentence in comparison.answer)
    assert "A note." in markdown(comparison)
    assert len(note(comparison, 300)) <= 300


def test_page_tables_and_figures_are_written_and_the_same_every_time(comparison, tmp_path):
    written = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        drawings = draw_comparison(comparison)
        assert [one.name for one in drawings if one.figure is None] == ["froc", "lesion_size"]  # nothing is known
        write_page([comparison], [drawings], folder / "report.html")
        files = [*write_tables([comparison], folder), *write_figures(drawings, folder), folder / "report.html"]
        written.append({file.name: file.read_bytes() for file in files})
    assert written[0] == written[1]
    assert {"comparison.csv", "label_savings.csv", "patients.png", "patients.pdf"} <= set(written[0])
    page = written[0]["report.html"].decode()
    assert "&lt;first&gt;" in page
    assert "<first>" not in page
    assert "http" not in page.replace("http://www.w3.org", "")
    frame = pd.read_csv(tmp_path / "a" / "comparison.csv")
    assert frame["sweep"].unique().tolist() == ["<first>"]
    assert len(frame) == len(comparison.analysis.estimates)
