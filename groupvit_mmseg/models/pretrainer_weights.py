"""Weights of a :class:`GroupViTPretrainer` under the names of a :class:`GroupViTSegmentor`."""

from torch import Tensor

# Names of a pretrainer's weights in the segmentor; weights that it does not have are dropped.
PRETRAINER_TO_SEGMENTOR = {
    'text_encoder.': 'decode_head.text_encoder.',
    'image_projector.': 'decode_head.image_projector.',
    'text_projector.': 'decode_head.text_projector.',
    'loss_contrastive.': 'decode_head.',
}
PRETRAINER_ONLY = ('loss_multi_label.',)


def from_pretrainer(state_dict: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename a pretrainer's state dict to the segmentor's names; leave a segmentor's as it is."""
    renamed = {}
    for key, value in state_dict.items():
        if key.startswith(PRETRAINER_ONLY):
            continue
        prefix = next((p for p in PRETRAINER_TO_SEGMENTOR if key.startswith(p)), '')
        renamed[PRETRAINER_TO_SEGMENTOR.get(prefix, '') + key[len(prefix) :]] = value
    return renamed
