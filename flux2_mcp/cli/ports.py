"""A port of this machine, taken before anything is said about it."""

from __future__ import annotations

import argparse
import os
import socket
from contextlib import suppress

from flux2_mcp.errors import BadSetting


def port(text: str) -> int:
    """The number of a port, for argparse; 0 is any free one."""
    with suppress(ValueError):
        number = int(text)
        if 0 <= number <= 65535:
            return number
    msg = "a port is a number from 0 to 65535"
    raise argparse.ArgumentTypeError(msg)


def listener(host: str, number: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        BadSetting: Another program has the port, or it may not be taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    if os.name == "posix":  # on Windows it would let two programs have the port
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind((host, number))
    except OSError as error:
        taken.close()
        msg = f"Port {number} of {host} cannot be used: {error.strerror}."
        raise BadSetting(msg, remedy="Choose another with --port; 0 takes a free one.") from error
    return taken
