"""flux2-mcp remix: a picture from others, without a host."""

from __future__ import annotations

import argparse

from flux2_mcp.cli import picture_commands
from flux2_mcp.cli.terminal import source

EXAMPLE = 'remix "the bag of image 1 on the chair of image 2" bag.jpg chair.jpg --aspect-ratio 4:3'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `remix` takes."""
    parser.add_argument("prompt", help="what to make of them, as words or JSON; - reads it from stdin")
    parser.add_argument(
        "source", nargs="+", metavar="FILE", help="1 to 8 images: files, URLs or flux2://tasks/… (flux-2-max: 1)"
    )
    picture_commands.add_arguments(parser, example=EXAMPLE)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the picture; what the exit codes mean stands in --help."""
    return picture_commands.make(
        picture_commands.request_of(options, [source(each) for each in options.source]), options
    )
