"""Run the `selfsort` command, turning every error a user can cause into one sentence."""

import io
import sys

from selfsort.cli import app
from selfsort.cli.wording import in_flags
from selfsort.errors import UserError
from selfsort.ranks import Elsewhere


def main() -> None:
    """Run the command line."""
    for stream in (sys.stdout, sys.stderr):
        # A file name may hold characters that the terminal cannot show.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except Elsewhere:
        sys.exit(1)
    except UserError as error:
        _stop(in_flags(str(error), *sys.argv[1:2]), 1)
    except OSError as error:
        place = f"{error.filename!r}: " if error.filename else ""
        _stop(f"{place}{error.strerror or error}.", 1)
    except MemoryError:
        _stop("There is not enough memory: use a smaller --size, fewer pictures or a smaller --batch-size.", 1)


def _stop(sentence: str, code: int) -> None:
    print(f"selfsort: {sentence}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
