"""What lesions leave on a scan: as bright as they are told to be, with soft borders, by depth, and in their masks."""

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from lesionseg.synthetic.anatomy import Grid
from lesionseg.synthetic.config import ENHANCED, Layer, LesionParameters
from lesionseg.synthetic.lesions import Lesion, PlacedLesion, enhancing_mask, lesion_mask, lesion_signal


def changed(parameters: LesionParameters, **others: Any) -> LesionParameters:
    return parameters.model_copy(update=others)


LINE = Grid((1, 1, 11), (1.0, 1.0, 1.0))
NEW = Lesion("deep", (0.0, 300.0), (1.0, 1.0, 1.0), 2.0, ({"FLAIR": 2.0},), enhancing=(2,), enhancement=5.0)


def on_a_line(lesion: Lesion = NEW, reach: float = 4.5) -> PlacedLesion:
    """Centre at voxel 5, a sulcus at voxel 8: what lies behind is no part of it."""
    cost = np.abs(np.arange(11, dtype=np.float32) - 5)[None, None]
    mask = cost <= reach
    mask[..., 8:] = False
    whole = (slice(0, 1), slice(0, 1), slice(0, 11))
    return PlacedLesion(lesion, whole, cost, (0.0, reach), (np.zeros_like(mask), mask))


