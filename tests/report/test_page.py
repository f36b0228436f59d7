"""The page: all six sections, the numbers of the comparison, nothing from elsewhere, everything escaped."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lesionseg.report import Chapter, Comparison, StudyPicture, write_page
from lesionseg.report.cells import difference_cell, mean_cell, p_cell, ratio_cell
from lesionseg.report.page import render_page
from lesionseg.report.slices import FALSE, FOUND, MISSED

MadeUp = Callable[..., Any]
HEADINGS = ["1 The answer", "2 The table", "3 Figures", "4 Pictures", "5 What was run", "6 Methods, for a paper"]
VOID = {"meta", "br", "path", "use", "image", "rect"}


class Page(HTMLParser):
    """What is on a page: the text of its headings, paragraphs and cells, its tables, and its ids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: dict[str, list[str]] = {}
        self.tables: dict[str, list[list[str]]] = {}
        self.ids: list[str] = []
        self.open: list[str] = []
        self.ignored = 0
        self._table = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        self.ids += [given["id"]] if given.get("id") else []
        if tag not in VOID:
            self.open.append(tag)
        self.texts.setdefault(tag, []).append("")
        if tag == "table":
            self._table = given["id"] or ""
            self.tables[self._table] = []
        elif tag == "tr":
            self.tables[self._table].append([])
        elif tag in ("td", "th"):
            self.tables[self._table][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for tag in set(self.open):
            self.texts[tag][-1] += data
        if self.open and {"td", "th"} & set(self.open):
            self.tables[self._table][-1][-1] += data


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


@pytest.fixture(scope="session")
def pictures(demo: Comparison) -> tuple[StudyPicture, ...]:
    image = np.random.default_rng(0).integers(50, 200, (40, 60), np.uint8)
    verdict = np.zeros((40, 60), np.uint8)
    verdict[10:14, 20:25], verdict[30:33, 40:44], verdict[20:23, 50:52] = FOUND, MISSED, FALSE
    return tuple(
        StudyPicture(arm, which, f"sub-{number}", "F1 0.50: 1 of 2 found, 1 false", image, verdict, (1.0, 1.0))
        for arm in demo.results.arms
        for number, which in enumerate(("median", "worst"))
    )


@pytest.fixture(scope="session")
def html(demo: Comparison, pictures: tuple[StudyPicture, ...]) -> str:
    return render_page([Chapter(demo, pictures)])


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)


def test_the_six_sections_come_in_their_order(page: Page) -> None:
    assert page.texts["h3"] == HEADINGS
    assert page.texts["h1"] == ["Comparison: demo"]
    assert page.texts["h2"] == ["flair_lesions"]
    assert not page.open, "every element is closed"


def test_the_answer_comes_first(page: Page, demo: Comparison) -> None:
    said = [plain(text) for text in page.texts["p"]]
    first = said.index(demo.answer[0])
    assert said[first : first + 3] == list(demo.answer)
    assert demo.validation.sentences[0] in said
    assert next(plain(text) for text in page.texts["li"]) == demo.caveats[0]


def test_the_table_has_the_numbers_of_the_comparison(page: Page, demo: Comparison) -> None:
    header, *rows = page.tables["c1-scores"]
    assert header == ["Training studies", "Arm", "Sensitivity", "PPV", "F1", "Dice", "Patients × repeats"]
    scores = ("lesion_sensitivity", "lesion_ppv", "lesion_f1", "dice")
    cells = [(size, arm) for size in demo.results.sizes for arm in demo.results.arms]
    for (size, arm), row in zip(cells, rows, strict=True):
        named = [str(size), arm] if arm == "scratch" else [arm]
        assert row[: len(named)] == named
        for score, cell in zip(scores, row[len(named) :], strict=False):
            expected = mean_cell(demo.results.mean(arm, size, score))
            if arm != "scratch":
                found = demo.results.difference(arm, size, score)
                assert found is not None
                adjusted = "" if score == "dice" else f", Holm {p_cell(found.holm_p)}"
                expected += f" {difference_cell(found.difference)} p {p_cell(found.difference.p)}{adjusted}"
            assert plain(cell) == expected
        assert row[-1] == "12 × 3"


def test_what_survives_holm_is_bold_and_nothing_else(html: str, demo: Comparison) -> None:
    survivors = sum(row.holm_p < 0.05 for row in demo.results.differences)
    assert 0 < survivors < len(demo.results.differences)
    assert html.count('class="strong"') == survivors


