from miners.admission import Admission
from shared.chain import Neuron


def neuron(uid: int, hotkey: str, permit: bool) -> Neuron:
    return Neuron(uid, hotkey, None, permit, 0, 0)


def test_validators_with_a_permit_and_listed_hotkeys_are_admitted() -> None:
    admission = Admission(["listed"], [neuron(0, "validator", True), neuron(1, "miner", False)])
    assert admission.admits("validator")
    assert admission.admits("listed")
    assert not admission.admits("miner")
    assert not admission.admits("stranger")


def test_a_lost_permit_ends_admission() -> None:
    admission = Admission([], [neuron(0, "validator", True)])
    admission.update([neuron(0, "validator", False), neuron(1, "another", True)])
    assert not admission.admits("validator")
    assert admission.admits("another")
    assert admission.number_of_validators == 1
