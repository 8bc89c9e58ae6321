"""What is wrong right now, in words: logged when it begins and ends, shown by GET /health."""

import logging

log = logging.getLogger(__name__)


class Troubles:
    """At most one current trouble a subject."""

    def __init__(self) -> None:
        self._current: dict[str, str] = {}

    def report(self, subject: str, message: str) -> None:
        """Something is wrong with `subject`; the same words again are not logged again."""
        if self._current.get(subject) != message:
            log.error("%s: %s", subject, message)
        self._current[subject] = message

    def clear(self, subject: str) -> None:
        """`subject` is well."""
        if self._current.pop(subject, None) is not None:
            log.info("%s: well again", subject)

    def all(self) -> dict[str, str]:
        """Words by subject."""
        return dict(self._current)
