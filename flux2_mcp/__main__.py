"""python -m flux2_mcp, and the flux2-mcp command."""

import gc

# The collector would run several times over objects that all stay: a tenth of the start.
gc.disable()

from flux2_mcp import cli  # noqa: E402 after the collector was told


def main() -> None:
    """Run the command line."""
    cli.main(once_loaded=_collect_what_comes)


def _collect_what_comes() -> None:
    gc.freeze()
    gc.enable()


if __name__ == "__main__":
    main()
