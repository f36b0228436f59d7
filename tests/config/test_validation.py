import pytest
from omegaconf import OmegaConf
from pydantic import BaseModel, ValidationError

from lesionseg.config.schema import UiConfig, _fault, validate
from lesionseg.config.sections import PathsSection
from lesionseg.errors import InputError

UI = """
tracking: {name: sqlite, uri: "sqlite:///${paths.outputs}/mlflow.db", experiment: lesionseg, artifacts: null}
paths: {outputs: outputs}
port: 5000
sweep: null
"""


def test_the_result_is_plain_and_frozen():
    config = validate("ui", OmegaConf.create(UI))
    assert isinstance(config, UiConfig)
    assert config.tracking.uri == "sqlite:///outputs/mlflow.db"
    assert config.paths == PathsSection(outputs="outputs")
    with pytest.raises(ValueError, match="frozen"):
        config.port = 1


def test_what_hangs_on_a_missing_value_is_not_told_as_well():
    composed = OmegaConf.create(UI.replace("outputs: outputs", 'outputs: "???"').replace("5000", "0"))
    with pytest.raises(InputError) as caught:
        validate("ui", composed)
    assert caught.value.faults == (
        "paths.outputs: has no value; give it as paths.outputs=...",
        "port: input should be greater than or equal to 1, found 0",
    )


def test_a_dangling_interpolation_hides_no_other_fault():
    composed = OmegaConf.create(UI.replace("sweep: null", "sweep: ${nope}").replace("5000", "70000"))
    with pytest.raises(InputError) as caught:
        validate("ui", composed)
    assert caught.value.faults == (
        "sweep: interpolation key 'nope' not found",
        "port: input should be less than or equal to 65535, found 70000",
    )


def test_a_misspelt_key_is_found_beneath_lists_mappings_and_what_may_be_null():
    class Entry(BaseModel, extra="forbid"):
        length: int

    class Part(BaseModel, extra="forbid"):
        entries: list[Entry]
        by_name: dict[str, Entry]
        maybe: Entry | None

    right, wrong = {"length": 1}, {"length": 1, "lenght": 2}
    found = {"entries": [right, wrong], "by_name": {"a": wrong}, "maybe": wrong, "whole": 1}
    with pytest.raises(ValidationError) as caught:
        Part.model_validate(found)
    assert [_fault(detail, Part) for detail in caught.value.errors()] == [
        "entries.1.lenght: unknown key; did you mean 'length'?",
        "by_name.a.lenght: unknown key; did you mean 'length'?",
        "maybe.lenght: unknown key; did you mean 'length'?",
        "whole: unknown key; known are entries, by_name, maybe",
    ]
