from urllib.parse import parse_qs, urlparse

from lesionseg.runs.ui import chart_page


def test_the_page_is_a_flat_list_with_charts() -> None:
    asked = parse_qs(urlparse(chart_page("3", None).removeprefix("#")).query)
    assert chart_page("3", None).startswith("#/experiments/3/runs?")
    assert asked["compareRunsMode"] == ["CHART"]
    assert asked["orderByKey"] == ["metrics.`test/lesion_f1`"], "any order but by time unfolds the children"
    assert "searchFilter" not in asked


def test_a_sweep_is_filtered_for() -> None:
    asked = parse_qs(urlparse(chart_page("3", "first").removeprefix("#")).query)
    assert asked["searchFilter"] == ["tags.`lesionseg.sweep` = 'first'"]