def test_further_tables_have_the_numbers_of_the_comparison(page: Page, demo: Comparison) -> None:
    first = demo.results.difference("pretrained", 2, "lesion_sensitivity")
    assert first is not None
    assert first.mixed is not None
    assert page.tables["c1-tests"][1] == [
        "2",
        "pretrained",
        "sensitivity",
        p_cell(first.difference.p),
        p_cell(first.sign_flip.p),
        p_cell(first.wilcoxon.p),
        difference_cell(first.mixed),
        p_cell(first.mixed.p),
    ]
    assert page.tables["c1-tests"][-1][-2:] == ["–", "–"], "no mixed model there"
    assert len(page.tables["c1-tests"]) == 1 + len(demo.results.differences)
    mean = demo.results.mean("scratch", 2, "lesion_sensitivity")
    assert mean is not None
    assert page.tables["c1-pooled"][1][2:4] == [mean_cell(mean), ratio_cell(mean.pooled)]
    matched = demo.matched[0].difference
    assert matched is not None
    assert page.tables["c1-matched"][1][2:] == [
        *("0.41", "0.62", "0.55"),
        difference_cell(matched),
        p_cell(matched.p),
        "–",
    ]
    assert page.tables["c1-without-lesions"][1][2:] == ["1", "33 %", "0.67", "0.012"]
    assert page.tables["c1-froc-areas"][1][2:] == ["0.60", "2.00", "0.40"]
    assert [plain(cell) for cell in page.tables["c1-strata"][1][2:]] == [
        "below 10",
        "0.10 ± 0.05 10 patients, 40 lesions",
        "0.50 ± 0.06 9 patients, 30 lesions",
    ]


def test_tables_have_captions_and_heads(html: str, page: Page) -> None:
    assert len(page.texts["caption"]) == len(page.tables) == 10
    assert all(map(plain, page.texts["caption"]))
    assert html.count('<th scope="col">') > 30
    assert html.count('<th scope="row"') > 30
    assert "24 tests of sensitivity, PPV and F1" in plain(page.texts["caption"][0])


def test_the_five_figures_are_there_with_titles(html: str, page: Page) -> None:
    names = ["learning_curves", "label_savings", "froc", "lesion_size", "patients"]
    assert [one for one in page.ids if one in {f"c1-{name}" for name in names}] == [f"c1-{name}" for name in names]
    captions = [plain(text) for text in page.texts["figcaption"]]
    assert [text.split(".")[0] for text in captions[:5]] == [f"Figure {number}" for number in range(1, 6)]
    assert html.count('role="img" aria-label=') == 5 + 6
    assert demo_sentence(page), "what the arrows say is said in words, too"


def demo_sentence(page: Page) -> bool:
    return any("reaches what scratch reaches with 4.5" in text for text in page.texts["li"])


def test_every_picture_says_whose_it_is(html: str, page: Page, demo: Comparison) -> None:
    captions = [plain(text) for text in page.texts["figcaption"]][5:]
    expected = [f"{arm}, {which}: sub-{number}" for arm in demo.results.arms for number, which in enumerate(WHICH)]
    assert captions == [f"{text}F1 0.50: 1 of 2 found, 1 false" for text in expected]
    assert html.count("data:image/png;base64,") == 6
    keys = [plain(text) for text in page.texts["li"]]
    assert [text for text in keys if text in ("found", "missed (m)", "false (f)")] == [
        "found",
        "missed (m)",
        "false (f)",
    ]


WHICH = ("median", "worst")


def test_what_was_run_is_told_with_the_command(page: Page, demo: Comparison) -> None:
    conduct = demo.conduct
    assert conduct is not None
    told = {row[0]: row[1] for row in page.tables["c1-conduct"]}
    assert told["Task"] == "flair_lesions: flair → lesion"
    assert told["Data"].startswith("open_ms, 40 subjects, of whom 4 for validation and 13 for the test")
    assert told["Smallest lesion"] == "3 mm³"
    assert told["Versions"] == "lesionseg 0.1.0, torch 2.13.0, mlflow 3.17.2"
    assert page.texts["pre"] == [conduct.command, conduct.train_command]
    assert [plain(cell) for cell in page.tables["c1-transfer"][2]] == [
        *("pretrained", "runs:/4f2a stroke", "ab" * 6, "97 %", "1 / 2 / 0", "100 %", "The source has no T1."),
    ]
    hashes = [row[-1] for row in page.tables["c1-splits"][1:]]
    assert hashes == [one.sha256 for one in conduct.splits]


def test_the_methods_text_is_there_to_be_copied(html: str, page: Page, demo: Comparison) -> None:
    assert demo.methods in [plain(text) for text in page.texts["p"]]
    assert re.search(r"\.copy \{ user-select: all;|pre, \.copy \{ user-select: all;", html)


def test_the_page_needs_nothing_from_elsewhere_and_no_script(html: str) -> None:
    assert "http" not in re.sub(r"[A-Za-z0-9+/=\s]{200,}", "", html)
    for forbidden in ("<script", "<link", "<iframe", "@import", "javascript:", " src=", "srcset"):
        assert forbidden not in html
    assert not re.search(r"\son\w+=", re.sub(r"base64,[^\"]*", "", html)), "no handler"
    targets = re.findall(r'href="([^"]*)"', html)
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in targets)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))


