from lesionseg.report import RecordedRun, flat


def test_nested_settings_have_dotted_keys() -> None:
    nested = {
        "trainer": {"steps": 4, "threads": None},
        "model": {"network": {"widths": [4, 8]}, "parts": {}},
        "seed": 0,
    }
    assert flat(nested) == {"trainer.steps": 4, "model.network.widths": [4, 8], "seed": 0}


def test_a_run_of_which_little_is_known() -> None:
    run = RecordedRun("scratch", 2, 0)
    assert (run.source, run.search, run.best_validation) == (None, None, None)
