"""All figures of a comparison, as files and inside of a page."""

import re
import xml.etree.ElementTree as ET

import matplotlib.image
import pytest

from lesionseg.report.figures import draw_comparison, draw_learning_curves, inline_svg, write_figures

NAMES = ["learning_curves", "label_savings", "froc", "lesion_size", "patients"]


@pytest.fixture(scope="module")
def small(made_up):
    return made_up(arms=("scratch", 'a "$<b>$" & c'), sizes=(2, 5), repeats=2, patients=6).comparison()


def test_every_figure_has_a_name_a_title_and_how_to_read_it(small):
    drawings = draw_comparison(small)
    assert [drawing.name for drawing in drawings] == NAMES
    assert all(drawing.figure is not None and drawing.title and drawing.reading for drawing in drawings)
    assert not any(drawing.absent for drawing in drawings)


def test_what_is_not_there_is_said_instead(made_up):
    drawings = draw_comparison(made_up(arms=("scratch",), sizes=(5,), repeats=1).comparison(whole=False))
    assert [drawing.name for drawing in drawings if drawing.figure is not None] == ["learning_curves"]
    assert [drawing.absent.split(":")[0] for drawing in drawings[1:]] == [
        "No label savings",
        "No FROC",
        "Nothing by lesion volume",
        "No paired dots",
    ]


def test_files_are_whole_and_the_same_every_time(made_up, tmp_path):
    comparison = made_up(arms=("scratch",), sizes=(5,), repeats=1).comparison(whole=False)
    files = write_figures(comparison, tmp_path / "figures")
    assert files == [tmp_path / "figures" / f"learning_curves{suffix}" for suffix in (".png", ".pdf")]
    assert sorted(files) == sorted((tmp_path / "figures").iterdir())
    first = [file.read_bytes() for file in files]
    assert [content[:4] for content in first] == [b"\x89PNG", b"%PDF"]
    assert matplotlib.image.imread(files[0]).shape[1] >= 1800, "large enough to print"
    write_figures(comparison, tmp_path / "figures")
    assert [file.read_bytes() for file in files] == first


def test_a_failure_leaves_the_file_as_it_was(made_up, tmp_path, monkeypatch):
    path = tmp_path / "learning_curves.png"
    path.write_bytes(b"before")
    comparison = made_up(arms=("scratch",), sizes=(5,), repeats=1).comparison(whole=False)
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_figures(comparison, tmp_path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


@pytest.fixture(scope="module")
def svg(small):
    return inline_svg(draw_learning_curves(small.curves, small.results.arms), "c1-curves", 'What "a" & b show')


def test_an_inline_figure_says_what_it_shows(svg):
    assert svg.startswith('<svg id="c1-curves" role="img" aria-label="What &quot;a&quot; &amp; b show" viewBox="0 0 ')
    assert "<title>What &quot;a&quot; &amp; b show</title>" in svg
    assert svg.rstrip().endswith("</svg>")


def test_text_is_text_and_escaped(svg):
    assert ">Sensitivity</text>" in svg
    assert "&lt;b&gt;$" in svg
    assert "<b>" not in svg


def test_nothing_comes_from_elsewhere(svg):
    assert "http" not in svg
    assert "<script" not in svg
    assert "<metadata" not in svg


def test_ids_are_the_figures_own_and_there_once_and_what_refers_to_them_finds_them(svg):
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"c1-curves[\w-]*", one) for one in ids)
    referred = set(re.findall(r'(?:href="#|url\(#)([^")]*)', svg))
    assert referred
    assert referred <= set(ids)
    assert "c1-curves-scratch-mean" in ids


def test_the_same_numbers_give_the_same_bytes(svg, small):
    again = inline_svg(draw_learning_curves(small.curves, small.results.arms), "c1-curves", 'What "a" & b show')
    assert again == svg


def test_it_is_well_formed(svg):
    named = svg.replace("<svg ", '<svg xmlns:xlink="http://www.w3.org/1999/xlink" ', 1)
    assert ET.fromstring(named).tag == "svg"


def test_a_fault_is_not_taken_for_nothing_to_draw(small, monkeypatch):
    def fail(*_):
        raise ValueError("a fault")

    monkeypatch.setattr("lesionseg.report.figures.drawing.draw_froc", fail)
    with pytest.raises(ValueError, match=r"^a fault$"):
        draw_comparison(small)
