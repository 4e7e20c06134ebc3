"""One picture, or a few: which of the given labels fits. Standard output holds nothing but the answer."""

import sys
from typing import Any

import torch

from triptych.errors import UserError
from triptych.evaluation.asking import reading_of
from triptych.evaluation.given import GivenModel, device_of
from triptych.evaluation.inference import Forward
from triptych.evaluation.inputs import find_inputs
from triptych.evaluation.predict import out, tell
from triptych.evaluation.told import table
from triptych.models.zero_shot import PLACE, ZeroShotClassifier
from triptych.parallel.ranks import Ranks
from triptych.zero_shot.given import TextForward, load_pair

_BATCH, _WORKERS = 32, 4


def ask(settings: dict[str, Any], labels: list[str]) -> int:
    """Tells the most probable of `labels` for each image of `settings["image"]`; the exit code.

    Raises:
        UserError: no such image, or none that can be read; a single label where labels are ranked against each other.
    """
    inputs = find_inputs(settings["image"], sys.stdin.buffer.read, "image")
    given = load_pair(settings["checkpoint"], tuple(settings["allow_targets"]))
    if len(labels) == 1 and not given.own_probabilities:
        raise UserError(
            f"labels names only {labels[0]!r}, and this model ranks labels against each other, so that one alone "
            "always gets 100%: give another, such as 'something else'"
        )
    device, precision = device_of(settings["device"]["accelerator"]), settings["device"]["precision"]
    if settings["device"]["threads"]:
        torch.set_num_threads(settings["device"]["threads"])
    classes = TextForward(given.model, device, precision, Ranks()).classes(labels, settings["templates"] or [PLACE])
    classifier = GivenModel(
        ZeroShotClassifier(given.model, classes), given.path, labels, given.own_probabilities, given.preprocess
    )
    forward = Forward(classifier.model, given.preprocess, device, precision)
    how = {"batch_size": _BATCH, "workers": _WORKERS, "top": settings["top"], "threshold": 0.0, "over_time": False}
    out(table(list(tell(inputs, forward, classifier, reading_of(classifier), labels, how))))
    return 0
