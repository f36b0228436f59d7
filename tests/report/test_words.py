import pytest

from lesionseg.report.words import counted, joined, shown, spread, training_studies


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "not set"),
        (True, "yes"),
        (False, "no"),
        (0.0010, "0.001"),
        (3, "3"),
        ([0.5, [1, None]], "[0.5, [1, not set]]"),
        ({"encoder": "never", "head": 0.2}, "{encoder: never, head: 0.2}"),
        ("flip", "flip"),
    ],
)
def test_values(value, text: str) -> None:
    assert shown(value) == text


def test_lists() -> None:
    assert [joined([2]), joined([2, 5]), joined(["a", "b", "c"])] == ["2", "2 and 5", "a, b and c"]
    with pytest.raises(ValueError, match="not enough values"):
        joined([])


def test_counts_begin_with_the_most_frequent() -> None:
    assert counted([0.003, 0.01, 0.01, 0.001]) == "0.01 (2 of 4 runs), 0.003 (1), 0.001 (1)"
    assert counted([0.01, 0.01]) == "0.01 (2)"


def test_studies() -> None:
    assert [training_studies(size) for size in (1, 2)] == ["1 training study", "2 training studies"]


def test_a_value_that_depends_on_the_size_is_told_with_it() -> None:
    assert spread({(2, 0): 200, (5, 0): 200}) == "200"
    assert spread({(2, 0): 200, (5, 0): 200, (10, 0): 400}) == "200 at 2 and 5, 400 at 10"
    assert spread({(2, 0): 200, (2, 1): 200, (2, 2): 400}) == "200 (2 of 3 runs), 400 (1)"
