"""A classifier over a tower that is timm's own, as timm's hub writer would save it."""

from typing import Any

from torch import Tensor, nn

from triptych.checkpoints.remap import check_keys
from triptych.checkpoints.timm_export import hub_config, no_form
from triptych.models.classifier import Classifier
from triptych.towers.timm import TimmTower, create


def any_config(model: Classifier) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The ``config.json`` and the weights under timm's names.

    Raises UserError where the architecture has no single linear head that ours could be.
    """
    tower = model.tower
    assert isinstance(tower, TimmTower)
    theirs: Any = create(tower.name, model.num_classes, pretrained=False, **tower.arguments)
    state = dict(tower.model.state_dict())
    if model.num_classes:
        classifier = theirs.pretrained_cfg.get("classifier")
        parts = dict(theirs.named_modules())
        if not isinstance(classifier, str) or not isinstance(parts.get(classifier), nn.Linear):
            no_form(f"linear head in {tower.name}")
        state |= {f"{classifier}.{name}": tensor for name, tensor in model.head.state_dict().items()}
    check_keys(state, theirs.state_dict(), tower.name)
    known = theirs.pretrained_cfg
    arguments = {key: list(value) if isinstance(value, tuple) else value for key, value in tower.arguments.items()}
    facts = {key: known.get(key) for key in ("first_conv", "classifier", "fixed_input_size", "pool_size")}
    config = hub_config(model, theirs.pretrained_cfg["architecture"], arguments, facts.pop("classifier"), **facts)
    config["global_pool"] = (
        getattr(theirs, "global_pool", None) if isinstance(getattr(theirs, "global_pool", None), str) else None
    )
    return config, state
