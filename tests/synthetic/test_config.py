"""What a synthetic cohort may be drawn from, and what is said against the rest."""

import copy
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from lesionseg.config import conf_dir
from lesionseg.config.compose import Request, compose_jobs
from lesionseg.errors import InputError
from lesionseg.synthetic.config import Pathology
from lesionseg.synthetic.distributions import Quantiles

NAMES = sorted(path.stem for path in (conf_dir() / "pathology").glob("[!_]*.yaml"))


def _pathology(*overrides: str, name: str = "ms") -> Pathology:
    (job,), _ = compose_jobs(Request("synthesize", ("output=x", "subjects=1", f"pathology={name}", *overrides)))
    found: Any = job.config
    assert isinstance(found.pathology, Pathology)
    return found.pathology


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_pathology_is_sound_and_survives_json(name):
    pathology = _pathology(name=name)
    assert pathology.name == name
    assert Pathology.model_validate_json(pathology.model_dump_json()) == pathology


@pytest.mark.parametrize("name", NAMES)
def test_one_contrast_and_one_session_can_be_asked_for(name):
    pathology = _pathology("pathology.contrasts=[FLAIR]", "pathology.sessions=1", name=name)
    assert (pathology.contrasts, pathology.sessions) == (["FLAIR"], 1)


FAULTS = [
    ("pathology.name=MS", "pathology.name: string should match pattern '^[a-z][a-z0-9_]*$', found 'MS'"),
    ("pathology.spacing=[1,0,1]", "pathology.spacing.1: input should be greater than 0, found 0"),
    ("pathology.sessions=3", "pathology.sessions: input should be 1 or 2, found 3"),
    ("pathology.spacing=[8,4,4] pathology.field_of_view_mm=[160,160,160]", "pathology: field_of_view_mm and "),
    ("pathology.contrasts=[FLAIR,PD]", "pathology: contrasts names PD, of which signals tells nothing; it knows "),
    ("pathology.lesions.evolution=null", "pathology: sessions is 2, but lesions.evolution is null: say what the "),
    ("pathology.sites.0.name=B", "pathology: sites must have different names, found B, B"),
    ("pathology.sites=[]", "pathology.sites: list should have at least 1 item after validation, not 0, found []"),
    ("pathology.sites.2.slice_axis=3", "pathology.sites.2.slice_axis: input should be 0, 1 or 2, found 3"),
    ("+pathology.sites.2.gian=3", "pathology.sites.2.gian: unknown key; did you mean 'gain'?"),
    ("pathology.anatomy.scale=[1.1,0.9]", "pathology.anatomy.scale: write the lower number first, found [1.1, "),
    ("pathology.mimics.flow.FLAIR=[2,1]", "pathology.mimics.flow.FLAIR: write the lower number first, found [2, "),
    ("pathology.anatomy.skull_layers.bone_mm=15", "pathology.anatomy.skull_layers: fluid_mm 2.0, bone_mm 15.0 "),
    ("pathology.mimics.shapes.septum.extent=[0.4,1.5]", "pathology.mimics.shapes.septum.extent.1: input should "),
    ("pathology.mimics.shapes.perivascular_spaces.length_mm=[9,3]", "pathology.mimics.shapes.perivascular_spaces."),
    ("+pathology.mimics.shapes.rim.width=1", "pathology.mimics.shapes.rim.width: unknown key"),
    ("pathology.scan.ghost_shift=[0.2,1.2]", "pathology.scan.ghost_shift.1: input should be less than or equal "),
    ("pathology.lesions.zone_limits.juxtacortical_mm=0", "pathology.lesions.zone_limits.juxtacortical_mm: input "),
    ("pathology.texture_mm=[]", "pathology.texture_mm: list should have at least 1 item after validation, not 0"),
    ("pathology.anatomy.flip=2", "pathology.anatomy.flip: input should be less than or equal to 1, found 2"),
    ("pathology.lesions.count={shares:[0,1],values:[1,2,3,4,5]}", "pathology.lesions.count: 2 shares and 5 "),
    ("pathology.lesions.count={shares:[0,0.5,0.5,0.75,1],values:[1,2,3,4,5]}", "pathology.lesions.count: shares "),
    ("pathology.lesions.count={shares:[0.1,0.25,0.5,0.75,1],values:[1,2,3,4,5]}", "pathology.lesions.count: "),
    ("pathology.lesions.count={shares:[0,1],values:[5,4]}", "pathology.lesions.count: values must not go down, "),
    ("pathology.lesions.volume_mm3={median:15.0,low:99.0,high:2000.0}", "pathology.lesions.volume_mm3: median "),
    ("pathology.lesions.layers.0.until=0.5", "pathology.lesions: layers must end one after the other, the last "),
    (
        "++pathology.lesions.zones={deep:0,cortical:0,periventricular:0,juxtacortical:0,infratentorial:0}",
        "pathology.lesions: zones: at least one must be likelier than 0",
    ),
    ("+pathology.lesions.zones.corticl=1", "pathology.lesions.zones.corticl: input should be 'periventricular', "),
    ("+pathology.lesions.evolution.nwe.x=1", "pathology.lesions.evolution.nwe: unknown key; did you mean 'new'?"),
    ("+pathology.lesions.layers.0.untl=1", "pathology.lesions.layers.0.untl: unknown key; did you mean 'until'?"),
    ("+pathology.signals.FLAIR.textur=1", "pathology.signals.FLAIR.textur: unknown key; did you mean 'texture'?"),
]


