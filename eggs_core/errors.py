"""The one exception that the core raises for input it cannot use."""


class EggsError(Exception):
    """A problem that the user can solve; its message is one sentence that says how."""


class OtherVersion(EggsError):
    """What was read is whole, but another version of this program wrote it."""


class OutOfMemory(EggsError):
    """A computation needed more memory than the device has."""
