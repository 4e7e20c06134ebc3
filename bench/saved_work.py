"""What leaving work out saves in a training step: our dense step's time over ours with less work, on random images.

    OMP_NUM_THREADS=2 OMP_WAIT_POLICY=PASSIVE python bench/saved_work.py --models tiny small --batch 8 --pairs 15

Beside each ratio of times stands the same ratio of the FLOPs that PyTorch's counter sees: what could be saved at most.
(The same dense step against timm's: `triptych benchmark`.)
"""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import triptych
from triptych.measure.timing import compare

CLASSES = 1000
WITH_LESS = {"stochastic depth 0.3": {"tower.stochastic_depth": 0.3}, "patch dropout 0.5": {"tower.patch_dropout": 0.5}}


def training_step(model: nn.Module, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """One whole step, as a function of nothing."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)

    def step() -> None:
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def flops(model: nn.Module, images: Tensor, labels: Tensor, draws: int = 8) -> float:
    """FLOPs of forward and backward, the mean of some draws."""
    with FlopCounterMode(display=False) as counter:
        for _ in range(draws):
            F.cross_entropy(model(images), labels).backward()
    model.zero_grad()
    return counter.get_total_flops() / draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["tiny", "small", "base"], default=["tiny", "small"])
    parser.add_argument("--batch", type=int, default=8, help="images in a step")
    parser.add_argument("--pairs", type=int, default=15, help="alternating runs of both")
    options = parser.parse_args()

    torch.manual_seed(0)
    images, labels = torch.randn(options.batch, 3, 224, 224), torch.randint(CLASSES, (options.batch,))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, batch {options.batch}")
    print(f"{'ours':30} {'dense / with (quartiles)':28} {'FLOPs, dense / with':>20}")
    for size in options.models:
        name = f"vit_{size}_patch16_224"
        dense = triptych.create(name)
        for what, settings in WITH_LESS.items():
            model = triptych.create(name, overrides=settings)
            saved = flops(dense, images, labels, 1) / flops(model, images, labels)
            full, less = (training_step(each, images, labels) for each in (dense, model))
            print(f"{size + ', ' + what:30} {compare(full, less, options.pairs)!s:28} {saved:20.3f}", flush=True)


if __name__ == "__main__":
    main()
