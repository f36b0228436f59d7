"""What became of each tensor of a network, as a report: loaded, adapted or fresh; and how the source differs."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from torch import Tensor

from lesionseg.transfer.checkpoint import ForeignCard, ModelCard
from lesionseg.transfer.finetuning import Parts

Status = Literal["loaded", "adapted", "fresh"]
_SPACING_RATIO = 1.5
_SHOWN_BY_SHAPES = ("in_channels", "out_channels", "widths", "head_bias")  # the last one is loaded over
OTHER = "other"
"""What belongs to no part."""


@dataclass(frozen=True)
class ParameterStatus:
    """What became of one parameter or buffer of the target network."""

    name: str  # in the target's state dict
    status: Status  # taken as it was, taken for some input channels or otherwise made to fit, or left as initialised
    count: int  # its number of values
    loaded: int  # how many of them come from the source
    reason: str = ""  # how it was adapted, or why it is fresh


@dataclass(frozen=True)
class PartShares:
    """What became of one part of the network."""

    values: int  # how many the target has there
    loaded: float  # share of them in tensors that were taken as they were, 0 to 1
    adapted: float  # in tensors that were taken for some input channels, or otherwise made to fit
    fresh: float  # in tensors left as initialised
    skipped: float  # share of the source's values of that part that found no place

    def __str__(self) -> str:
        """Without what there is none of."""
        shares = {"loaded": self.loaded, "adapted": self.adapted, "fresh": self.fresh}
        words = [f"{share:.1%} {what}" for what, share in shares.items() if share]
        skipped = [f"{self.skipped:.1%} of the source's skipped"] if self.skipped else []
        return ", ".join([*words, *skipped])


@dataclass(frozen=True)
class TransferReport:
    """Every parameter's one, and what of the source found no place."""

    source: str  # where the weights come from; empty from scratch
    source_digest: str  # SHA-256 of the source's weights; empty from scratch
    source_task: str  # the source's task
    source_inputs: tuple[str, ...]  # the source's channels in order
    inputs: tuple[str, ...]  # the target's channels in order
    parameters: tuple[ParameterStatus, ...]  # one entry per parameter or buffer of the target
    skipped: tuple[str, ...]  # names of the source's parameters that the target has no place for
    differences: tuple[str, ...] = ()  # what source and target do not have in common, in words
    taken_share: float = 0.0  # share of the values that were to come from the source and do, 0 to 1
    parts: Mapping[str, PartShares] = field(default_factory=dict)  # the network's parts and what became of each
    # what the initialisation sets beside the weights, as in ``init``
    strategy: Mapping[str, Any] = field(default_factory=dict)
    trained: int | None = None  # values that are trained at the first step; None if nobody counted

    @property
    def loaded_share(self) -> float:
        """Share of the target's values that come from the source, 0 to 1."""
        return loaded_share(self.parameters)

    def to_json(self) -> dict[str, Any]:
        """Everything, with the shares on top."""
        statuses = Counter(parameter.status for parameter in self.parameters)
        return {"loaded_share": self.loaded_share, "tensors": dict(statuses), **asdict(self)}

    def summary(self) -> str:
        """A few lines for the terminal."""
        if not self.source:
            return "\n".join(["weights: all fresh (from scratch)", *self._strategy_lines()])
        statuses = Counter(parameter.status for parameter in self.parameters)
        lines = [
            f"weights: {self.loaded_share:.1%} of the values from {self.source} "
            f"({statuses['loaded']} tensors loaded, {statuses['adapted']} adapted, {statuses['fresh']} fresh, "
            f"{len(self.skipped)} of the source's skipped)"
        ]
        if self.parts:
            lines.append("  by part: " + "; ".join(f"{name} {shares}" for name, shares in self.parts.items()))
        lines += self._strategy_lines()
        lines += [f"  {p.status}: {p.name}: {p.reason}" for p in self.parameters if p.status != "loaded"][:12]
        lines += [f"  note: {difference}" for difference in self.differences]
        return "\n".join(lines)

    def _strategy_lines(self) -> list[str]:
        if not self.strategy:
            return []
        trained = "" if self.trained is None else f"; {self.trained:,} values trained at the first step"
        knobs = ", ".join(f"{key}={value}" for key, value in self.strategy.items())
        return [f"  strategy: {knobs}" + trained]


