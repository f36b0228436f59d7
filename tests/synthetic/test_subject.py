"""Whole subjects: made again from their own JSON, with lesions that show, and no more in common than they should."""

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from lesionseg.config import conf_dir
from lesionseg.metrics.components import label_components
from lesionseg.synthetic.cohort import Session, Subject, grid_of, make_subject
from lesionseg.synthetic.config import ENHANCED, Pathology, Site

NAMES = sorted(path.stem for path in (conf_dir() / "pathology").glob("[!_]*.yaml"))
NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)
SEED, INDEX = 4, 3
Make = Callable[..., Subject]


@pytest.fixture(scope="module")
def ms(pathology: Callable[..., Pathology]) -> Pathology:
    """Heads of ellipsoids in voxels of 4 mm, without ghosts; always with new and enhancing lesions."""
    overrides = ("evolution.nothing_new=0.0", "enhancement.subjects=1.0", "enhancement.new_lesions=1.0")
    return pathology("ms", "scan.ghost_share=0.0", *(f"lesions.{text}" for text in overrides))


@pytest.fixture(scope="module")
def make(ms: Pathology) -> Make:
    """A subject, which is for reading only, of ``ms`` with these changes: ``make(sessions=1)``."""
    kept: dict[str, Subject] = {}

    def call(seed: int = SEED, index: int = INDEX, **changes: Any) -> Subject:
        key = repr((seed, index, changes))
        if key not in kept:
            kept[key] = make_subject(seed, index, ms.model_copy(update=changes))
        return kept[key]

    return call


@pytest.fixture(scope="module")
def in_mni(mni: Pathology) -> Callable[[int], Subject]:
    """Subjects of the template that is shipped, with FLAIR of one session."""
    flair = mni.model_copy(update={"contrasts": ["FLAIR"], "sessions": 1})
    return cache(lambda index: make_subject(SEED, index, flair))


def arrays(session: Session) -> dict[str, bytes]:
    return {name: volume.tobytes() for name, volume in (session.images | session.masks).items()}


def same(first: Subject, second: Subject) -> bool:
    return [arrays(session) for session in first.sessions] == [arrays(session) for session in second.sessions]


