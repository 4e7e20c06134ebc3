"""The command `triptych`: finds the word that a user typed and hands the rest to it. Imports no torch."""

import os
import sys

from triptych.errors import UserError, say, shown


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; the exit code (see `triptych.command.start`)."""
    words = sys.argv[1:] if arguments is None else arguments
    try:
        code = _dispatch(words)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        say(f"error: {shown(error)}")
        return error.exit_code
    except Exception:
        from triptych.command.start import told_fault

        return told_fault()


def _dispatch(words: list[str]) -> int:
    from triptych.command import groups, listing, manual

    first, rest = (words[0], words[1:]) if words else ("--help", [])
    pages = {"help": manual.manual, "ls": listing.ls, "show": listing.show, "cp": listing.cp}
    if first in ("--help", "-h"):
        print(manual.overview())
    elif first in ("--version", "version"):
        from importlib.metadata import version

        print(f"triptych {version('triptych')}")
    elif first in pages:
        print(pages[first](rest))
    elif first in groups.tasks():
        if any(word in ("--help", "-h") for word in rest):
            print(manual.manual([first, *(word for word in rest if "=" in word)]))
        else:
            from triptych.command.start import start

            return start(first, rest)
    else:
        from triptych.schema.option import near

        known = [*groups.tasks(), *pages]
        close = near(first, known)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UserError(f"there is no task {first!r}.{hint} Known are {', '.join(known)}; see `triptych --help`")
    return 0


if __name__ == "__main__":
    sys.exit(main())
