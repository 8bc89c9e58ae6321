"""`python -m localnet up`: a whole subnet on this machine; `roles` lists what its miners can do."""

import asyncio
import os
import sys

from localnet.config import LocalnetConfig
from shared.config import exit_on_config_error, load
from shared.errors import ConfigError, ConstantinopleError

USAGE = "usage: python -m localnet up [flags] (--help lists them) | python -m localnet roles"


def _up(argv: list[str]) -> int:
    config = load(LocalnetConfig, LocalnetConfig.__doc__ or "", argv, prog="python -m localnet up")
    cache = config.folder / "cache"
    os.environ["BITTENSOR_RUNTIME_CACHE_DIR"] = str(cache / "bittensor")
    os.environ["BTCLI_TOKEN_SYMBOLS_CACHE"] = str(cache / "token_symbols.json")
    os.environ["HF_HUB_OFFLINE"] = "1"

    from localnet.free_ports import with_ports_chosen
    from localnet.up import run_subnet

    try:
        return asyncio.run(run_subnet(with_ports_chosen(config)))
    except ConstantinopleError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _roles() -> int:
    from localnet.roles import ROLES

    width = max(map(len, ROLES))
    for role in ROLES.values():
        print(f"{role.name:<{width}}  {role.summary}")
    return 0


def main() -> int:
    """Run the command that the command line names."""
    match sys.argv[1:2]:
        case ["up"]:
            return _up(sys.argv[2:])
        case ["roles"]:
            return _roles()
        case ["-h" | "--help"]:
            print(USAGE)
            return 0
        case _:
            raise ConfigError(USAGE)


if __name__ == "__main__":
    exit_on_config_error(main)