def loaded_share(statuses: Sequence[ParameterStatus]) -> float:
    """Share of the values that come from the source, 0 to 1; 0 of none."""
    total = sum(one.count for one in statuses)
    return sum(one.loaded for one in statuses) / total if total else 0.0


def part_shares(
    statuses: Sequence[ParameterStatus], weights: Mapping[str, Tensor], skipped: Collection[str], parts: Parts
) -> dict[str, PartShares]:
    """The shares of each part that the target has, ``other`` for what belongs to none."""
    names = dict.fromkeys(parts.of(one.name) or OTHER for one in statuses)
    return {
        name: _shares(
            [one for one in statuses if (parts.of(one.name) or OTHER) == name],
            {key: value.numel() for key, value in weights.items() if (parts.of(key) or OTHER) == name},
            skipped,
        )
        for name in names
    }


def _shares(statuses: Sequence[ParameterStatus], source: Mapping[str, int], skipped: Collection[str]) -> PartShares:
    values, there = sum(one.count for one in statuses), sum(source.values())

    def share(kind: Status) -> float:
        return sum(one.count for one in statuses if one.status == kind) / max(1, values)

    left = sum(count for name, count in source.items() if name in set(skipped))
    return PartShares(values, share("loaded"), share("adapted"), share("fresh"), left / max(1, there))


def differences(
    source: ModelCard | ForeignCard,
    target: ModelCard,
    test_subjects: Collection[str] = (),
    *,
    threshold_to_be_chosen: bool = False,
) -> list[str]:
    """One sentence for each difference that is known to matter; a warning where it is known to hurt."""
    found = []
    if source.spacing is not None:
        ratios = [max(a / b, b / a) for a, b in zip(source.spacing, target.spacing, strict=True)]
        if max(ratios) > 1:
            warning = " (WARNING: more than 1.5 times)" if max(ratios) > _SPACING_RATIO else ""
            found.append(f"spacing {source.spacing} mm there, {target.spacing} mm here{warning}")
    fields = ["task", "target", "inputs", "patch_size", "threshold", "dataset"]
    if threshold_to_be_chosen:
        fields.remove("threshold")
    for name in fields:
        there, here = getattr(source, name, None), getattr(target, name)
        if there is not None and there != here:
            found.append(f"{name} {there!r} there, {here!r} here")
    there, here = source.network or {}, target.network
    if there.get("_target_") == here["_target_"]:  # else names and shapes tell
        found += [
            f"WARNING: the network's {key} {there.get(key)!r} there, {here.get(key)!r} here: the same values may mean "
            "something else"
            for key in dict.fromkeys((*there, *here))
            if there.get(key) != here.get(key) and key not in _SHOWN_BY_SHAPES
        ]
    if source.normalisation not in (None, target.normalisation):
        found.append(f"WARNING: normalisation {source.normalisation!r} there, {target.normalisation!r} here")
    if isinstance(source, ForeignCard):
        untold = [field for field in ("inputs", "spacing", "normalisation") if getattr(source, field) is None]
        untold += ["norm and activation, which names and shapes do not show"] if source.network is None else []
        if untold:
            found.append(f"WARNING: {source.program} does not tell the source's {', '.join(untold)}")
        return [*found, *source.notes]
    shared = sorted(set(source.train_subjects) & set(target.train_subjects))
    if source.dataset == target.dataset and shared:
        found.append(f"the source was trained on {len(shared)} of this dataset's subjects")
    seen = sorted(set(source.train_subjects) & set(test_subjects))
    if source.dataset == target.dataset and seen:
        found.append(
            f"WARNING: the source was trained on {len(seen)} of the test subjects ({', '.join(seen[:5])}"
            f"{', ...' if len(seen) > 5 else ''}): its scores here say nothing of new patients"
        )
    return found
