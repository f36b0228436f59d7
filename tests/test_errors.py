import pickle

from lesionseg.errors import InputError


def test_one_fault_is_its_own_message():
    error = InputError("train_size: must be 1 or more")
    assert error.faults == ("train_size: must be 1 or more",)
    assert str(error) == "train_size: must be 1 or more"
    assert str(InputError(iter(["only this"]))) == "only this"


def test_several_faults_are_one_numbered_list():
    error = InputError(fault for fault in ("a: is missing", "b: unknown key"))
    assert error.faults == ("a: is missing", "b: unknown key")
    assert str(error) == "Found 2 faults:\n  1. a: is missing\n  2. b: unknown key"


def test_an_error_comes_back_whole_from_another_process():
    for error in (InputError("one"), InputError(["one", "two"])):
        back = pickle.loads(pickle.dumps(error))
        assert (back.faults, str(back)) == (error.faults, str(error))
