"""What a test's child process hears."""

import signal


def heeds_ctrl_c() -> None:
    """Let the child heed SIGINT: tests in the background, or under nohup, hand down that it is ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
