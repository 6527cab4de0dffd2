"""flux2-mcp status: how a picture is doing that was ordered before."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from flux2_mcp.cli.job_command import JobCommand
from flux2_mcp.cli.showing import add_show_argument
from flux2_mcp.cli.terminal import add_save_to_argument, number, settings_here, with_save_to
from flux2_mcp.invocation import command
from flux2_mcp.studio import LONGEST_WAIT, Job, Report, Studio

EPILOG = """\
examples:
  {status} abdd3c02-09e4-4a16-acd8-b0564c320494
  {status} abdd3c02-09e4-4a16-acd8-b0564c320494 --wait

A look is free and orders nothing. A finished picture is fetched and saved. To find out what became of an order whose
answer was lost, run the same generate or remix command again within 15 minutes.
exit codes: 0 the picture is there, 1 failed, 2 nobody knows it or it could not be asked about, 5 still being made
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `status` takes."""
    parser.add_argument("id", metavar="ID", help="the task's id, which every result and `history` show")
    parser.add_argument(
        "--wait",
        nargs="?",
        type=number(0, LONGEST_WAIT),
        const=LONGEST_WAIT,
        default=0.0,
        metavar="SECONDS",
        help="wait for it, for 0 to 600 seconds (600 if none are given); otherwise look once",
    )
    add_save_to_argument(parser, "folder or file for what is not saved yet, instead of where its order said")
    add_show_argument(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, for scripts")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = EPILOG.format(status=command("status"))
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Look, and print what was seen; --help explains the exit codes."""
    return StatusCommand(options).run()


class StatusCommand(JobCommand):
    """A look at one task."""

    save_to: str | None = None

    stopped = "Stopped before anything was seen. If the picture was ordered, it is still being made."

    @property
    def ask_again(self) -> str:
        """Looking finds out nothing more: only the call that ordered it does."""
        return "Run the same generate or remix command again, without --repeat"

    def prepare(self) -> None:
        """Read the person's settings.

        Raises:
            BadSetting: An environment variable cannot be used.
        """
        settings, self.save_to = with_save_to(settings_here(), self.options.save_to)
        self.settings = self.as_needed(settings)

    async def jobs_of(self, studio: Studio, report: Report) -> Sequence[Job]:
        """Look at the task at least once."""
        return await studio.status(self.options.id.strip(), wait=self.options.wait, save_to=self.save_to, report=report)

    def _print_job(self, job: Job) -> None:
        super()._print_job(job)
        wanted = Path(self.save_to) if self.save_to else None
        for image in job.images:
            if wanted and image.path and not {wanted, wanted.parent} & {image.path.parent}:
                print("flux2-mcp: It was saved before, and stays where it is.", file=sys.stderr)
