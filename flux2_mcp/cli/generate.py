"""flux2-mcp generate: a picture from words, without a host."""

from __future__ import annotations

import argparse

from flux2_mcp.catalogue import Catalogue, catalogue
from flux2_mcp.cli import picture_commands
from flux2_mcp.presenters.models import ModelHelp

EXAMPLE = 'generate "a red fox in fresh snow, 85 mm, soft dawn light" --aspect-ratio 3:2'


def add_arguments(parser: argparse.ArgumentParser, known: Catalogue | None = None) -> None:
    """Declare what `generate` takes."""
    models = ModelHelp(known or catalogue())
    parser.add_argument("prompt", help="what the picture shows, as words or JSON; - reads it from stdin")
    picture_commands.add_arguments(parser, models, example=EXAMPLE)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make the picture; --help explains the exit codes."""
    return picture_commands.make(picture_commands.request_of(options), options)
