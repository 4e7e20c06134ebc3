"""Trains a model: `triptych train [overrides]`, the same as `python tasks/train.py [overrides]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.run import train  # imports torch: only now that the configuration is known to be right

    return train(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("train", sys.argv[1:]))
