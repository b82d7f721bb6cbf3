"""`python -m rkllmd.cli.ctl` is rkllmctl."""

import sys

from rkllmd.cli.ctl.program import main

sys.exit(main())
