"""The typed configuration: a dataclass for the root and one for every part that YAML can choose. Imports no torch.

A YAML file of a group starts from its dataclass (`defaults: [/schema/adamw@_here_, _self_]`) and gives the values, so
an unknown key or a wrong type fails when the configuration is composed.
"""

import re
from typing import Any

from triptych.schema.places import PLACES
from triptych.schema.roots import ROOTS
from triptych.schema.run import Part, Train, Trainer

__all__ = ["PLACES", "ROOTS", "Part", "Train", "Trainer", "register"]


def schema_name(kind: type[Any]) -> str:
    """`WarmupCosine` -> `warmup_cosine`: the name that YAML files use."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower()


def register() -> None:
    """Makes every dataclass known to Hydra as `schema/NAME`, and the resolver `shipped:` for files that ship."""
    from hydra.core.config_store import ConfigStore
    from omegaconf import OmegaConf

    from triptych.paths import resource

    store = ConfigStore.instance()
    for kind in {kind for kinds in PLACES.values() for kind in kinds} | set(ROOTS.values()):
        store.store(group="schema", name=schema_name(kind), node=kind)
    own = OmegaConf.structured(Part)
    OmegaConf.set_struct(own, False)  # takes any key: nothing is known of what a user's own part is called with
    store.store(group="schema", name="own", node=own)
    OmegaConf.register_new_resolver("shipped", lambda name: str(resource(name)), replace=True)
