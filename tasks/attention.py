"""Shows what a trained model looks at: `triptych attention checkpoint=RUN image=FILE_OR_FOLDER`."""

import sys

from omegaconf import DictConfig


def main(config: DictConfig) -> int:
    from triptych.look import look  # imports torch: only now that the configuration is known to be right

    return look(config)


if __name__ == "__main__":
    from triptych.command.start import start

    sys.exit(start("attention", sys.argv[1:]))
