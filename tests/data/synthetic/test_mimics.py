"""What is no lesion: where each of it lies, how strong it is, and that none is there where none is asked for."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from lesionseg.data.synthetic.anatomy import Anatomy
from lesionseg.data.synthetic.fields import Grid
from lesionseg.data.synthetic.mimics import MimicDraw, draw_mimics, flow, mimic_signals
from lesionseg.data.synthetic.parameters import MimicParameters, Pathology
from lesionseg.metrics.components import label_components

LARGEST = {  # at a strength of 1
    "caps": 1.5,
    "rim": 1.0,
    "septum": 1.0,
    "choroid_plexus": 1.0,
    "bright_cortex": 1.0,
    "dirty_white": 2.0,
    "perivascular_spaces": 1.0,
    "vessels": 1.25,
    "sinuses": 1.0,
}
KINDS = [*LARGEST, "flow"]


def only(kind: str, *, tubes: int = 100, **strengths: float) -> MimicDraw:
    """One mimic, and nothing else."""
    return MimicDraw({name: strengths if name == kind else {} for name in KINDS}, tubes)


@pytest.fixture(scope="module")
def shapes(grid: Grid, anatomy: Anatomy) -> dict[str, npt.NDArray[np.floating]]:
    """Each mimic at a strength of 1."""
    return {
        kind: mimic_signals(np.random.default_rng(0), grid, anatomy, only(kind, FLAIR=1.0), ["FLAIR"])["FLAIR"]
        for kind in LARGEST
    }


class TestDraw:
    def test_as_strong_on_every_contrast(self, pathology: Callable[..., Pathology]) -> None:
        parameters = pathology("ms").mimics
        drawn = [draw_mimics(np.random.default_rng(seed), parameters) for seed in range(200)]
        assert set(drawn[0].strengths) == set(KINDS)
        for kind in KINDS:
            quantiles = []
            for name, (low, high) in getattr(parameters, kind).items():
                values = np.array([one.strengths[kind][name] for one in drawn])
                assert low <= values.min() <= values.max() <= high
                quantiles.append((values - low) / (high - low))
            assert np.ptp(quantiles, axis=0) == pytest.approx(np.zeros(200), abs=1e-9)
            assert np.mean(quantiles[0]) == pytest.approx(0.5, abs=0.09)
        counts = [one.perivascular_count for one in drawn]
        low, high = parameters.perivascular_count
        assert low <= min(counts) < max(counts) <= high

    def test_what_is_left_out_changes_nothing_else(self, pathology: Callable[..., Pathology]) -> None:
        whole = pathology("ms").mimics
        without = whole.model_copy(update={"caps": {}, "septum": {}})
        first, second = (draw_mimics(np.random.default_rng(3), parameters) for parameters in (whole, without))
        assert second.strengths == first.strengths | {"caps": {}, "septum": {}}
        assert second.perivascular_count == first.perivascular_count


class TestSignals:
    def test_nothing_where_nothing_is_asked_for(self, grid: Grid, anatomy: Anatomy) -> None:
        empty = MimicParameters(**{kind: {} for kind in KINDS}, perivascular_count=[10.0, 10.0])
        drawn = draw_mimics(np.random.default_rng(0), empty)
        assert drawn == only("none", tubes=10)
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, drawn, ["FLAIR", "T1w"])
        assert set(signals) == {"FLAIR", "T1w"}
        assert not any(signal.any() for signal in signals.values())
        elsewhere = mimic_signals(np.random.default_rng(0), grid, anatomy, only("caps", T1w=1.0), ["FLAIR"])
        assert not elsewhere["FLAIR"].any(), "another contrast's is not this one's"

    @pytest.mark.parametrize("kind", LARGEST)
    def test_is_there_within_its_strength_and_in_the_brain(
        self, shapes: dict[str, npt.NDArray[np.floating]], grid: Grid, anatomy: Anatomy, kind: str
    ) -> None:
        shape = shapes[kind]
        assert shape.shape == grid.shape
        assert shape.min() >= -1e-6
        assert 0.25 * LARGEST[kind] < shape.max() <= LARGEST[kind] + 1e-5
        assert 5e-5 < np.mean(shape[anatomy.brain]) < 0.15, "somewhere, and not all over"
        if kind != "perivascular_spaces":  # a tube at the brain's edge reaches out of it
            assert not shape[anatomy.depth_mm <= 0].any()

    def test_perivascular_spaces_end_with_the_brain(self, grid: Grid, anatomy: Anatomy) -> None:
        signal = mimic_signals(
            np.random.default_rng(0), grid, anatomy, only("perivascular_spaces", tubes=3000, FLAIR=1.0), ["FLAIR"]
        )["FLAIR"]
        assert not signal[anatomy.depth_mm <= 0].any()

    def test_strengths_are_factors_and_mimics_add_up(
        self, shapes: dict[str, npt.NDArray[np.floating]], grid: Grid, anatomy: Anatomy
    ) -> None:
        both = MimicDraw(
            only("x").strengths | {"caps": {"FLAIR": 2.0, "T1w": -0.5}, "vessels": {"T1w": 3.0}}, perivascular_count=5
        )
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, both, ["T1w", "FLAIR"])
        assert np.allclose(signals["FLAIR"], 2 * shapes["caps"], atol=1e-5)
        assert np.allclose(signals["T1w"], 3 * shapes["vessels"] - 0.5 * shapes["caps"], atol=1e-5)

    def test_caps_are_at_the_horns(self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy) -> None:
        caps = shapes["caps"]
        assert not caps[(anatomy.length > 0.26) & (anatomy.length < 0.74)].any()
        for end in (anatomy.length < 0.25, anatomy.length > 0.75):
            assert caps[end].max() > 0.4
        assert np.average(anatomy.ventricle_mm[anatomy.brain], weights=caps[anatomy.brain]) < 4

    def test_rim_is_a_thin_line_along_the_wall(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        seen = shapes["rim"] > 0.05
        assert np.abs(anatomy.ventricle_mm[seen]).max() < 3
        assert anatomy.fluid[seen].max() < 1
        for low, high in ((0.0, 0.25), (0.25, 0.75), (0.75, 1.0)):
            assert (seen & (anatomy.length >= low) & (anatomy.length < high)).sum() > 10, "all along"

    def test_dirty_white_matter_fades_outwards(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        white = anatomy.white > 0.9
        near, middle, far = (
            shapes["dirty_white"][white & (anatomy.ventricle_mm >= low) & (anatomy.ventricle_mm < low + 6)].mean()
            for low in (3, 15, 27)
        )
        assert near > 1.8 * middle > 3 * far > 0, "by a factor of e every 12 mm"
        assert (shapes["dirty_white"] <= 2 * anatomy.white + 1e-5).all()

    def test_septum_is_between_the_ventricles(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        seen = shapes["septum"] > 0.05
        assert anatomy.side_mm[seen].max() < 3
        assert anatomy.ventricle_mm[seen].max() < 6
        assert anatomy.length[seen].min() > 0.3

    def test_choroid_plexus_is_in_the_ventricles(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        plexus = shapes["choroid_plexus"]
        assert anatomy.ventricle_mm[plexus > 0].max() < 4
        assert (plexus <= anatomy.fluid + 1e-5).all()
        assert np.average(anatomy.length, weights=plexus) == pytest.approx(0.28, abs=0.15)

    def test_bright_cortex_is_patches_of_cortex(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        bright, cortex = shapes["bright_cortex"], anatomy.cortex > 0.8
        assert (bright <= anatomy.cortex + 1e-5).all()
        assert 0.05 < np.mean(bright[cortex] > 0.05) < 0.6

    def test_vessels_and_sinuses_are_near_the_surface(
        self, shapes: dict[str, npt.NDArray[np.floating]], anatomy: Anatomy
    ) -> None:
        brain = anatomy.depth_mm > 0
        middle = anatomy.depth_mm[brain].mean()
        for kind, nearer in (("vessels", 0.9), ("sinuses", 0.3)):
            assert np.average(anatomy.depth_mm[brain], weights=shapes[kind][brain]) < nearer * middle
        assert anatomy.depth_mm[shapes["sinuses"] > 0].max() < 5
        midline = shapes["sinuses"][brain & (anatomy.depth_mm < 2) & (anatomy.side_mm < 1.5)]
        assert (
            midline.mean() > 0.8 > 4 * shapes["sinuses"][brain & (anatomy.depth_mm < 2) & (anatomy.side_mm > 10)].mean()
        )
        fluid, solid = (
            shapes["vessels"][part & (anatomy.depth_mm < 10)].mean()
            for part in (brain & (anatomy.fluid > 0.8), brain & (anatomy.fluid < 0.1))
        )
        assert fluid > 3 * solid > 0


class TestPerivascularSpaces:
    GRID = Grid((64, 64, 64), (1.0, 1.0, 1.0))

    @pytest.fixture
    def white(self) -> Anatomy:
        """One half white matter, the other cortex."""
        none, every = np.zeros(self.GRID.shape, np.float32), np.ones(self.GRID.shape, np.float32)
        cortex = none.copy()
        cortex[32:] = 1
        return Anatomy(
            brain=every > 0, fluid=none, cortex=cortex, deep_grey=none, white=1 - cortex, bone=None, scalp=None,
            depth_mm=50 * every, ventricle_mm=60 * every, cortex_mm=40 * every, infratentorial=none,
            structure=none, side_mm=30 * every, length=none,
        )  # fmt: skip

    def tubes(self, anatomy: Anatomy, count: int, grid: Grid | None = None) -> npt.NDArray[np.floating]:
        drawn = only("perivascular_spaces", tubes=count, FLAIR=1.0)
        return mimic_signals(np.random.default_rng(4), grid or self.GRID, anatomy, drawn, ["FLAIR"])["FLAIR"]

    def test_as_many_as_drawn(self, white: Anatomy) -> None:
        assert not self.tubes(white, 0).any()
        assert label_components(self.tubes(white, 1) > 0.2)[1] == 1
        assert 9 <= label_components(self.tubes(white, 12) > 0.2)[1] <= 12, "some may meet"

    def test_short_and_thin(self, white: Anatomy) -> None:
        labels, count = label_components(self.tubes(white, 8) > 0.2)
        for label in range(1, count + 1):
            points = np.argwhere(labels == label)
            if points.min() == 0 or points.max() == 63:
                continue  # cut off by the grid
            along = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
            extents = np.ptp((points - points.mean(axis=0)) @ along.T, axis=0) + 1
            assert 3 <= extents[0] <= 16
            assert extents[1:].max() <= 5

    def test_in_white_and_deep_grey_matter_only(self, white: Anatomy) -> None:
        tubes = self.tubes(white, 60)
        assert tubes[:32].mean() > 20 * tubes[40:].mean()
        nuclei = replace(white, white=0 * white.white, deep_grey=white.white)
        assert np.array_equal(self.tubes(nuclei, 60), tubes)
        assert not self.tubes(replace(white, white=0 * white.white), 60).any()

    def test_dimmer_where_voxels_are_thicker_than_they(self, white: Anatomy) -> None:
        thick = self.tubes(white, 60, Grid((64, 64, 64), (3.0, 3.0, 3.0)))
        assert 0.1 < thick.max() < 0.5 < self.tubes(white, 60).max() <= 1

    def test_darken_flair(self, mni: Pathology, grid: Grid, anatomy: Anatomy) -> None:
        drawn = draw_mimics(np.random.default_rng(0), mni.mimics)
        tubes = MimicDraw(only("x").strengths | {"perivascular_spaces": drawn.strengths["perivascular_spaces"]}, 100)
        signals = mimic_signals(np.random.default_rng(0), grid, anatomy, tubes, ["FLAIR", "T1w", "T2w"])
        assert signals["FLAIR"].min() < -0.02 <= 0 == signals["FLAIR"].max()
        assert signals["T2w"].max() > 0.02 >= 0 == signals["T2w"].min()


class TestFlow:
    def test_some_fluid_moves_another_in_every_scan(self, grid: Grid, anatomy: Anatomy) -> None:
        rng = np.random.default_rng(0)
        first, second = flow(rng, grid, anatomy), flow(rng, grid, anatomy)
        for moving in (first, second):
            assert moving.min() >= -1e-6
            assert 0.2 < moving.max() <= 1
            assert (moving <= anatomy.fluid + 1e-5).all()
            assert not moving[anatomy.depth_mm <= 8].any(), "not on the surface"
            deep = (anatomy.fluid > 0.9) & (anatomy.depth_mm > 8)
            assert 0.01 < np.mean(moving[deep] > 0) < 0.4
        assert np.corrcoef(first.ravel(), second.ravel())[0, 1] < 0.5
