"""flux2-mcp remix: a picture from others, without a host."""

from __future__ import annotations

import argparse

from flux2_mcp.catalogue import Catalogue, catalogue
from flux2_mcp.cli import picture_commands
from flux2_mcp.cli.terminal import sources
from flux2_mcp.presenters.models import ModelHelp

EXAMPLE = 'remix "the bag of image 1 on the chair of image 2" bag.jpg chair.jpg --aspect-ratio 4:3'


def add_arguments(parser: argparse.ArgumentParser, known: Catalogue | None = None) -> None:
    """Declare what `remix` takes."""
    models = ModelHelp(known or catalogue())
    about = f"1 to {models.most_sources} images: files, URLs or flux2://tasks/…{models.fewer_sources}"
    parser.add_argument("prompt", help="what to make of them, as words or JSON; - reads it from stdin")
    parser.add_argument("source", nargs="+", metavar="FILE", help=about)
    picture_commands.add_arguments(parser, models, example=EXAMPLE)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the picture; --help explains the exit codes."""
    return picture_commands.make(picture_commands.request_of(options, sources(options.source)), options)