def test_a_fault_names_key_value_and_way_out(batches):
    of_all = [
        row for row in FAULTS if row[1].startswith(("pathology: ", "pathology.lesions: "))
    ]  # found only where every section is sound
    for batch in [*batches([row for row in FAULTS if row not in of_all], depth=3), *([row] for row in of_all)]:
        with pytest.raises(InputError) as caught:
            _pathology(*(text for override, _ in batch for text in override.split()))
        for override, fault in batch:
            found = [one for one in caught.value.faults if one.startswith(fault)]
            assert found, f"{override}: {fault} is not among {caught.value.faults}"


def test_a_pathology_of_ones_own_says_only_what_differs(tmp_path):
    (tmp_path / "pathology").mkdir()
    (tmp_path / "pathology" / "abscess.yaml").write_text(
        "defaults: [glioma, _self_]\nname: abscess\nlesions:\n  volume_mm3: {median: 8000.0}\n"
    )
    request = Request("synthesize", ("output=x", "subjects=1", "pathology=abscess"), config_dir=tmp_path)
    own: Any = compose_jobs(request)[0][0].config
    glioma = _pathology(name="glioma").model_dump()
    glioma["name"] = "abscess"
    glioma["lesions"]["volume_mm3"]["median"] = 8000.0
    assert own.pathology.model_dump() == glioma


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    """Multiple sclerosis as plain values."""
    return _pathology().model_dump()


def _told(plain: dict[str, Any], **changes: Any) -> str:
    """What is said against these changes: ``_told(plain, mimics__rim={...})``."""
    own = copy.deepcopy(plain)
    for keys, value in changes.items():
        *parents, last = keys.split("__")
        part = own
        for key in parents:
            part = part[key]
        part[last] = value
    with pytest.raises(ValidationError) as caught:
        Pathology.model_validate(own)
    (error,) = caught.value.errors()
    return str(error["msg"])


KNOWN = "of which signals tells nothing; it knows FLAIR, T1w, ce-gadolinium_T1w, T2w"


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"contrasts": ["PD", "FLAIR", "DWI"]}, f"contrasts names PD, DWI, {KNOWN}"),
        ({"contrasts": ["FLAIR", "T1w", "FLAIR"]}, "contrasts names one twice: FLAIR, T1w, FLAIR"),
        ({"mimics__rim": {"FLAIR": [0.0, 1.0], "flair": [0.0, 1.0]}}, f"mimics.rim names flair, {KNOWN}"),
        ({"mimics__flow": {"PD": [0.0, 1.0]}}, f"mimics.flow names PD, {KNOWN}"),
        (
            {
                "lesions__layers": [
                    {"until": 0.5, "signal": {"FLAIR": [1.0, 2.0]}},
                    {"until": 1.0, "signal": {"FLAIR": [1.0, 2.0], "PD": [1.0, 2.0]}},
                ]
            },
            f"lesions.layers.1.signal names PD, {KNOWN}",
        ),
        ({"spacing": [0.5, 1.0, 1.0], "field_of_view_mm": [256.5, 184.0, 160.0]}, "field_of_view_mm and spacing give "),
        ({"spacing": [1.0, 1.0, 1.0], "field_of_view_mm": [148.0, 184.0, 31.0]}, "field_of_view_mm and spacing give "),
    ],
)
def test_what_does_not_fit_together_is_told(plain, changes, fault):
    assert _told(plain, **changes).startswith(f"Value error, {fault}")


@pytest.mark.parametrize(
    ("shares", "values", "fault"),
    [
        ([0.0, 0.5, 1.0], [1.0, 3.0, 2.0], "values must not go down, found [1.0, 3.0, 2.0]"),
        ([0.0, 1.0], [1.0, 2.0, 3.0], "2 shares and 3 values: there must be one of each"),
        ([0.0, 0.7, 0.5, 1.0], [1.0, 2.0, 3.0, 4.0], "shares must go up from 0 to 1, found [0.0, 0.7, 0.5, 1.0]"),
        ([0.0, 0.9], [1.0, 2.0], "shares must go up from 0 to 1, found [0.0, 0.9]"),
    ],
)
def test_quantiles_that_are_none_are_told(shares, values, fault):
    with pytest.raises(ValidationError) as caught:
        Quantiles(shares=shares, values=values)
    assert [error["msg"] for error in caught.value.errors()] == [f"Value error, {fault}"]
    assert Quantiles(shares=[0.0, 0.5, 1.0], values=[2.0, 2.0, 2.0]).at(0.3) == pytest.approx(2), "level is possible"


def test_quantiles_are_met_where_they_stand_and_are_logarithmic_between():
    quantiles = Quantiles(shares=[0.0, 0.5, 1.0], values=[1.0, 10.0, 1000.0])
    assert [quantiles.at(share) for share in (0.0, 0.5, 1.0)] == pytest.approx([1, 10, 1000])
    assert quantiles.at(0.25) == pytest.approx(10**0.5)
    assert quantiles.at(0.75) == pytest.approx(100)
    drawn = [quantiles.at(share) for share in np.random.default_rng(0).random(4000)]
    assert np.median(drawn) == pytest.approx(10, rel=0.2)
    assert 1 <= min(drawn) < max(drawn) <= 1000
