"""flux2-mcp simulate: a RunAPI of one's own."""

from __future__ import annotations

import argparse
import sys

import anyio
import uvicorn

from flux2_mcp.catalogue import catalogue, listed
from flux2_mcp.cli.ports import listener, port
from flux2_mcp.cli.terminal import number, whole_number
from flux2_mcp.simulator import Script, Simulator


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what `simulate` takes."""
    unpriced = listed([model.name for model in catalogue().models if model.price is None] or ["no model"])
    parser.add_argument("--port", type=port, default=8787, help="port on 127.0.0.1 (default: %(default)s)")
    parser.add_argument(
        "--latency", type=number(0, 3600), default=6.0, metavar="SECONDS", help="how long a picture takes"
    )
    parser.add_argument(
        "--failure-rate", type=number(0, 1), default=0.0, metavar="RATE", help="0 to 1: tasks that fail"
    )
    parser.add_argument(
        "--price-max", type=whole_number(0, 100_000), metavar="CENTS", help=f"publish a price for {unpriced}"
    )
    parser.add_argument("--dialect", choices=["both", "sdk", "v1"], default="both", help="which routes exist")
    parser.add_argument("--key", action="append", metavar="KEY", help="accept only this key (repeatable)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    script = Script(
        dialects=("sdk", "v1") if options.dialect == "both" else (options.dialect,),
        queue_seconds=options.latency / 6,
        paint_seconds=options.latency * 5 / 6,
        failure_rate=options.failure_rate,
        max_price_cents=options.price_max,
        keys=dict.fromkeys(options.key, 1000) if options.key else None,
    )
    taken = listener("127.0.0.1", options.port)
    address = f"http://127.0.0.1:{taken.getsockname()[1]}"
    keys = "the keys given" if options.key else "any key works, except those with 'wrong' or 'invalid' in them"
    print(
        f"flux2-mcp: a simulated RunAPI at {address} ({keys}; nothing is charged).\n"
        f"Point a client at it: RUNAPI_BASE_URL={address} RUNAPI_API_KEY={(options.key or ['runapi_simulated'])[0]}\n"
        "Ctrl-C ends it.",
        file=sys.stderr,
        flush=True,
    )
    server = uvicorn.Server(uvicorn.Config(Simulator(script), log_level="warning"))
    anyio.run(lambda: server.serve(sockets=[taken]))
    return 0
