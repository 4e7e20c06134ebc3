"""Fits a trained model to your data: `triptych finetune weights=... data.root=... [overrides]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.finetune import finetune  # imports torch: only now that the configuration is known to be right

    return finetune(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("finetune", sys.argv[1:]))
