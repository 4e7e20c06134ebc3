"""A classifier made of words: classes are told by the embeddings of what could be said of them."""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from triptych.errors import UserError
from triptych.models.classifier import Inputs
from triptych.models.contrastive import Contrastive

PLACE = "{}"
"""Where the name of a class stands in a template."""
EmbedTexts = Callable[[list[str]], Float[Tensor, "texts dim"]]


def filled(templates: Sequence[str], name: str) -> list[str]:
    """Each template with `name` in its place."""
    return [template.replace(PLACE, name) for template in templates]


def class_embeddings(embed: EmbedTexts, names: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "classes dim"]:
    """One direction for each class: the embeddings of its filled templates brought to unit length, their mean over the
    templates, brought to unit length again (Radford et al., 2021, section 3.1.4; open_clip's
    ``build_zero_shot_classifier``).

    ``embed`` gives one row for each text, of any length.
    """
    texts = [text for name in names for text in filled(templates, name)]
    rows = F.normalize(embed(texts), dim=-1)
    return F.normalize(rows.unflatten(0, (len(names), len(templates))).mean(dim=1), dim=-1)


def embed_texts(model: Contrastive, texts: list[str], device: torch.device) -> Float[Tensor, "texts dim"]:
    """Embeddings of unit length of texts. Raises UserError where the model has no tokenizer."""
    if model.tokenizer is None:
        raise UserError(
            "this model has no tokenizer, so no text can be put to it: load it with the one it was made with"
        )
    ids, lengths = model.tokenizer(texts)
    return model.embed("text", ids.to(device), lengths.to(device))


def similarity_logits(
    images: Float[Tensor, "images dim"],
    classes: Float[Tensor, "classes dim"],
    logit_scale: Float[Tensor, ""],
    logit_bias: Float[Tensor, ""] | None = None,
) -> Float[Tensor, "images classes"]:
    """What a contrastive model says of embeddings of unit length: their products times ``exp(logit_scale)``, plus the
    bias where it has one; under autocast, too, in the type of the embeddings.
    """
    with torch.autocast(images.device.type, enabled=False):
        logits = logit_scale.exp() * (images @ classes.T)
        return logits if logit_bias is None else logits + logit_bias


class ZeroShotClassifier(nn.Module):
    """Images, or sounds, to one logit for each of the classes that were named.

    The logits of a softmax model (CLIP) rank the classes against each other, so their softmax is over the classes that
    were named; with a ``logit_bias`` (SigLIP) each class has a probability of its own, the sigmoid.

    Args:
        model: with a tower of images or sounds; kept as it is.
        classes: one direction a class, from `class_embeddings`.
    """

    def __init__(self, model: Contrastive, classes: Float[Tensor, "classes dim"]) -> None:
        super().__init__()
        self.model = model
        self.preprocess = model.preprocess
        self.num_classes = len(classes)
        self.register_buffer("classes", classes)

    def forward(self, inputs: Inputs) -> Float[Tensor, "samples classes"]:
        """Logits of images, or of spectrograms."""
        embedded = self.model.embed(self.model.perceived, inputs)
        return similarity_logits(embedded, self.get_buffer("classes"), self.model.logit_scale, self.model.logit_bias)
