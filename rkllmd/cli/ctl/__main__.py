"""rkllmctl, and `python -m rkllmd.cli.ctl`: what comes before anything slow is imported."""

import os
import signal
import sys


def main() -> int:
    """Run the program."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # Until the program can say something, Ctrl-C ends it without a traceback.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    _complete_streams()
    from rkllmd.cli.ctl.program import main as run  # noqa: PLC0415

    return run()


def _complete_streams() -> None:
    """Have all three, also where the caller closed one, and no text that cannot be read or written.

    What is read and is no UTF-8 is refused where it is used.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115
        else:
            stream.reconfigure(errors="surrogateescape" if mode == "r" else "backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
