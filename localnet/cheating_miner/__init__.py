"""The stock miner with one thing changed: what a cheating operator would run, for measuring how it is caught.

Each cheat claims what an honest miner would: it signs with its own hotkey, shows the prompt tokens that the
gateway expects and lies only where lying pays. Nothing here is part of the product.
"""
