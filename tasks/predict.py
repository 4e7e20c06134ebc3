"""Tells what is in images: `triptych predict checkpoint=RUN_OR_FOLDER input=FILE_FOLDER_OR_PATTERN`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.evaluation.predict import predict  # imports torch: only now that the configuration is known

    return predict(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("predict", sys.argv[1:]))
