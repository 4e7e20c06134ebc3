"""Measures a trained model: `triptych evaluate checkpoint=RUN_OR_FOLDER [data=...]`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.evaluation.evaluate import evaluate  # imports torch: only now that the configuration is known

    return evaluate(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("evaluate", sys.argv[1:]))
