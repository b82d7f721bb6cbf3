"""The programs: `daemon` is rkllmd, `ctl` is rkllmctl."""
