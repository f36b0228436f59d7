"""A run's network and studies, put together for Lightning."""

from collections.abc import Mapping, Sequence

from pytorch_lightning import seed_everything
from torch import nn

from lesionseg.build import build
from lesionseg.config.schema import TrainConfig
from lesionseg.config.sections import TrainerSection
from lesionseg.data.augmentation import Augmentation
from lesionseg.data.cache import CachedStudy
from lesionseg.runs.plan import run_seed, triple
from lesionseg.runs.strategy import regimes_of
from lesionseg.training import Machine, Optimiser, PatchDataModule, SegmentationModule
from lesionseg.weights import ModelCard, TransferReport


def assemble(
    config: TrainConfig,
    network: nn.Module,
    card: ModelCard,
    report: TransferReport,
    studies: Mapping[str, Sequence[CachedStudy]],
) -> tuple[SegmentationModule, PatchDataModule]:
    """What trains the network as the configuration says, and the patches that it learns from.

    Every random number from here on, of the loss's weights, the patches and the network's dropout, is drawn from the
    run's seed, whatever was drawn before.

    Args:
        config: of the training, budget and learning rate among it.
        network: with its first weights; training changes it.
        card: what the model is.
        report: where its weights come from, which decides how each is trained.
        studies: by part, ``train`` and ``validation``.
    """
    seed, trainer, optim = run_seed(config), config.trainer, config.optim
    seed_everything(seed, verbose=False)
    module = SegmentationModule(
        network,
        build(config.loss.function, nn.Module),
        card=card,
        optimiser=Optimiser(optim.learning_rate, optim.weight_decay, optim.warmup_steps, optim.schedule, trainer.steps),
        window_overlap=trainer.window_overlap,
        study_names=[study.name for study in studies["train"]],
        regimes=regimes_of(config, network, report),
    )
    data = PatchDataModule(
        studies["train"],
        studies["validation"],
        config.task.channels,
        triple(config.task.patch_size),
        batch_size=trainer.batch_size,
        steps=trainer.steps,
        validate_every=trainer.validate_every,
        lesion_share=trainer.lesion_share,
        seed=seed,
        augment=Augmentation(config.augment.transforms) if config.augment.transforms else None,
        num_workers=trainer.num_workers,
        checkpoint_every=trainer.checkpoint_every,
    )
    return module, data


def machine_of(trainer: TrainerSection) -> Machine:
    """What Lightning trains on."""
    return Machine(trainer.accelerator, trainer.devices, trainer.strategy, trainer.precision)
