"""nnU-Net's heads, which have a map for the background, and ours, which has one for the lesion alone."""

from collections.abc import Mapping

from torch import Tensor

from lesionseg.weights.formats.card import ForeignCard

_HEAD = ".seg_layers."


def fit_heads(
    weights: Mapping[str, Tensor], names: Mapping[str, Tensor], card: ForeignCard
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Make one lesion map of a softmax over background and lesion.

    With logits b and l the softmax gives the lesion exp(l) / (exp(b) + exp(l)) = sigmoid(l − b), so that the kernel of
    the lesion minus that of the background, and the biases likewise, give the same probability. Of more classes, or of
    regions, no map is the lesion's; these heads stay as they are, and fit nothing.

    Args:
        weights: under the network's names.
        names: the network's state dict.
        card: of the source.

    Returns:
        The weights, and for each tensor of a head that was to fit a network of one map how it was made to, or why not.
    """
    heads = [
        name
        for name, value in weights.items()
        if card.program == "nnU-Net" and _HEAD in name and name in names and _is_one_of_several(names[name], value)
    ]
    if card.activation != "softmax" or card.classes is None or len(card.classes) != 2:
        return dict(weights), dict.fromkeys(heads, _why_not(card))
    background, lesion = card.classes
    reason = f"the map of {lesion!r} minus that of {background!r}: its sigmoid is the softmax of both"
    fitted = {name: weights[name][1:] - weights[name][:1] for name in heads}
    return {**weights, **fitted}, dict.fromkeys(heads, reason)


def _is_one_of_several(wanted: Tensor, found: Tensor) -> bool:
    """Whether the network has one map where the source has several, and all else is alike."""
    return wanted.shape[0] == 1 < found.shape[0] and wanted.shape[1:] == found.shape[1:]


def _why_not(card: ForeignCard) -> str:
    if card.classes is None:
        return "no dataset.json tells what the source's maps are"
    what = "regions" if card.activation == "sigmoid" else "classes"
    return f"the source has maps of the {what} {', '.join(card.classes)}, not of background and one lesion"