def test_the_page_says_what_it_is(html: str) -> None:
    assert html.lstrip().startswith('<!DOCTYPE html>\n<html lang="en">')
    for needed in ('<meta charset="utf-8">', "width=device-width", "<title>Comparison: demo</title>", "@media print"):
        assert needed in html


def test_ids_are_there_once_and_links_lead_somewhere(made_up: MadeUp) -> None:
    made = made_up(arms=("scratch", "pretrained"), sizes=(2, 5), repeats=2, patients=5)
    html = render_page([Chapter(made.comparison()), Chapter(made.comparison(task="new_lesions"))])
    page = Page(html)
    assert len(set(page.ids)) == len(page.ids)
    links = re.findall(r'<a href="#([^"]*)"', html)
    assert len(links) == 2 * 7
    assert set(links) <= set(page.ids)
    assert page.texts["h2"] == ["flair_lesions", "new_lesions"]
    assert page.texts["h3"] == HEADINGS * 2


def test_one_chapter_has_no_table_of_contents(page: Page) -> None:
    assert "nav" not in page.texts


def test_names_are_escaped_everywhere(made_up: MadeUp, pictures: tuple[StudyPicture, ...]) -> None:
    evil = "<i>\"&'$x_1$</i>"
    made = made_up(arms=("scratch", evil), sizes=(2, 5), repeats=2, patients=5)
    comparison = made.comparison(sweep=evil, task=evil, answer=(evil,), caveats=(evil,), methods=evil, compared=(evil,))
    picture = StudyPicture(evil, "worst", evil, evil, pictures[0].image, pictures[0].verdict, (1.0, 1.0))
    alone = made_up(arms=(evil,), sizes=(5,), repeats=1, patients=2).comparison(whole=False, sweep=evil, task=evil)
    html = render_page([Chapter(comparison, (picture,)), Chapter(alone)])
    page = Page(html)
    assert "<i>" not in html
    assert page.texts["h2"] == [evil, evil]
    assert page.tables["c1-scores"][2][0] == evil
    assert any(evil in text for text in page.texts["text"]), "in the figures, too"


def test_what_is_missing_is_said(made_up: MadeUp) -> None:
    made = made_up(arms=("scratch", "pretrained"), sizes=(2, 5), repeats=2, patients=5, without=[("pretrained", 5)])
    page = Page(render_page([Chapter(made.comparison(unfinished=("pretrained-n5-r1 is still running",)))]))
    items = [plain(text) for text in page.texts["li"]]
    assert items[:3] == [
        "pretrained, train_size 5, repeat 0 has no finished run",
        "pretrained, train_size 5, repeat 1 has no finished run",
        "pretrained-n5-r1 is still running",
    ]
    assert page.texts["strong"] == ["Not everything is there."]
    assert page.tables["c1-scores"][4] == ["pretrained", "–", "–", "–", "–", "–"]


def test_a_long_list_of_what_is_missing_is_folded(made_up: MadeUp) -> None:
    made = made_up(arms=("scratch",), sizes=(5,), repeats=1, patients=2)
    comparison = made.comparison(whole=False, unfinished=tuple(f"run {number} is missing" for number in range(9)))
    assert "<summary>9 runs or studies are missing</summary>" in render_page([Chapter(comparison)])


def test_the_least_that_there_can_be(made_up: MadeUp) -> None:
    made = made_up(arms=("scratch",), sizes=(5,), repeats=1, patients=1)
    comparison = made.comparison(whole=False, answer=(), caveats=(), compared=(), sweep="", task="")
    page = Page(render_page([Chapter(comparison)]))
    said = [plain(text) for text in page.texts["p"]]
    assert page.texts["h3"] == HEADINGS
    assert page.texts["h1"] == ["Comparison of arms"]
    assert page.tables["c1-scores"][1][:2] == ["5", "scratch"]
    for sentence in (
        "There is no answer yet.",
        "There is one arm, so that nothing is compared.",
        "No label savings: they take two arms, and two sizes of the reference arm.",
        "No FROC: the runs left no table of thresholds.",
        "Nothing by lesion volume: the runs left no table of lesions.",
        "No paired dots: no test patient has a score under two arms at one size.",
        "No pictures: the runs left no slices of their test studies.",
        "What was run is not known: the report was made from scores alone.",
        "No methods text: what was run is not known.",
    ):
        assert sentence in said


def test_a_report_needs_a_chapter() -> None:
    with pytest.raises(ValueError, match=r"^A report needs a chapter, found none\.$"):
        render_page([])


def test_the_file_is_whole_and_the_same_every_time(made_up: MadeUp, tmp_path: Path) -> None:
    chapter = Chapter(made_up(arms=("scratch",), sizes=(5,), repeats=1, patients=3).comparison(whole=False))
    write_page([chapter], tmp_path / "report" / "report.html")
    first = (tmp_path / "report" / "report.html").read_bytes()
    write_page([chapter], tmp_path / "report" / "report.html")
    assert (tmp_path / "report" / "report.html").read_bytes() == first
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["report.html"]
