"""A comparison as text."""

from dataclasses import replace

import numpy as np
import pytest

from lesionseg.report import as_note, compare, format_table, in_markdown, on_terminal

ARMS = ("scratch", "pretrained")
VALUES = {(arm, size): np.linspace(0.1, 0.9, 8).reshape(2, 4) for arm in ARMS for size in (2, 5)}


@pytest.fixture
def comparison(case_grid):
    found = compare(case_grid(VALUES), ARMS, sweep="first", task="flair_lesions")
    return replace(found, unfinished=("lora-n2-r0 is waiting and not in the table",), methods="We trained.")


def test_the_terminal_begins_with_the_answer_and_ends_with_the_table(comparison):
    text = on_terminal(comparison)
    assert text.startswith("\n".join(comparison.answer))
    assert text.endswith(format_table(comparison.results))
    assert "\n- lora-n2-r0 is waiting and not in the table\n" in text
    assert on_terminal(comparison, named=True) == f"first (flair_lesions)\n\n{text}"


def test_the_file_has_every_part_and_no_empty_one(comparison):
    text = in_markdown(comparison)
    assert text.startswith("# first: scratch and pretrained\n\n")
    assert format_table(comparison.results, "markdown") in text
    assert "the reference needs [95 % CI]" in text
    assert text.endswith("\n\n## Methods\n\nWe trained.\n")
    assert "\n\n\n" not in text
    assert "What was compared" not in text, "nothing is known of the runs"


def test_a_note_leaves_the_table_out_where_there_is_no_room(comparison):
    whole = as_note(comparison, 100_000)
    assert format_table(comparison.results, "markdown") in whole
    short = as_note(comparison, len(whole) - 1)
    assert "|" not in short
    assert short.endswith("All of it is in the artifact comparison/report.html.")
    assert len(as_note(comparison, 50)) == 50
