"""The command line: one module per command."""

INTERRUPTED = 130  # exit code of a command that Ctrl-C ended
