"""Trains a model: `triptych train [overrides]`, the same as `python tasks/train.py [overrides]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    print(config); return 0




if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("train", sys.argv[1:]))
