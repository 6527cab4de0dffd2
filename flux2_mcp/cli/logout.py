"""flux2-mcp logout: remove the saved key with its address, and nothing else."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from flux2_mcp import credentials
from flux2_mcp.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `logout` takes: nothing."""
    parser.set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Remove the key from the shared config file.

    Raises:
        BadSetting: The file is not one that can be changed.
    """
    settings = Settings.from_environ(os.environ)
    saved = credentials.saved_credentials(settings, home=Path.home())
    file = credentials.forget_key(settings, home=Path.home())
    if file:
        where = saved.base_url if saved else credentials.DEFAULT_BASE_URL
        print(
            f"Logged out: the key and its address are no longer in {file}. The key works until it is revoked: "
            f"{where.rstrip('/')}/api_keys"
        )
    else:
        print("There was no saved key.")
    if settings.api_key is not None:
        print("RUNAPI_API_KEY is still set, and goes on being used.")
    return 0
