"""The file of widths: there and back, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mixq.bits import BitAllocation
from mixq.errors import UserError
from mixq.networks import network

BITS = BitAllocation(
    network="digits_cnn",
    layers=("conv1", "conv2", "conv3", "dense"),
    weight_bits=(4, 3, 2, 6),
    act_bits=(5, 4, 3, 6),
    quantizer="lsq",
    predicted={"cycles": 192, "loss": 0.25},
    found_by={"method": "budget", "seed": 1},
)


def test_there_and_back(tmp_path: Path) -> None:
    path = BITS.save(tmp_path)
    assert path == tmp_path / "bits.yaml"
    assert BitAllocation.load(tmp_path) == BITS
    assert BitAllocation.load(path) == BITS
    assert "  conv2:\n    weight_bits: 3\n    act_bits: 4\n" in path.read_text()


def test_of_another_network(tmp_path: Path) -> None:
    BITS.check(network("digits_cnn"))
    with pytest.raises(UserError, match="the widths are those of digits_cnn, with the layers conv1, conv2, conv3"):
        BITS.check(network("vgg_tiny"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mixq_bits: 1", "mixq_bits: 2", "is no file of widths (it lacks mixq_bits: 1); make one with: mixq search"),
        ("quantizer: lsq", "quantiser: lsq", "unknown key 'quantiser'; known are mixq_bits, network, quantizer"),
        ("quantizer: lsq", "quantizer: ternary", "quantizer must be hwgq, lsq, dorefa or dorefa-pow2, not 'ternary'"),
        ("network: digits_cnn", "network: 3", "network must be a name, not 3"),
        ("weight_bits: 3", "weight_bits: 9", "weight_bits must be from 2 to 8, not 9"),
        ("weight_bits: 3", "weight_bits: '3'", "weight_bits must be integers, not '3'"),
        ("weight_bits: 3", "bits: 3", "layer conv2 must have weight_bits and act_bits, not"),
        ("loss: 0.25", "loss: .inf", "predicted must hold finite numbers, not 'loss': inf"),
        ("weight_range: narrow", "weight_range: half", "weight_range must be full or narrow, not 'half'"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = BITS.save(tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(UserError) as caught:
        BitAllocation.load(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_wrong_values_are_refused() -> None:
    with pytest.raises(ValueError, match=r"act_bits must have one width for each of 4 layers, not \(4,\)"):
        replace(BITS, act_bits=(4,))
    with pytest.raises(ValueError, match="layers must be different names, not"):
        replace(BITS, layers=("a", "a", "b", "c"))
