"""Key pairs for tests, the same in every run."""

from bittensor.sp_core import Keypair

MINER = Keypair.create_from_uri("//Miner")
OTHER_MINER = Keypair.create_from_uri("//OtherMiner")
VALIDATOR = Keypair.create_from_uri("//Validator")