class TestSignal:
    @pytest.fixture
    def parameters(self, ms_lesions: LesionParameters) -> LesionParameters:
        """One even layer, nothing random."""
        return changed(ms_lesions, layers=[Layer(until=1.0, signal={"FLAIR": [2.0, 2.0]})], signal_scatter=0.0)

    @staticmethod
    def signal(
        parameters: LesionParameters, lesion: Lesion = NEW, contrast: str = "FLAIR", session: int = 1, **others: Any
    ) -> npt.NDArray[np.floating]:
        unevenness = others.pop("unevenness", np.zeros(LINE.shape, np.float32))
        placed = on_a_line(lesion, **others)
        return lesion_signal(LINE, [placed], parameters, session, contrast, unevenness).ravel()

    def test_depth_and_profile_by_hand(self) -> None:
        one = on_a_line(reach=4.0)
        assert one.depth(1).ravel()[:7] == pytest.approx([0, 0, 0.25, 0.5, 0.75, 1, 0.75])
        assert one.profile(1).ravel().tolist() == [0, 0.5, 1, 1, 1, 1, 1, 1, 0, 0, 0], (
            "0.5 at the border, cut off beyond"
        )
        assert not one.depth(0)[one.cost > 0].any()

    def test_a_small_one_has_no_border_wider_than_itself(self) -> None:
        wide = replace(NEW, border_mm=4.0)
        assert on_a_line(wide, reach=4.0).profile(1).ravel()[:6] == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
        assert on_a_line(wide, reach=1.0).profile(1).ravel()[3:7] == pytest.approx([0, 0.5, 1, 0.5])
        assert on_a_line(wide, reach=0.2).profile(1).ravel()[4:6] == pytest.approx([0, 0.9]), "at least half a mm wide"

    def test_nothing_before_it_is_there(self, parameters: LesionParameters) -> None:
        assert not self.signal(parameters, session=0).any()
        assert not enhancing_mask(LINE, [on_a_line()], 0, 0.0).any()
        assert not lesion_mask(LINE, [on_a_line()], 0).any()

    def test_an_even_lesion_with_soft_borders(self, parameters: LesionParameters) -> None:
        assert self.signal(parameters, reach=4.0).tolist() == [0, 1, 2, 2, 2, 2, 2, 2, 0, 0, 0]
        narrow = self.signal(parameters, replace(NEW, border_mm=1.0))
        assert narrow.tolist() == [0, 2, 2, 2, 2, 2, 2, 2, 0, 0, 0]
        assert not self.signal(parameters, contrast="T2w").any(), "of which its layers tell nothing"

    def test_layers_by_depth(self, parameters: LesionParameters) -> None:
        layers = [Layer(until=until, signal={"FLAIR": [0.0, 9.0]}) for until in (0.3, 0.7, 1.0)]
        shells = replace(NEW, border_mm=0.5, signals=tuple({"FLAIR": level} for level in (1.0, 3.0, -2.0)))
        found = self.signal(changed(parameters, layers=layers), shells)  # depths 0.11, 0.33, 0.56, 0.78, 1
        assert found.tolist() == [0, 1, 3, 3, -2, -2, -2, 3, 0, 0, 0]

    def test_small_ones_have_their_own_strength(self, parameters: LesionParameters) -> None:
        own = changed(parameters, small_signal=0.5)
        middle = {mm3: self.signal(own, replace(NEW, volumes_mm3=(0.0, mm3)))[5] for mm3 in (2, 10, 54.77, 300, 9000)}
        assert list(middle.values()) == pytest.approx([1, 1, 1.5, 2, 2], rel=1e-3), "logarithmic between 10 and 300"

    def test_what_is_small_is_told(self, parameters: LesionParameters) -> None:
        own = changed(parameters, small_signal=0.5, small_mm3=[100.0, 10000.0])
        middle = [self.signal(own, replace(NEW, volumes_mm3=(0.0, mm3)))[5] for mm3 in (10, 100, 1000, 10000)]
        assert middle == pytest.approx([1, 1, 1.5, 2])

    def test_unevenness(self, parameters: LesionParameters) -> None:
        uneven = np.arange(-5, 6, dtype=np.float32)[None, None] / 5
        found = self.signal(changed(parameters, signal_scatter=0.25), unevenness=uneven)
        assert found[3:8] == pytest.approx(2 * (1 + 0.25 * np.arange(-2, 3) / 5))

    def test_enhancement_on_one_contrast_and_in_one_session(self, ms_lesions: LesionParameters) -> None:
        assert ms_lesions.enhancement is not None
        layer = Layer(until=1.0, signal={ENHANCED: [-1.0, -1.0], "T1w": [-1.0, -1.0]})
        parameters = changed(
            ms_lesions,
            layers=[layer],
            signal_scatter=0.0,
            enhancement=ms_lesions.enhancement.model_copy(update={"depth": 0.2}),
        )
        lesion = replace(NEW, border_mm=0.5, signals=({ENHANCED: -1.0, "T1w": -1.0},))
        assert self.signal(parameters, lesion, ENHANCED).tolist() == [0, -1, 4, 4, 4, 4, 4, 4, 0, 0, 0]
        assert self.signal(parameters, lesion, "T1w").tolist() == [0, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0]
        ring = replace(lesion, ring_depth=0.6)
        assert self.signal(parameters, ring, ENHANCED).tolist() == [0, -1, 4, 4, -1, -1, -1, 4, 0, 0, 0]
        former = replace(lesion, enhancing=(1,))
        assert self.signal(parameters, former, ENHANCED).tolist() == [0, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0]
        none = changed(parameters, enhancement=None)
        assert self.signal(none, lesion, ENHANCED).max() <= 0

    def test_the_enhancing_mask_holds_what_a_ring_encloses(self) -> None:
        ring = on_a_line(replace(NEW, ring_depth=0.6))
        assert np.flatnonzero(enhancing_mask(LINE, [ring], 1, 0.2)).tolist() == [2, 3, 4, 5, 6, 7]
        assert np.flatnonzero(enhancing_mask(LINE, [ring], 1, 0.0)).tolist() == [1, 2, 3, 4, 5, 6, 7]
        silent = on_a_line(replace(NEW, enhancing=()))
        assert not enhancing_mask(LINE, [silent], 1, 0.0).any()

    def test_masks_and_signals_of_several_add_up(self, parameters: LesionParameters) -> None:
        grid = Grid((1, 1, 24), (1.0, 1.0, 1.0))
        first = on_a_line()
        second = replace(first, where=(slice(0, 1), slice(0, 1), slice(13, 24)))
        mask = lesion_mask(grid, [first, second], 1).ravel()
        assert np.flatnonzero(mask).tolist() == [*range(1, 8), *range(14, 21)]
        none = np.zeros(grid.shape, np.float32)
        signal = lesion_signal(grid, [first, second], parameters, 1, "FLAIR", none).ravel()
        assert signal[:11].tolist() == signal[13:].tolist() == self.signal(parameters).tolist()
