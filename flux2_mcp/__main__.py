"""python -m flux2_mcp, and the flux2-mcp command."""

import gc
import io
import os
import sys
from contextlib import suppress

# The collector would run several times over objects that all stay: a tenth of the start.
gc.disable()

try:
    from flux2_mcp import cli
    from flux2_mcp.errors import NOBODY_READS, nobody_reads
except KeyboardInterrupt:
    sys.exit(130)


def main() -> None:
    """Run the command line, and end the process."""
    _replace_closed_streams()
    _escape_unprintable_output()
    try:
        cli.main(once_loaded=_resume_collection)
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


def _replace_closed_streams() -> None:
    """Give /dev/null to the standard streams that we were started without.

    The next file or connection would get their numbers, and whatever is written to stderr.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 for as long as the process lives
    if sys.stderr is None:
        # print() would take stdout instead.
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _escape_unprintable_output() -> None:
    """Escape letters that the output cannot hold: in a pipe on Windows it is cp1252, and prompts are in any script."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _resume_collection() -> None:
    gc.freeze()
    gc.enable()


def _leave(code: int) -> None:
    """End at once: all is closed, and to take the interpreter apart, module by module, takes ten times as long."""
    with suppress(OSError, ValueError):  # who does not read our errors need not know
        sys.stderr.flush()
    try:
        if sys.stdout is not None:  # a closed one is, and pythonw's
            sys.stdout.flush()
    except (OSError, ValueError) as error:
        if not nobody_reads(error):
            return  # the interpreter has its own way to say so
        code = NOBODY_READS
    os._exit(code)


if __name__ == "__main__":
    main()
