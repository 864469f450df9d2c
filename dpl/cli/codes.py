"""The exit codes of `dpl`."""

DONE, FAILED, WRONG, NUMERICAL, INTERRUPTED, BROKEN_PIPE = 0, 1, 2, 3, 130, 141
