"""One step of Muon over a ViT's weights, ours against timm's and PyTorch's, on the same gradients.

    OMP_WAIT_POLICY=PASSIVE python bench/muon_step.py --pairs 15

Each optimizer has its own defaults for the direction: ours three polynomial steps, theirs five. PyTorch's takes the
matrices of linear maps alone, timm's and ours all weights. Rows: the peer's time over ours.
"""

import argparse
from collections.abc import Callable

import timm
import torch
from timm.optim._optim_factory import create_optimizer_v2
from torch import nn

from triptych.measure.timing import compare
from triptych.optim.muon import muon

LR = 4e-3


def step(model: nn.Module, make: Callable[[nn.Module], torch.optim.Optimizer]) -> Callable[[], object]:
    """A step of an optimizer over a model whose gradients stay as they are."""
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return make(model).step


def torchs(model: nn.Module) -> torch.optim.Optimizer:
    """PyTorch's own Muon."""
    return torch.optim.Muon([part.weight for part in model.modules() if isinstance(part, nn.Linear)], lr=LR)


def timms(model: nn.Module) -> torch.optim.Optimizer:
    """timm's Muon, with its own AdamW for the rest."""
    return create_optimizer_v2(model, opt="muon", lr=LR, weight_decay=0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["vit_tiny_patch16_224", "vit_small_patch16_224"])
    parser.add_argument("--pairs", type=int, default=15, help="alternating runs of both")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, timm {timm.__version__}, {torch.get_num_threads()} threads")
    for name in options.models:
        for peer, make in (("timm", timms), ("torch", torchs)):
            ours = step(timm.create_model(name), lambda model: muon(model, lr=LR))
            result = compare(step(timm.create_model(name), make), ours, options.pairs)
            print(
                f"{name:24} {peer:6} {result!s:28} {result.first.median:8.3f} {result.second.median:8.3f}", flush=True
            )


if __name__ == "__main__":
    main()
