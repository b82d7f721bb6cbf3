"""rkllmd: read the configuration, then serve until told to stop."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rkllmd import __version__
from rkllmd.config.document import ConfigError
from rkllmd.config.listing import render
from rkllmd.config.loader import DEFAULT_FILE, load

BAD_CONFIGURATION = 78
"""EX_CONFIG of sysexits.h, which systemd prints by name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the daemon."""
    options = _parser().parse_args(arguments)
    try:
        loaded = load(options.config, options.set)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return BAD_CONFIGURATION
    if options.check_config:
        print(render(loaded), end="")
        return 0
    # Not earlier: a check of the configuration needs nothing of the daemon.
    from rkllmd.service.app import serve  # noqa: PLC0415

    return serve(lambda: load(options.config, options.set), loaded)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rkllmd", description="Serve local language models to voice assistants."
    )
    parser.add_argument("--version", action="version", version=f"rkllmd {__version__}")
    parser.add_argument(
        "--config", type=Path, default=DEFAULT_FILE, help="the configuration (default: %(default)s)"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY.PATH=VALUE",
        help="a setting that goes before the file's; may be repeated",
    )
    parser.add_argument(
        "--check-config",
        action="store_true",
        help="print the effective configuration and where each value comes from, and leave",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
