"""Who is tested, validated and trained on: by an independent ranking, and by what must never change."""

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesionseg.data.splits import Split, fixed_parts, make_split
from lesionseg.errors import InputError

SUBJECTS = [f"{number:02d}" for number in range(30)]
NAMES = st.lists(st.text("abcdef0123", min_size=1, max_size=4), min_size=9, max_size=25, unique=True)


def split_of(subjects=SUBJECTS, train_size=5, repeat=0, test=6, validation=4, seed=0, fixed=None) -> Split:
    return make_split(
        subjects, train_size=train_size, repeat=repeat, test=test, validation=validation, seed=seed, fixed=fixed
    )


def by_hash(subjects, salt):
    return sorted(subjects, key=lambda subject: hashlib.sha256(f"{salt}/{subject}".encode()).hexdigest())


def test_the_split_by_an_independent_ranking():
    split = split_of(train_size=7, repeat=3, seed=11)
    ranked = by_hash(SUBJECTS, "11/split")
    assert split.test == tuple(sorted(ranked[:6]))
    assert split.validation == tuple(sorted(ranked[6:10]))
    assert split.pool == tuple(sorted(ranked[10:]))
    assert split.train == tuple(by_hash(ranked[10:], "11/repeat 3")[:7])


def test_the_split_is_the_same_today_as_when_it_was_first_drawn():
    split = split_of([f"s{number}" for number in range(8)], train_size=2, test=2, validation=1)
    # by `printf 0/split/s3 | sha256sum` and `printf "0/repeat 0/s1" | sha256sum`
    assert split == Split(("s3", "s6"), ("s2",), ("s1", "s5"), ("s0", "s1", "s4", "s5", "s7"))


@pytest.mark.parametrize("train_size", [1, 5, 20])
@pytest.mark.parametrize("repeat", [0, 1, 7])
def test_test_and_validation_depend_on_neither_size_nor_repeat(train_size, repeat):
    split = split_of(train_size=train_size, repeat=repeat)
    assert (split.test, split.validation, split.pool) == (
        split_of().test,
        split_of().validation,
        split_of().pool,
    )
    assert len(split.train) == len(set(split.train)) == train_size
    assert set(split.train) <= set(split.pool)


def test_every_subject_is_in_one_part():
    split = split_of()
    assert sorted([*split.test, *split.validation, *split.pool]) == SUBJECTS
    assert (len(split.test), len(split.validation), len(split.pool)) == (6, 4, 20)


@pytest.mark.parametrize("repeat", range(4))
def test_a_larger_subset_begins_with_the_smaller_one(repeat):
    largest = split_of(train_size=20, repeat=repeat).train
    for size in range(1, 20):
        assert split_of(train_size=size, repeat=repeat).train == largest[:size]


def test_shares_are_of_all_subjects_and_at_least_one():
    split = split_of(test=0.2, validation=0.1)
    assert (len(split.test), len(split.validation)) == (6, 3)
    assert split_of(test=0.2, validation=3) == split
    few = split_of(SUBJECTS[:4], train_size=2, test=0.01, validation=0.01)
    assert (len(few.test), len(few.validation), len(few.pool)) == (1, 1, 2)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.integers(0, 50))
def test_a_subject_who_is_added_pushes_one_per_boundary_at_most(names, seed):
    """With numbers: test to validation, or validation to the pool, and only to make room for the new one."""
    *before, new = names
    old = split_of(before, train_size=1, test=2, validation=3, seed=seed)
    now = split_of(names, train_size=1, test=2, validation=3, seed=seed)
    left_test, left_validation = set(old.test) - set(now.test), set(old.validation) - set(now.validation)
    assert len(left_test) == (new in now.test)
    assert left_test <= set(now.validation)
    assert len(left_validation) == (new in (*now.test, *now.validation))
    assert left_validation <= set(now.pool)
    assert set(old.pool) <= set(now.pool)


def test_the_record_names_everybody():
    split = Split(("a",), ("b",), ("d", "c"), ("c", "d", "e"))
    record = json.loads(json.dumps(split.to_json()))
    assert record == {
        "test": ["a"],
        "validation": ["b"],
        "train": ["d", "c"],
        "pool": ["c", "d", "e"],
        "train_size": 2,
        "sha256": split.digest,
    }


def test_a_part_that_is_fixed_is_exactly_those_subjects():
    split = split_of(fixed={"03": "test", "17": "test", "nobody": "test"})
    assert split.test == ("03", "17")
    assert len(split.validation) == 4
    assert not {"03", "17"} & {*split.validation, *split.pool}
    assert len(split.pool) == 24


def test_too_many_to_train_on_says_how_many_there_are():
    with pytest.raises(InputError) as caught:
        split_of(train_size=21)
    assert str(caught.value) == (
        "train_size=21: there are 20 subjects to train on (30 in all, of which 6 for the test and 4 for validation); "
        "ask for fewer, or set split.test and split.validation lower"
    )
    assert len(split_of(train_size=20).train) == 20


def test_a_file_fixes_test_and_validation_alone():
    named = {"test": ["01", "02"], "validation": ["03"], "train": ["04"], "pool": ["04", "05"]}
    assert fixed_parts(named, SUBJECTS, "split.file=x.json") == {
        "01": "test",
        "02": "test",
        "03": "validation",
    }


def test_the_record_of_a_split_gives_the_same_split_again():
    split = split_of(train_size=7, repeat=2)
    fixed = fixed_parts(json.loads(json.dumps(split.to_json())), SUBJECTS, "split.json")
    assert split_of(train_size=7, repeat=2, test=0.5, validation=1, fixed=fixed) == split


def test_every_fault_of_a_file_is_told(faults_of):
    named = {"test": ["01", "99"], "validation": ["01", "98"]}
    assert faults_of(fixed_parts, named, SUBJECTS, "split.file=x.json") == (
        "split.file=x.json: test names subject '99', who is not in the dataset",
        "split.file=x.json: subject '01' is in test and in validation",
        "split.file=x.json: validation names subject '98', who is not in the dataset",
    )
