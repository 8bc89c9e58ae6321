"""`python -m localnet.chain_node`: parse the flags first, load the node after."""

import sys

from localnet.chain_node.config import parse_arguments


def run() -> int:
    config = parse_arguments()
    from localnet.chain_node.node import main

    return main(config)


if __name__ == "__main__":
    sys.exit(run())
