"""Looks for the learning rate of a training run: `triptych learning_rate [settings of triptych train]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.benchmark.learning_rate import find  # imports torch: only now that the configuration is known

    return find(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("learning_rate", sys.argv[1:]))