def in_sd(image: npt.NDArray[np.int16], lesions: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Voxels in standard deviations around the mean of the brain without its lesions; the background far below."""
    healthy = image[(image > 0) & ~lesions].astype(float)
    return np.where(image > 0, (image - healthy.mean()) / healthy.std(), -10)


class TestAgain:
    def test_the_same_arguments_the_same_bytes(self, ms: Pathology, make: Make) -> None:
        again = make_subject(SEED, INDEX, ms)
        assert same(make(), again)
        assert make().parameters == again.parameters

    @pytest.mark.parametrize("name", ["ms", "glioma"])
    def test_from_its_own_json(self, pathology: Callable[..., Pathology], name: str) -> None:
        subject = make_subject(SEED, INDEX, pathology(name))
        text = json.dumps(subject.parameters)
        drawn = json.loads(text)
        again = make_subject(drawn["seed"], drawn["index"], Pathology.model_validate(drawn["pathology"]))
        assert same(subject, again)
        assert json.dumps(again.parameters) == text

    def test_other_arguments_another_subject(self, make: Make) -> None:
        others = [make(), make(seed=SEED + 1), make(index=INDEX + 1), make(name="msb"), make(seed=INDEX, index=SEED)]
        assert len({other.sessions[1].images["FLAIR"].tobytes() for other in others}) == 5
        assert len({(other.sessions[1].images["FLAIR"] > 0).tobytes() for other in others}) == 5
        assert len({other.sessions[1].masks["lesion"].tobytes() for other in others}) == 5

    def test_fewer_contrasts_leave_the_others_as_they_are(self, make: Make) -> None:
        whole = make()
        for contrasts in (["FLAIR"], ["T1w", "FLAIR"]):
            fewer = make(contrasts=contrasts)
            for ours, theirs in zip(fewer.sessions, whole.sessions, strict=True):
                assert sorted(ours.images) == sorted(contrasts)
                assert "enhancing" not in ours.masks, "which nothing shows"
                assert arrays(ours).items() <= arrays(theirs).items()
            assert fewer.parameters["lesions"] == whole.parameters["lesions"]

    def test_one_session_leaves_the_brain_as_it_is(self, make: Make) -> None:
        one, two = make(sessions=1), make()
        assert len(one.sessions) == 1
        for contrast, image in one.sessions[0].images.items():
            assert np.array_equal(image > 0, two.sessions[0].images[contrast] > 0)
        for part in ("site", "anatomy", "tissues", "mimics"):
            assert one.parameters[part] == two.parameters[part]

    def test_mimics_are_in_no_mask_and_move_no_lesion(self, ms: Pathology, make: Make) -> None:
        none: dict[str, Any] = {kind: {} for kind, strengths in ms.mimics if isinstance(strengths, dict)}
        strong = {kind: {name: [9.0, 9.0] for name in getattr(ms.mimics, kind)} for kind in none}
        made = [make(), *(make(mimics=ms.mimics.model_copy(update=changes)) for changes in (none, strong))]
        for session in (0, 1):
            masks = [{name: mask.tobytes() for name, mask in one.sessions[session].masks.items()} for one in made]
            assert masks[0] == masks[1] == masks[2]
        assert not same(made[0], made[1])
        healthy = (made[1].sessions[1].images["FLAIR"] > 0) & ~made[1].sessions[1].masks["lesion"]
        spread = [one.sessions[1].images["FLAIR"][healthy].std() for one in (made[1], made[2])]
        assert spread[1] > 1.5 * spread[0]


class TestContent:
    def test_images_and_masks_of_one_shape(self, ms: Pathology, make: Make) -> None:
        subject = make()
        shape = tuple(round(extent / 4) for extent in ms.field_of_view_mm)
        assert grid_of(ms).shape == shape
        outlines = set()
        for session in subject.sessions:
            assert list(session.images) == ["FLAIR", "T1w", ENHANCED, "T2w"]
            for image in session.images.values():
                assert (image.dtype, image.shape) == (np.int16, shape)
                assert image.min() == 0
                outlines.add((image > 0).tobytes())
            assert {(mask.dtype, mask.shape) for mask in session.masks.values()} == {(np.dtype(bool), shape)}
        assert len(outlines) == 1, "one brain in every scan"
        brain = subject.sessions[0].images["FLAIR"] > 0
        assert 0.1 < brain.mean() < 0.6
        for axis in range(3):
            assert not np.take(brain, [0, -1], axis=axis).any()
        assert [set(session.masks) for session in subject.sessions] == [
            {"lesion", "enhancing"},
            {"lesion", "enhancing", "newlesion"},
        ]

    def test_masks_hold_the_lesions_that_the_json_tells(self, make: Make) -> None:
        for index in (INDEX, INDEX + 1, INDEX + 2):
            subject = make(index=index)
            lesions = subject.parameters["lesions"]
            for number, session in enumerate(subject.sessions, start=1):
                there = [lesion for lesion in lesions if lesion["session"] <= number]
                labels, count = label_components(session.masks["lesion"])
                assert count == len(there) > 0
                sizes = np.bincount(labels.ravel())[1:]
                assert sorted(sizes) == sorted(lesion["voxels"][number - 1] for lesion in there)
                for lesion in there:
                    assert labels[tuple(lesion["centre"])], "at its centre"
                active = [lesion for lesion in there if number in lesion["enhancing"]]
                assert label_components(session.masks["enhancing"])[1] == len(active)
            new = [lesion for lesion in lesions if lesion["session"] == 2]
            assert label_components(subject.sessions[1].masks["newlesion"])[1] == len(new) > 0

    def test_new_lesions_are_those_of_the_second_session_alone(self, make: Make) -> None:
        for index in (INDEX, INDEX + 1, INDEX + 2):
            before, after = (session.masks for session in make(index=index).sessions)
            new, old = after["newlesion"], after["lesion"] & ~after["newlesion"]
            assert new.any()
            assert not (new & ~after["lesion"]).any()
            assert not (new & ndimage.binary_dilation(before["lesion"] | old, NEIGHBOURS)).any(), "nor do they touch"
            labels, count = label_components(old)
            assert np.unique(labels[before["lesion"] & old]).size == count, "the others were there"
            for masks in (before, after):
                assert not (masks["enhancing"] & ~masks["lesion"]).any()
            assert not (new & ~after["enhancing"]).any(), "here, where every new one enhances"

    def test_json_tells_what_was_drawn(self, ms: Pathology, make: Make) -> None:
        drawn = make().parameters
        assert (drawn["seed"], drawn["index"], drawn["pathology"]) == (SEED, INDEX, ms.model_dump())
        (site,) = (site for site in ms.sites if site.name == drawn["site"])
        assert drawn["slice_mm"] == site.slice_mm
        assert list(drawn["tissues"]) == ms.contrasts
        assert [list(scans) for scans in drawn["scans"]] == [ms.contrasts] * 2
        earlier, last = ({(scan["shift_mm"], scan["tilt_deg"]) for scan in scans.values()} for scans in drawn["scans"])
        assert len(earlier) == 1, "one displacement for all contrasts of a session"
        assert last == {((0.0,) * 3, (0.0,) * 3)} != earlier
        noises = [scan["noise"] for scans in drawn["scans"] for scan in scans.values()]
        assert len(set(noises)) == 8, "each scan has its own"
        assert {lesion["zone"] for lesion in drawn["lesions"]} <= set(ms.lesions.zones)

    def test_the_earlier_session_is_displaced(self, ms: Pathology, make: Make) -> None:
        likeness = []
        for shift in (0.0, 0.5, 3.0):
            scan = ms.scan.model_copy(update={"shift_mm": shift, "tilt_deg": 0.0})
            first, second = (session.images["T1w"] for session in make(scan=scan).sessions)
            likeness.append(np.corrcoef(first[first > 0], second[first > 0])[0, 1])
        assert likeness[0] > likeness[1] > likeness[2]

    def test_a_skull_is_kept_where_it_is_asked_for(self, ms: Pathology, make: Make) -> None:
        skull = ms.anatomy.model_copy(update={"skull": True, "scale": [0.8, 0.8], "aspect": 0.0})
        stripped = ms.anatomy.model_copy(update={"scale": [0.8, 0.8], "aspect": 0.0})
        whole, brain = (make(anatomy=own, contrasts=["FLAIR", "T1w"]).sessions[1] for own in (skull, stripped))
        head, inside = whole.images["T1w"] > 0, brain.images["T1w"] > 0
        assert head.sum() > 1.3 * inside.sum()
        assert not (inside & ~head).any()
        assert whole.masks["lesion"].any()
        assert not (whole.masks["lesion"] & ~ndimage.binary_dilation(inside, NEIGHBOURS, 2)).any()
        shell = head & ~ndimage.binary_dilation(inside, NEIGHBOURS, 2)
        assert whole.images["T1w"][shell].max() > 1.5 * np.median(whole.images["T1w"][inside]), "fat is bright"


class TestSites:
    def test_every_site_is_met(self, ms: Pathology) -> None:
        tiny = {"spacing": [1.2] * 3, "field_of_view_mm": [40.0] * 3}  # the brain is made to fit
        small = ms.model_copy(update=tiny | {"contrasts": ["FLAIR"], "sessions": 1})
        found = {make_subject(SEED, index, small).parameters["site"] for index in range(1, 25)}
        assert found == {site.name for site in ms.sites}

    @pytest.fixture
    def scan(self, ms: Pathology, make: Make) -> Callable[[Site], npt.NDArray[np.float64]]:
        """The first T2 of a site from which no scan deviates."""
        fixed = ms.scan.model_copy(update={"gain_log_sd": 0.0, "noise_log_sd": 0.0, "grey_white_log_sd": 0.0})

        def call(site: Site) -> npt.NDArray[np.float64]:
            (session,) = make(sites=[site], scan=fixed, contrasts=["T2w"], sessions=1).sessions
            return session.images["T2w"].astype(float)

        return call

    def test_the_gain_is_the_sites(self, ms: Pathology, scan: Callable[[Site], npt.NDArray[np.float64]]) -> None:
        means = {site.name: scan(site).mean() / site.gain for site in ms.sites}
        assert max(means.values()) < 1.2 * min(means.values())
        assert max(site.gain for site in ms.sites) > 2 * min(site.gain for site in ms.sites)

    def test_grey_and_white_matter_differ_by_the_sites_factor(
        self, ms: Pathology, scan: Callable[[Site], npt.NDArray[np.float64]]
    ) -> None:
        low, high = (scan(ms.sites[0].model_copy(update={"noise": 0.0, "grey_white": way})) for way in (0.5, 2.0))
        more = (high - low)[low > 0] / ms.sites[0].gain
        least, most = (1.5 * (cortex - 1) for cortex in ms.signals["T2w"].cortex)
        assert 0.6 * least < more.max() < 1.3 * most, "cortex gains"
        assert np.mean(np.abs(more) < 0.01) > 0.2, "white matter does not"

    def test_the_noise_is_the_sites(self, ms: Pathology, scan: Callable[[Site], npt.NDArray[np.float64]]) -> None:
        site = ms.sites[0].model_copy(update={"slice_mm": 1.0})
        silent = scan(site.model_copy(update={"noise": 0.0}))
        inside = ndimage.binary_erosion(silent > 0, NEIGHBOURS)
        for noise in (site.noise, 3 * site.noise):
            noisy = scan(site.model_copy(update={"noise": noise}))
            found = (noisy - silent)[inside].std() / site.gain
            assert found == pytest.approx(noise * ms.signals["T2w"].noise, rel=0.1), "white matter being 1"

    def test_the_slices_are_the_sites(self, ms: Pathology, scan: Callable[[Site], npt.NDArray[np.float64]]) -> None:
        site = ms.sites[0].model_copy(update={"noise": 0.0})
        thin, *thick = (
            scan(site.model_copy(update={"slice_mm": thickness, "slice_axis": axis}))
            for thickness, axis in ((1.0, 2), (20.0, 1), (20.0, 2))
        )
        inside = ndimage.binary_erosion(thin > 0, NEIGHBOURS)
        across = [
            [np.abs(image - np.roll(image, 1, axis))[inside].mean() for axis in (1, 2)] for image in (thin, *thick)
        ]
        ratio = np.array(across[1:]) / across[0]
        assert ratio[0, 0] < 0.85 * ratio[0, 1], "coronal slices"
        assert ratio[1, 1] < 0.85 * ratio[1, 0], "axial slices"

    def test_a_site_left_out_is_met_no_more_and_changes_no_brain(self, ms: Pathology, make: Make) -> None:
        every, one = make(), make(sites=[ms.sites[0]])
        assert one.parameters["site"] == ms.sites[0].name
        for part in ("anatomy", "tissues", "lesions", "mimics"):
            assert every.parameters[part] == one.parameters[part]


class TestLesionsShow:
    def test_texture_is_in_sd_of_the_brain(self, ms: Pathology, make: Make) -> None:
        site = ms.sites[0].model_copy(update={"noise": 0.0})
        images = []
        for texture in (0.0, 0.5):
            flair = ms.signals["FLAIR"].model_copy(update={"texture": [texture, texture]})
            changes: dict[str, Any] = {"signals": ms.signals | {"FLAIR": flair}, "sites": [site]}
            (session,) = make(**changes, contrasts=["FLAIR"], sessions=1).sessions
            images.append(session.images["FLAIR"].astype(float))
        inside = ndimage.binary_erosion(images[0] > 0, NEIGHBOURS) & ~session.masks["lesion"]
        change = (images[1] - images[0])[inside]
        healthy = images[0][(images[0] > 0) & ~session.masks["lesion"]]
        assert change.std() == pytest.approx(0.5 * healthy.std(), rel=0.25), "mimics and bias aside"
        assert abs(change.mean()) < 0.2 * change.std()

    def test_texture_is_as_smooth_as_told(self, ms: Pathology, make: Make) -> None:
        """The smoother, the more alike are neighbours; its SD stays the same."""
        site = ms.sites[0].model_copy(update={"noise": 0.0, "blur_mm": 0.0})
        plain: dict[str, Any] = {"sites": [site], "contrasts": ["FLAIR"], "sessions": 1}
        levels = {level: ms.signals["FLAIR"].model_copy(update={"texture": [level, level]}) for level in (0.0, 0.5)}
        alike, spread = [], []
        for widths in ([1.5], [1.5, 12.0], [12.0]):
            images = [
                make(**plain, texture_mm=widths, signals=ms.signals | {"FLAIR": level}).sessions[0].images["FLAIR"]
                for level in levels.values()
            ]
            inside = ndimage.binary_erosion(images[0] > 0, NEIGHBOURS)
            change = images[1].astype(float) - images[0]
            pairs = inside[1:] & inside[:-1]
            alike.append(np.corrcoef(change[1:][pairs], change[:-1][pairs])[0, 1])
            spread.append(change[inside].std())
        assert alike[0] < 0.4 < alike[1] - 0.1 < alike[2] - 0.2
        assert max(spread) < 1.4 * min(spread)

    def test_they_change_the_scan_only_where_they_are(self, ms: Pathology, make: Make) -> None:
        layer = ms.lesions.layers[0]
        layer = layer.model_copy(update={"signal": layer.signal | {"FLAIR": [0.0, 0.0]}})
        without = ms.lesions.model_copy(update={"layers": [layer]})
        plain: dict[str, Any] = {"sites": [ms.sites[0]], "contrasts": ["FLAIR"], "sessions": 1}
        (shown,), (hidden,) = (make(**plain | changes).sessions for changes in ({}, {"lesions": without}))
        assert np.array_equal(shown.masks["lesion"], hidden.masks["lesion"])
        change = shown.images["FLAIR"].astype(int) - hidden.images["FLAIR"]
        around = ndimage.binary_dilation(shown.masks["lesion"], NEIGHBOURS, 2)
        assert not change[~around].any()
        assert np.mean(change[shown.masks["lesion"]] > 0) > 0.95

    def test_brighter_than_the_rest_of_the_brain_on_flair(self, in_mni: Callable[[int], Subject]) -> None:
        total = voxels = 0.0
        for index in range(1, 6):
            (session,) = in_mni(index).sessions
            lesion = session.masks["lesion"]
            z = in_sd(session.images["FLAIR"], lesion)
            ring = ndimage.binary_dilation(lesion, NEIGHBOURS, 2) & ~lesion & (z > -10)
            seen = lesion & (z > -10)
            assert z[seen].mean() > np.median(z[ring]) + 0.6, "than what lies around"
            total, voxels = total + z[seen].sum(), voxels + seen.sum()
        assert 1.0 < total / voxels < 2.2

    def test_enhancing_lesions_light_up_after_gadolinium_only(self, make: Make) -> None:
        gains: dict[bool, list[float]] = {True: [], False: []}
        for index in (INDEX, INDEX + 1, INDEX + 2):
            session = make(index=index).sessions[1]
            lesion, enhancing = session.masks["lesion"], session.masks["enhancing"]
            before, after = (in_sd(session.images[contrast], lesion) for contrast in ("T1w", ENHANCED))
            for active, where in ((True, enhancing), (False, lesion & ~enhancing)):
                gains[active].append(float((after - before)[where & (after > -10)].mean()))
            flair = in_sd(session.images["FLAIR"], lesion)
            assert abs(flair[enhancing].mean() - flair[lesion & ~enhancing].mean()) < 1.2
        assert min(gains[True]) > 0.8 + max(gains[False])
        assert np.mean(gains[False]) == pytest.approx(0, abs=0.5)

    def test_no_global_threshold_solves_it(self, in_mni: Callable[[int], Subject]) -> None:
        """Lesionwise F1 of the best threshold on FLAIR, any overlap, over all subjects."""
        scans = []
        for index in range(1, 6):
            (session,) = in_mni(index).sessions
            z = in_sd(session.images["FLAIR"], np.zeros_like(session.masks["lesion"]))
            scans.append((z, *label_components(session.masks["lesion"])))
        scores = []
        for threshold in np.arange(0.5, 4.0, 0.25):
            hits = predicted = right = lesions = 0
            for z, reference, count in scans:
                prediction, found = label_components(z > threshold)
                both = (reference > 0) & (prediction > 0)
                hits += np.unique(reference[both]).size
                right += np.unique(prediction[both]).size
                lesions, predicted = lesions + count, predicted + found
            sensitivity, ppv = hits / lesions, right / max(predicted, 1)
            scores.append(2 * sensitivity * ppv / max(sensitivity + ppv, 1e-9))
        assert 0.03 < max(scores) < 0.5


class TestShipped:
    @pytest.mark.parametrize("name", NAMES)
    def test_every_pathology_makes_subjects(self, pathology: Callable[..., Pathology], name: str) -> None:
        own = pathology(name)
        subjects = [make_subject(SEED, index, own) for index in (1, 2)]
        enhancing = 0
        for subject in subjects:
            assert len(subject.sessions) == own.sessions
            for session in subject.sessions:
                assert list(session.images) == [contrast for contrast in own.signals if contrast in own.contrasts]
                assert ("enhancing" in session.masks) == (
                    own.lesions.enhancement is not None and ENHANCED in own.contrasts
                )
                lesion = session.masks["lesion"]
                assert 0 < lesion.sum() < 0.3 * (session.images["FLAIR"] > 0).sum()
                z = in_sd(session.images["FLAIR"], lesion)
                assert z[lesion & (z > -10)].mean() > 0.3
                enhancing += bool(session.masks.get("enhancing", np.zeros(1)).any())
        if name in ("glioma", "metastasis"):
            assert enhancing
        assert len({subject.sessions[0].masks["lesion"].tobytes() for subject in subjects}) == 2

    def test_tumours_have_a_ring_around_a_dark_core(self, pathology: Callable[..., Pathology]) -> None:
        own = pathology("glioma", "lesions.enhancement.ring=1.0", "lesions.enhancement.subjects=1.0", "spacing=[3,3,3]")
        inner = []
        for index in (1, 2, 3):
            (session,) = make_subject(SEED, index, own).sessions
            enhancing = session.masks["enhancing"]
            z = in_sd(session.images[ENHANCED], session.masks["lesion"])
            depth = ndimage.distance_transform_edt(enhancing)
            shell, core = enhancing & (depth < 2), depth > 0.7 * depth.max()
            inner.append(z[shell].mean() - z[core].mean())
            assert enhancing.sum() < 0.6 * session.masks["lesion"].sum(), "within the oedema"
        assert min(inner) > 1.0
