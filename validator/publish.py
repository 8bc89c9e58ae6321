"""Publishing, as its operator looks at it: `python -m validator.publish check --store …`."""

import sys
from collections.abc import Sequence

from shared.config import exit_on_config_error
from shared.errors import ConfigError
from validator.publish_config import PROGRAM, load_check_config

USAGE = f"""usage: {PROGRAM} check [flags]

  check    say what works and what doesn't with the store of published epochs, and what to do about it;
           exit status 0 if nothing has to be put right, 1 otherwise

{PROGRAM} check --help lists its flags."""


def check(argv: Sequence[str]) -> int:
    """Look at a store and print what is found; gives the exit status."""
    config = load_check_config(argv)

    from shared.diagnosis import FINDINGS, WELL, as_json, as_text, in_words
    from validator.store_check import check_store

    found = []
    for finding in check_store(config):
        found.append(finding)
        if not config.json:
            print(as_text(finding), flush=True)
    print(as_json(found) if config.json else in_words(found))
    return WELL if all(one.well for one in found) else FINDINGS


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status.

    Raises:
        ConfigError: there is no such command, or what it is told is not allowed.
    """
    command, *rest = (sys.argv[1:] if argv is None else list(argv)) or [""]
    if command in ("-h", "--help"):
        print(USAGE)
        return 0
    if command != "check":
        what = f"there is no command {command!r}" if command else "no command is given"
        raise ConfigError(f"{what}; {PROGRAM} --help shows all")
    return check(rest)


if __name__ == "__main__":
    exit_on_config_error(main)
