"""The image tower of a contrastive model, as a classifier."""

import copy
from typing import Any

from triptych.errors import UserError
from triptych.models.classifier import Classifier
from triptych.models.contrastive import Contrastive


def image_classifier(model: Contrastive) -> Classifier:
    """A `Classifier` without a head over the image tower of ``model``, which it shares, before its projection: what
    timm's classifiers of CLIP's and SigLIP's towers read. Its ``config`` and ``preprocess`` are those of ``model``, as
    far as they say something of images. All of it is to be trained, whatever stood still in ``model``.

    Raises UserError where there is no image tower, or the model does not know its config.
    """
    config: Any = model.config
    if "image" not in model.modalities or not isinstance(config, dict):
        raise UserError(
            f"only a contrastive model with an image tower that knows its config can become a classifier, and this one "
            f"has the towers {', '.join(model.modalities)}"
        )
    classifier = Classifier(model.towers["image"], 0, model.preprocess).requires_grad_(True)  # pyright: ignore
    tower = copy.deepcopy(config["model"]["towers"]["image"])
    kind = f"{Classifier.__module__}.{Classifier.__qualname__}"
    plain = {"_target_": kind, "tower": tower, "num_classes": 0}
    classifier.config = {"model": plain, "preprocess": classifier.preprocess.to_dict()}
    return classifier.train(model.training)
