"""What can go wrong with a whole subnet, told in one sentence each."""

from shared.errors import ConstantinopleError


class LocalnetError(ConstantinopleError):
    """The subnet can't start, or did not do what it should; nothing is left running."""
