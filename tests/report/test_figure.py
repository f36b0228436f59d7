"""The figure: what is drawn is what was measured, and files are whole."""

import subprocess
import sys
from math import nan

import matplotlib.image
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from lesionseg.report import ArmMean, RepeatMean, Results, draw_figure, write_figure

SIZES = (2, 5, 10)
MEANS = {"scratch": (0.2, 0.3, 0.45), "pretrained": (0.4, 0.45, 0.47)}


def results(arms=("scratch", "pretrained"), sizes=SIZES, repeats=3, error=0.03):
    return Results(
        arms=arms,
        sizes=sizes,
        repeats=tuple(range(repeats)),
        n_patients=9,
        n_patients_with_lesions=8,
        n_studies=9,
        n_inconsistent=0,
        means=tuple(
            ArmMean(
                arm,
                size,
                score,
                mean + shift,
                error,
                8,
                1,
                tuple(RepeatMean(repeat, mean + shift + 0.01 * (repeat - 1)) for repeat in range(repeats)),
            )
            for score, shift in (("lesion_sensitivity", 0.0), ("lesion_ppv", 0.1))
            for arm in arms
            for size, mean in zip(sizes, MEANS[arm], strict=False)
        ),
        differences=(),
        without_lesions=(),
        missing=(),
    )


def lines_of(axes):
    return {line.get_gid(): line for line in axes.lines}


def test_what_is_drawn_is_what_was_measured():
    figure = draw_figure(results())
    for axes, shift in zip(figure.axes, (0.0, 0.1), strict=True):
        lines = lines_of(axes)
        assert len(axes.lines) == len(lines) == 2 * (1 + 3), "two arms: a mean and three repeats each"
        for arm, means in MEANS.items():
            drawn = lines[f"{arm} mean"]
            np.testing.assert_allclose(drawn.get_ydata(orig=False), np.add(means, shift))
            np.testing.assert_allclose(drawn.get_xdata(orig=False), SIZES, rtol=0.05)
            np.testing.assert_allclose(lines[f"{arm} repeat 2"].get_ydata(orig=False), np.add(means, shift + 0.01))
        ends = [segment[:, 1] for bars in axes.collections for segment in bars.get_segments()]
        np.testing.assert_allclose([high - low for low, high in ends], 0.06)


def test_axes_say_what_they_show():
    figure = draw_figure(results())
    figure.canvas.draw()
    assert [axes.get_ylabel() for axes in figure.axes] == ["Lesion sensitivity", "Lesion PPV"]
    for axes in figure.axes:
        assert axes.get_xlabel() == "Training studies (log scale)"
        assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "5", "10"]
        assert axes.get_ylim() == (0, 1)
        assert {text.get_text() for text in axes.texts} == set(MEANS)
    assert "8 test patients with lesions; faint lines: each of 3 repeats" in figure.get_supxlabel()


def test_names_and_error_bars_do_not_cover_each_other():
    figure = draw_figure(results())
    figure.canvas.draw()
    for axes in figure.axes:
        first, second = (text.get_window_extent() for text in axes.texts)
        assert not first.overlaps(second)
        assert max(first.x1, second.x1) <= figure.bbox.x1
        starts = [line.get_xdata(orig=False)[0] for gid, line in lines_of(axes).items() if gid.endswith("mean")]
        assert starts[0] != starts[1]


def test_the_arms_can_be_told_apart_in_grey():
    first, second = (lines_of(draw_figure(results()).axes[0])[f"{arm} mean"] for arm in MEANS)
    light, dark = (float(np.dot(to_rgb(line.get_color()), (0.299, 0.587, 0.114))) for line in (first, second))
    assert light - dark > 0.2
    assert first.get_linestyle() != second.get_linestyle()
    assert first.get_marker() != second.get_marker()


def test_one_repeat_has_no_faint_lines():
    figure = draw_figure(results(repeats=1))
    assert len(figure.axes[0].lines) == 2
    assert figure.get_supxlabel().endswith("one repeat")


@pytest.mark.parametrize(
    "given", [{"sizes": (5,)}, {"arms": ("scratch",)}, {"error": nan}, {"sizes": (5,), "repeats": 1}]
)
def test_small_sweeps_draw_too(given, tmp_path):
    asked = results(**given)
    write_figure(asked, tmp_path / "figure.png")
    drawn = lines_of(draw_figure(asked).axes[0])["scratch mean"]
    np.testing.assert_allclose(drawn.get_ydata(orig=False), MEANS["scratch"][: len(asked.sizes)])


def test_an_arm_without_scores_is_left_out():
    asked = results()
    only = Results(**{**vars(asked), "means": tuple(row for row in asked.means if row.arm == "scratch")})
    assert {gid.split()[0] for gid in lines_of(draw_figure(only).axes[0])} == {"scratch"}


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF")])
def test_files_are_whole_and_alone(suffix, start, tmp_path):
    path = tmp_path / "figures" / f"curve{suffix}"
    write_figure(results(), path)
    write_figure(results(), path)
    assert path.read_bytes().startswith(start)
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_the_png_is_large_enough_to_print(tmp_path):
    write_figure(results(), tmp_path / "curve.png")
    image = matplotlib.image.imread(tmp_path / "curve.png")
    assert image.shape[1] >= 1600
    assert image[..., :3].std() > 0.02, "not blank"


def test_a_failure_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "curve.png"
    path.write_bytes(b"before")
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_figure(results(), path)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_another_suffix_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.png, \.svg, \.pdf; found 'curve\.bmp'"):
        write_figure(results(), tmp_path / "curve.bmp")


def test_pyplot_is_not_needed():
    code = "import sys, lesionseg.report; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
