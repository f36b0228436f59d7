"""One training step on patches, one validation on whole studies, and the optimiser."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from lesionseg.data.cache import CachedStudy
from lesionseg.data.dataset import parse_channel
from lesionseg.data.patches import Patch
from lesionseg.inference import sliding_window
from lesionseg.metrics import CASE_SCORES, average, detection_row
from lesionseg.models import channels_last
from lesionseg.transfer.checkpoint import METADATA_KEY, ModelCard
from lesionseg.transfer.finetuning import L2SPPenalty, ParamPlan, is_adapter, merged, set_trained


@dataclass(frozen=True)
class Optimiser:
    """AdamW (doi 10.48550/arXiv.1711.05101) with a linear warm-up, then a cosine or a constant rate."""

    learning_rate: float  # at the end of the warm-up
    weight_decay: float  # decoupled
    warmup_steps: int  # optimiser steps
    schedule: Literal["cosine", "constant"]  # after the warm-up
    steps: int  # the whole budget in optimiser steps

    def factor(self, step: int) -> float:
        """The learning rate at a step as a share of its highest, from 0 to 1."""
        if step < self.warmup_steps:
            return (step + 1) / (self.warmup_steps + 1)
        if self.schedule == "constant":
            return 1.0
        done = (step - self.warmup_steps) / max(1, self.steps - self.warmup_steps)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


class NotFiniteError(RuntimeError):
    """The loss became NaN or infinite."""


class SegmentationModule(pl.LightningModule):
    """Train a network on patches, validate it lesion by lesion on whole volumes."""

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        *,
        card: ModelCard,
        optimiser: Optimiser,
        window_overlap: float,
        study_names: Sequence[str],
        plans: Mapping[str, ParamPlan] | None = None,
    ) -> None:
        super().__init__()
        self.network = channels_last(network)
        self.loss = loss
        self.card = card
        self.optimiser = optimiser
        self.window_overlap = window_overlap
        self.study_names = tuple(study_names)
        self.plans = {name: (plans or {}).get(name, ParamPlan()) for name, _ in network.named_parameters()}
        self.alike = all(plan == ParamPlan() for plan in self.plans.values())
        penalised = any(plan.l2_sp for plan in self.plans.values())
        self.l2_sp = L2SPPenalty(self.network, self.plans) if penalised else None
        if not self.alike:  # before several devices agree on whose gradients to join
            set_trained(self.network, self.plans, 0)
        self.cases: list[dict[str, Any]] = []
        # told each validated study, its probability map and the step
        self.watch: Callable[[CachedStudy, Tensor, int], None] | None = None

    def on_train_batch_start(self, batch: Patch, batch_idx: int) -> None:
        """Train what this step trains; after an interruption, too, it depends on the step alone."""
        if not self.alike:
            set_trained(self.network, self.plans, self.global_step)

    def training_step(self, batch: Patch, batch_idx: int) -> dict[str, Tensor]:
        """Return the loss of a batch of patches."""
        loss: Tensor = self.loss(self.network(batch["image"]), batch["mask"])
        if not torch.isfinite(loss):
            names = sorted({self.study_names[int(number)] for number in batch["study"]})
            raise NotFiniteError(
                f"the loss is {loss.item()} at step {self.global_step + 1}, in a batch of {', '.join(names)}; "
                "lower optim.learning_rate, set trainer.precision=32-true, or look at these studies with "
                "lesionseg check"
            )
        shown = {"train/loss": loss.detach()}
        if self.l2_sp is not None:
            penalty: Tensor = self.l2_sp(self.network)
            shown["train/l2_sp"] = penalty.detach()
            loss = loss + penalty
        return {"loss": loss, **shown}

    def on_validation_epoch_start(self) -> None:
        """Forget the validation before."""
        self.cases = []

    def validation_step(self, batch: CachedStudy, batch_idx: int) -> None:
        """Segment and score one study on the working grid."""
        channels = [parse_channel(name) for name in self.card.inputs]
        image = torch.from_numpy(batch.channels(channels)).to(self.device)
        probability = sliding_window(self.network, image, self.card.patch_size, overlap=self.window_overlap).cpu()
        if self.watch is not None and self.trainer.is_global_zero:
            self.watch(batch, probability, self.global_step)
        self.cases.append(
            detection_row(
                batch.mask,
                (probability >= self.card.threshold).numpy(),
                batch.grid.spacing,
                self.card.criterion,
                min_volume_mm3=self.card.min_lesion_volume,
            )
        )

    def on_validation_epoch_end(self) -> None:
        """Log the averages over the validation studies."""
        several = self.trainer.world_size > 1  # each of which validates all the studies
        for name, found in average(self.cases, (*CASE_SCORES, "lesion_f1_one_to_one")).items():
            self.log(f"val/{name}", found.mean, sync_dist=several)

    def configure_optimizers(self) -> Any:
        """AdamW, its rate set at every step; in one group what has the same rate and weight decay.

        A group holds its parameters from the first step on, whenever their training begins, so that the groups of a
        run that goes on are the same; AdamW leaves alone what has no gradient.
        """
        decay = self.optimiser.weight_decay
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in self.network.named_parameters():
            plan = self.plans[name]
            if plan.first_step is not None:
                groups.setdefault((plan.rate, 0.0 if plan.l2_sp else decay), []).append(parameter)
        for parameter in self.loss.parameters():
            groups.setdefault((1.0, decay), []).append(parameter)
        chosen = torch.optim.AdamW(
            [
                {"params": parameters, "lr": self.optimiser.learning_rate * rate, "weight_decay": decay}
                for (rate, decay), parameters in groups.items()
            ],
            fused=True if self.device.type == "cpu" else None,  # one call for all parameters; None: torch's choice
        )
        schedule = torch.optim.lr_scheduler.LambdaLR(chosen, self.optimiser.factor)
        return {"optimizer": chosen, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip by norm; Lightning's own way refuses fused optimisers in mixed precision."""
        if gradient_clip_val:
            parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
            nn.utils.clip_grad_norm_(parameters, gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the model card into the checkpoint, and a plain network into one that is there to be used."""
        checkpoint[METADATA_KEY] = self.card.to_dict()
        goes_on = "optimizer_states" in checkpoint  # then adapters stay what they are
        if not goes_on and any(is_adapter(name) for name in self.plans):
            plain = {f"network.{name}": value for name, value in merged(self.network).items()}
            state = checkpoint["state_dict"]
            others = {name: value for name, value in state.items() if not name.startswith("network.")}
            checkpoint["state_dict"] = {**plain, **others}
