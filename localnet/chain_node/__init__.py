"""A development Subtensor node: JSON-RPC over a websocket, for the unmodified `bittensor` SDK and `btcli`.

It keeps one subnet's state (accounts, neurons, axons, weights, commitments), checks real sr25519
signatures, nonces and eras, and produces blocks on a timer or on demand. It is **not** a blockchain: there
is no consensus and no other node, so one process decides alone what every block holds; there are no
emissions, no fees, no alpha market, and timelocked weight commits are stored but never opened, because
opening them takes a beacon from the drand network.
"""
