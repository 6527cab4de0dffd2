"""python -m flux2_mcp, and the flux2-mcp command."""

import gc
import io
import os
import sys

# The collector would run several times over objects that all stay: a tenth of the start.
gc.disable()

try:
    from flux2_mcp import cli
except KeyboardInterrupt:
    sys.exit(130)


def main() -> None:
    """Run the command line, and end the process."""
    _escape_unprintable_output()
    try:
        cli.main(once_loaded=_resume_collection)
    except SystemExit as end:
        if isinstance(end.code, int):
            _leave(end.code)
        raise


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
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # a closed one is, and pythonw's
                stream.flush()
    except BrokenPipeError:
        code = cli.NOBODY_READS
    except (OSError, ValueError):
        return  # nobody reads any more; the interpreter has its own way to say so
    os._exit(code)


if __name__ == "__main__":
    main()
