from dataclasses import dataclass
from triptych.schema.option import Range, option
from triptych.schema.run import Part

@dataclass
class AdamW(Part):
    """Adam"""
    _target_: str = "triptych.optim.adamw.adamw"
    _partial_: bool = True
    lr: float = option("peak learning rate", range=Range(above=0))
    weight_decay: float = option("decoupled weight decay", default=0.05, range=Range(least=0))
PLACES={"optimizer": (AdamW,)}
