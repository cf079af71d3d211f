"""The tables: counts of the published networks, widths that are taken and refused."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mixq.errors import UserError
from mixq.networks import network, network_names


@pytest.mark.parametrize(
    "name, macs, weights",
    [
        # By hand: 9 * (3*64 + 64*64) * 1024 + 9 * (64*128 + 128*128) * 256 + 9 * (128*256 + 256*256) * 64 + 40960
        ("vgg_tiny", 152_805_376, 1_185_472),
        (
            "vgg_tiny_quarter",
            9 * ((3 * 16 + 16 * 16) * 1024 + (16 * 32 + 32 * 32) * 256 + (32 * 64 + 64 * 64) * 64) + 10240,
            9 * (3 * 16 + 16 * 16 + 16 * 32 + 32 * 32 + 32 * 64 + 64 * 64) + 10240,
        ),
        ("vgg_small", 607_600_640, 4_656_512),
        ("ultranet", 199_526_400, 210_096),
        ("ultranet_ismart", 199_526_400, 210_096),
        # 16, 8 and 4 times as many pixels as the grid's in front of it: 160 x 320, 80 x 160, 40 x 80, 20 x 40, 10 x 20.
        (
            "ultranet_bypass",
            9 * (3 * 16 * 51200 + 16 * 32 * 12800 + 32 * 64 * 3200 + 64 * 64 * 800 + 3 * 64 * 64 * 200 + 320 * 64 * 200)
            + 64 * 36 * 200,
            9 * (3 * 16 + 16 * 32 + 32 * 64 + 64 * 64 * 4 + 320 * 64) + 64 * 36,
        ),
        # Depthwise and pointwise, 3 -> 48 -> 96 -> 192 -> 384 -> 512 -> 96 channels, then 36, on 51200, 12800, 3200 and
        # three times 800 pixels.
        *(
            (
                name,
                51200 * 3 * (kernel**2 + 48)
                + 12800 * 48 * (kernel**2 + 96)
                + 3200 * 96 * (kernel**2 + 192)
                + 800 * (192 * (kernel**2 + 384) + 384 * (kernel**2 + 512) + 512 * (kernel**2 + 96) + 96 * 36),
                kernel**2 * (3 + 48 + 96 + 192 + 384 + 512)
                + (3 * 48 + 48 * 96 + 96 * 192 + 192 * 384 + 384 * 512 + 512 * 96 + 96 * 36),
            )
            for name, kernel in (("skynet", 3), ("skynetk5", 5))
        ),
        # By hand from the definitions in github.com/mlcommons/tiny; the first kernel of ds_cnn is 10 x 4 there.
        (
            "resnet8",
            9 * ((3 + 2 * 16) * 16 * 1024 + (16 + 32) * 32 * 256 + (32 + 64) * 64 * 64)
            + (16 * 32 * 256 + 32 * 64 * 64 + 640),
            9 * ((3 + 2 * 16) * 16 + (16 + 32) * 32 + (32 + 64) * 64) + 16 * 32 + 32 * 64 + 640,
        ),
        (
            "mobilenetv1_025",
            2304 * (9 * (3 * 8 + 8) + 8 * 16)
            + 576 * (9 * (16 + 32) + 16 * 32 + 32 * 32)
            + 144 * (9 * (32 + 64) + 32 * 64 + 64 * 64)
            + 36 * (9 * (64 + 5 * 128) + 64 * 128 + 5 * 128 * 128)
            + 9 * (9 * (128 + 256) + 128 * 256 + 256 * 256)
            + 512,
            208_112,
        ),
        ("ds_cnn", 125 * (64 * 25 + 4 * (9 * 64 + 64 * 64)) + 768, 64 * 25 + 4 * (9 * 64 + 64 * 64) + 768),
        # Of three blocks each the first of the second and the third has half the inputs, and a 1x1 shortcut.
        (
            "resnet20",
            9 * ((3 + 6 * 16) * 16 * 1024 + (16 + 5 * 32) * 32 * 256 + (32 + 5 * 64) * 64 * 64)
            + (16 * 32 * 256 + 32 * 64 * 64 + 640),
            9 * ((3 + 6 * 16) * 16 + (16 + 5 * 32) * 32 + (32 + 5 * 64) * 64) + 16 * 32 + 32 * 64 + 640,
        ),
        ("digits_cnn", 9 * 16 * 64 + 9 * 16 * 32 * 16 + 9 * 32 * 32 * 4 + 1280, 9 * (16 + 512 + 1024) + 1280),
    ],
)
def test_counts(name: str, macs: int, weights: int) -> None:
    counts = network(name).counts()
    assert sum(layer.macs for layer in counts) == macs
    assert sum(layer.weights for layer in counts) == weights
    assert tuple(layer.name for layer in counts) == network(name).weighted_names


def test_layers_of_the_published_networks() -> None:
    assert network("vgg_tiny").shapes()[-2:] == ((256, 4, 4), (10, 1, 1))
    assert network("vgg_small").shapes()[-2:] == ((512, 4, 4), (10, 1, 1))
    assert network("ultranet").shapes()[-1] == (36, 10, 20)
    assert network("digits_cnn").shapes() == ((16, 8, 8), (16, 4, 4), (32, 4, 4), (32, 2, 2), (32, 2, 2), (10, 1, 1))
    assert network("vgg_tiny").weighted_names == ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6", "dense")
    assert network("ultranet").weighted_names[-1] == "conv9"


def test_names() -> None:
    assert network_names() == (
        *("digits_cnn", "ds_cnn", "mobilenetv1_025", "resnet20", "resnet8", "skynet", "skynetk5", "ultranet"),
        *("ultranet_bypass", "ultranet_ismart", "vgg_small", "vgg_tiny", "vgg_tiny_quarter"),
    )
    assert network("VGG-tiny") is not None
    assert network("VGG-tiny") == network("vgg_tiny")
    assert network("ultranet-ismart") == network("ultranet_ismart")
    with pytest.raises(UserError) as raised:
        network("resnet")
    assert str(raised.value) == (
        "no network is called 'resnet'; choose one of "
        "digits_cnn, ds_cnn, mobilenetv1_025, resnet20, resnet8, skynet, skynetk5, ultranet, ultranet_bypass, "
        "ultranet_ismart, vgg_small, vgg_tiny, vgg_tiny_quarter"
    )


def test_the_dense_layer_of_vgg_has_8_bits_unless_it_is_named() -> None:
    table = network("vgg_tiny")
    assert table.resolve_weight_bits([8, 2, 2, 2, 2, 2]) == (8, 2, 2, 2, 2, 2, 8)
    assert table.resolve_act_bits([8, 3, 3, 3, 6, 3]) == (8, 3, 3, 3, 6, 3, 8)
    assert table.resolve_weight_bits([8, 2, 2, 2, 2, 2, 4]) == (8, 2, 2, 2, 2, 2, 4)
    assert table.resolve_weight_bits([5]) == (5, 5, 5, 5, 5, 5, 8)


def test_the_first_and_last_weights_of_ultranet_ismart_have_8_bits() -> None:
    table = network("ultranet_ismart")
    assert table.resolve_weight_bits() == (8, 4, 4, 4, 4, 4, 4, 4, 8)
    assert table.resolve_weight_bits([2, 3, 4, 5, 6, 7, 8]) == (8, 2, 3, 4, 5, 6, 7, 8, 8)
    assert table.resolve_weight_bits([2, 3, 4, 5, 6, 7, 8, 2, 3]) == (2, 3, 4, 5, 6, 7, 8, 2, 3)
    assert network("ultranet").resolve_weight_bits() == (4,) * 9


def test_the_quickstart_mixes_its_widths() -> None:
    table = network("digits_cnn")
    assert len(set(table.resolve_weight_bits())) == 4
    assert len(set(table.resolve_act_bits())) == 4
    assert all(2 <= bits <= 8 for bits in table.weight_bits + table.act_bits)


@pytest.mark.parametrize(
    "name, bits, message",
    [
        (
            "vgg_tiny",
            [8, 2],
            "vgg_tiny takes 7 weight widths, one for each of conv1, conv2, conv3, conv4, conv5, conv6, dense, "
            "or 6 without dense, or 1 for all; not 2",
        ),
        (
            "digits_cnn",
            [8, 2, 3],
            "digits_cnn takes 4 weight widths, one for each of conv1, conv2, conv3, dense, or 1 for all; not 3",
        ),
        (
            "digits_cnn",
            [],
            "digits_cnn takes 4 weight widths, one for each of conv1, conv2, conv3, dense, or 1 for all; not 0",
        ),
        ("digits_cnn", [1, 2, 3, 4], "weight widths of digits_cnn must be integers from 2 to 8, not 1"),
        ("digits_cnn", [2, 2, 3, 9], "weight widths of digits_cnn must be integers from 2 to 8, not 9"),
        ("digits_cnn", [2, 2, 3, -4], "weight widths of digits_cnn must be integers from 2 to 8, not -4"),
        ("digits_cnn", ["2", 2, 3, 4], "weight widths of digits_cnn must be integers from 2 to 8, not '2'"),
        ("digits_cnn", [True, 2, 3, 4], "weight widths of digits_cnn must be integers from 2 to 8, not True"),
    ],
)
def test_wrong_widths_are_refused(name: str, bits: list[int], message: str) -> None:
    with pytest.raises(UserError) as raised:
        network(name).resolve_weight_bits(bits)
    assert str(raised.value) == message


def test_wrong_activation_widths_say_which() -> None:
    with pytest.raises(UserError) as raised:
        network("digits_cnn").resolve_act_bits([0])
    assert str(raised.value) == "act widths of digits_cnn must be integers from 2 to 8, not 0"


def test_the_tables_do_without_torch() -> None:
    code = "import sys, mixq.networks, mixq.folding; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def parameters(name: str, biased: bool, numbers_of_a_norm: int, without_norm: tuple[str, ...] = ()) -> int:
    """All that is learned or counted: weights, biases of all layers or of the last, and the numbers of batch norms."""
    table = network(name)
    shapes = [table.shapes()[index][0] for index in table.weighted_places]
    normed = sum(
        channels
        for own, layer, channels in zip(table.weighted_names, table.weighted_layers, shapes, strict=True)
        if layer.batch_norm and own not in without_norm
    )
    biases = sum(shapes) if biased else shapes[-1]
    return sum(layer.weights for layer in table.counts()) + biases + numbers_of_a_norm * normed


@pytest.mark.parametrize(
    ("name", "published", "without_norm", "first"),
    [
        ("resnet8", 78_666, ("conv2s", "conv3s"), 0),
        ("mobilenetv1_025", 221_794, (), 0),
        # The first kernel of the original is 10 x 4, here it is 5 x 5.
        ("ds_cnn", 24_908, (), 64 * (10 * 4 - 5 * 5)),
    ],
)
def test_parameters_of_mlperf_tiny(name: str, published: int, without_norm: tuple[str, ...], first: int) -> None:
    # Keras counts a bias for every channel, and four numbers of one behind which there is a batch norm: summed by hand
    # over the layers of keras_model.py and vww_model.py in github.com/mlcommons/tiny, folder benchmark/training.
    assert parameters(name, True, 4, without_norm) + first == published


def test_parameters_of_resnet20() -> None:
    # Of PyTorch implementations with 1x1 shortcuts 272,474 are stated, of one without 269,722; He et al. have 0.27 M.
    found = parameters("resnet20", False, 2)
    assert found == 272_474
    assert found - (16 * 32 + 32 * 64) - 2 * (32 + 64) == 269_722
