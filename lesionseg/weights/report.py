"""What became of every weight, as it is printed and stored."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from lesionseg.weights.fates import ParameterFate, loaded_share
from lesionseg.weights.shares import PartShares


@dataclass(frozen=True)
class TransferReport:
    """Every parameter's fate, and what of the source found no place.

    Args:
        source: where the weights come from; empty from scratch.
        source_digest: SHA-256 of the source's weights; empty from scratch.
        source_task: the source's task.
        source_inputs: the source's channels in order.
        inputs: the target's channels in order.
        parameters: one entry per parameter or buffer of the target.
        skipped: names of the source's parameters that the target has no place for.
        differences: what source and target do not have in common, in words.
        taken_share: share of the values that were to come from the source and do, 0 to 1.
        parts: the network's parts and what became of each.
        strategy: what the initialisation sets beside the weights, as in ``init``.
        trained: values that are trained at the first step; None if nobody counted.
    """

    source: str
    source_digest: str
    source_task: str
    source_inputs: tuple[str, ...]
    inputs: tuple[str, ...]
    parameters: tuple[ParameterFate, ...]
    skipped: tuple[str, ...]
    differences: tuple[str, ...] = ()
    taken_share: float = 0.0
    parts: Mapping[str, PartShares] = field(default_factory=dict)
    strategy: Mapping[str, Any] = field(default_factory=dict)
    trained: int | None = None

    @property
    def loaded_share(self) -> float:
        """Share of the target's values that come from the source, 0 to 1."""
        return loaded_share(self.parameters)

    def to_json(self) -> dict[str, Any]:
        """Everything, with the shares on top."""
        fates = Counter(parameter.fate for parameter in self.parameters)
        return {"loaded_share": self.loaded_share, "tensors": dict(fates), **asdict(self)}

    def summary(self) -> str:
        """A few lines for the terminal."""
        if not self.source:
            return "\n".join(["weights: all fresh (from scratch)", *self._strategy_lines()])
        fates = Counter(parameter.fate for parameter in self.parameters)
        lines = [
            f"weights: {self.loaded_share:.1%} of the values from {self.source} "
            f"({fates['loaded']} tensors loaded, {fates['adapted']} adapted, {fates['fresh']} fresh, "
            f"{len(self.skipped)} of the source's skipped)"
        ]
        if self.parts:
            lines.append("  by part: " + "; ".join(f"{name} {shares}" for name, shares in self.parts.items()))
        lines += self._strategy_lines()
        lines += [f"  {p.fate}: {p.name}: {p.reason}" for p in self.parameters if p.fate != "loaded"][:12]
        lines += [f"  note: {difference}" for difference in self.differences]
        return "\n".join(lines)

    def _strategy_lines(self) -> list[str]:
        if not self.strategy:
            return []
        trained = "" if self.trained is None else f"; {self.trained:,} values trained at the first step"
        knobs = ", ".join(f"{key}={value}" for key, value in self.strategy.items())
        return [f"  strategy: {knobs}" + trained]
