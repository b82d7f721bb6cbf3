"""rkllmctl, and `python -m rkllmd.cli.ctl`: what comes before anything slow is imported."""

import signal
import sys


def main() -> int:
    """Run the program."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the program can say something, Ctrl-C ends it without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rkllmd.cli.ctl.program import main as run  # noqa: PLC0415

    return run()


if __name__ == "__main__":
    sys.exit(main())
