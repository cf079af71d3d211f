"""Shifts and flips, compared pixel by pixel with loops, and repeatable."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mixq.data.augment import Augmentation, Draws


def moved(image: np.ndarray, row: int, column: int, flip: bool) -> np.ndarray:
    """One image (C, H, W), by its definition."""
    result = np.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            inside = 0 <= y + row < height and 0 <= x + column < width
            at = width - 1 - x if flip else x
            result[:, y, at] = image[:, y + row, x + column] if inside else 0
    return result


def pictures(count: int = 40, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).integers(1, 256, (count, 3, 6, 9), dtype=np.uint8)).to(dtype)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shift, flip", [(0, False), (0, True), (2, False), (2, True), (7, True)])
def test_pixels(shift: int, flip: bool, dtype: torch.dtype) -> None:
    images = pictures(dtype=dtype)
    augmentation = Augmentation(shift=shift, flip=flip)
    draws = augmentation.draw(len(images), seeded())
    result = augmentation.apply(images, draws)
    assert result.dtype == dtype
    for index, image in enumerate(images.numpy()):
        row, column = draws.offsets[index].tolist()
        assert np.array_equal(result[index].numpy(), moved(image, row, column, bool(draws.flips[index])))
    assert torch.equal(images, pictures(dtype=dtype)), "the images themselves stay as they are"


def test_every_shift_and_flip_is_drawn_about_equally_often() -> None:
    count = 36000
    draws = Augmentation(shift=1, flip=True).draw(count, seeded(5))
    kinds = draws.offsets[:, 0] * 6 + draws.offsets[:, 1] * 2 + draws.flips.long()
    _, found = torch.unique(kinds, return_counts=True)
    # 18 kinds, 2,000 each; five standard deviations are 217.
    assert len(found) == 18 and int((found - 2000).abs().max()) < 217


def test_without_flips_no_number_is_drawn_for_them() -> None:
    generator, other = seeded(3), seeded(3)
    draws = Augmentation(shift=2).draw(5, generator)
    expected = torch.randint(0, 5, (2, 5, 1), generator=other)[:, :, 0].T - 2
    assert torch.equal(draws.offsets, expected) and not draws.flips.any()
    assert torch.equal(generator.get_state(), other.get_state())
    Augmentation().draw(5, generator)
    assert torch.equal(generator.get_state(), other.get_state())


def test_a_slice_of_the_draws_changes_a_slice_of_the_images() -> None:
    images, augmentation = pictures(), Augmentation(shift=3, flip=True)
    draws = augmentation.draw(len(images), seeded())
    whole = augmentation.apply(images, draws)
    parts = [augmentation.apply(images[start : start + 10], draws[start : start + 10]) for start in range(0, 40, 10)]
    assert torch.equal(torch.cat(parts), whole)
    assert torch.equal(augmentation.apply(images, seeded()), whole), "a generator is drawn from in the same way"
    assert not torch.equal(augmentation.apply(images, seeded(1)), whole)


def test_it_works_where_only_deterministic_algorithms_are_allowed() -> None:
    augmentation = Augmentation(shift=2, flip=True)
    before = torch.are_deterministic_algorithms_enabled()
    try:
        torch.use_deterministic_algorithms(True)
        result = augmentation.apply(pictures(), seeded())
    finally:
        torch.use_deterministic_algorithms(before)
    assert torch.equal(result, augmentation.apply(pictures(), seeded()))


def block_images(rng: np.random.Generator, count: int) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """Images (N, 1, 12, 16), 255 in a rectangle and 1 around it, with that as the box, and its edges in pixels."""
    images, boxes, edges = np.ones((count, 1, 12, 16), np.uint8), [], []
    for image in images:
        left, right = sorted(rng.choice(17, 2, replace=False))
        top, bottom = sorted(rng.choice(13, 2, replace=False))
        image[:, top:bottom, left:right] = 255
        edges.append((left, top, right, bottom))
        boxes.append([(left + right) / 32, (top + bottom) / 24, (right - left) / 16, (bottom - top) / 12])
    return torch.from_numpy(images), torch.tensor(boxes, dtype=torch.float32), np.array(edges)


@pytest.mark.parametrize("shift, flip", [(0, False), (0, True), (3, False), (3, True), (20, True)])
def test_a_box_stays_around_what_it_was_around(shift: int, flip: bool) -> None:
    images, boxes, edges = block_images(np.random.default_rng(1), 200)
    augmentation = Augmentation(shift=shift, flip=flip)
    draws = augmentation.draw(200, seeded())
    results, changed = augmentation.apply_boxes(images, boxes, draws)
    assert changed.dtype == torch.float32
    offsets = set()
    for index, (image, box) in enumerate(zip(results[:, 0].numpy(), changed.double().numpy(), strict=True)):
        ys, xs = np.nonzero(image == 255)
        found = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]
        assert np.allclose(
            [
                (box[0] - box[2] / 2) * 16,
                (box[1] - box[3] / 2) * 12,
                (box[0] + box[2] / 2) * 16,
                (box[1] + box[3] / 2) * 12,
            ],
            found,
            atol=1e-4,
        )
        left, top, right, bottom = edges[index]
        assert (found[2] - found[0], found[3] - found[1]) == (right - left, bottom - top), "the box stays whole"
        row, column = draws.offsets[index].tolist()
        row, column = max(min(row, top), bottom - 12), max(min(column, left), right - 16)
        start = 16 - (right - column) if draws.flips[index] else left - column
        assert (found[0], found[1]) == (start, top - row)
        offsets.add((row, column))
    assert len(offsets) == 1 if not shift else len(offsets) > 20


ALL = Augmentation(shift=3, flip=True, crop=0.5, brightness=0.3, contrast=0.4, saturation=0.5)


def edges_of(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """Left, top, right and bottom in pixels."""
    x, y, w, h = (box.astype(np.float64) * [width, height, width, height]).tolist()
    return np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2])


@pytest.mark.parametrize("column, row", [(0, 0), (3, 2), (8, 6)])
def test_a_window_of_half_the_image_doubles_the_box(column: int, row: int) -> None:
    # A rectangle in 16 x 12 pixels, seen through a window of 8 x 6: twice as large, its edges on whole pixels.
    image = torch.zeros(1, 1, 12, 16, dtype=torch.uint8)
    image[:, :, row + 1 : row + 5, column + 2 : column + 7] = 255
    box = torch.tensor([[(column + 4.5) / 16, (row + 3) / 12, 5 / 16, 4 / 12]], dtype=torch.float64)
    # Where in its room the window lies: from the box's right edge less 8 pixels to its left edge, inside the image.
    rooms = [
        (max(0, end - size), min(start, size))
        for start, end, size in ((column + 2, column + 7, 8), (row + 1, row + 5, 6))
    ]
    places = [(at - low) / (high - low) for at, (low, high) in zip((column, row), rooms, strict=True)]
    draws = Draws(
        torch.zeros(1, 2, dtype=torch.int64),
        torch.zeros(1, dtype=torch.bool),
        torch.tensor([[0.5, *places]], dtype=torch.float64),
        torch.full((1, 3), 256),
    )
    result, changed = Augmentation(crop=0.5).apply_boxes(image, box, draws)
    ys, xs = np.nonzero(result[0, 0].numpy() >= 128)
    assert [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] == [4, 2, 14, 10]
    assert edges_of(changed[0].numpy(), 16, 12) == pytest.approx([4, 2, 14, 10], abs=1e-9)


def test_a_window_maps_boxes_as_it_maps_pixels() -> None:
    # Two ramps say of each pixel where it came from: 3 a pixel across, 6 a pixel down, less half a step of rounding.
    width, height, count = 80, 40, 100
    ramps = (
        np.broadcast_to(3 * np.arange(width), (height, width)),
        np.broadcast_to(6 * np.arange(height)[:, None], (height, width)),
    )
    images = torch.from_numpy(np.broadcast_to(np.stack(ramps), (count, 2, height, width)).astype(np.uint8).copy())
    rng = np.random.default_rng(4)
    sizes = rng.uniform(0.05, 0.6, (count, 2))
    boxes = torch.tensor(np.hstack([rng.uniform(sizes / 2, 1 - sizes / 2), sizes]), dtype=torch.float32)
    results, changed = Augmentation(crop=0.6).apply_boxes(images, boxes, seeded(2))
    scales = (changed[:, 2:] / boxes[:, 2:]).double().numpy()
    assert np.allclose(scales[:, 0], scales[:, 1], rtol=1e-5), "both axes by one scale"
    assert scales.min() >= 1 - 1e-6 and scales[:, 0].max() > 2 and len(np.unique(scales[:, 0].round(3))) > 50
    for before, after, result in zip(boxes.numpy(), changed.numpy(), results.numpy(), strict=True):
        found, expected = edges_of(after, width, height), edges_of(before, width, height)
        assert found.min() > -1e-3 and found[2] < width + 1e-3 and found[3] < height + 1e-3, "the box stays whole"
        for axis, (line, step) in enumerate(((result[0, 0] / 3, 3), (result[1, :, 0] / 6, 6))):
            # Pixel i stands for its middle; ends are clamped where the window reaches the image's edge.
            for edge in (axis, axis + 2):
                middle = found[edge] - 0.5
                if 1 <= middle <= len(line) - 2:
                    source = np.interp(middle, np.arange(len(line)), line) + 0.5
                    assert abs(source - expected[edge]) <= 0.5 / step + 0.02


def test_windows_without_boxes_lie_anywhere() -> None:
    ramp = torch.arange(0, 240, 3, dtype=torch.uint8).expand(500, 1, 4, 80)
    found = Augmentation(crop=0.5).apply(ramp, seeded())[:, 0, 0].double().numpy() / 3
    first, last = found[:, 0], found[:, -1]
    assert first.min() < 2 and last.max() > 77 and first.max() > 30 and last.min() < 50
    spans = (last - first) / 79
    assert 0.49 < spans.min() < 0.55 and 0.9 < spans.max() <= 1


def test_factors_are_drawn_within_their_bounds() -> None:
    factors = ALL.draw(4000, seeded()).factors.double().numpy() / 256
    for column, spread in enumerate((0.3, 0.4, 0.5)):
        assert 1 - spread - 0.002 <= factors[:, column].min() < 1 - 0.95 * spread
        assert 1 + 0.95 * spread < factors[:, column].max() <= 1 + spread + 0.002
    only = Augmentation(contrast=0.4).draw(50, seeded()).factors
    assert (only[:, [0, 2]] == 256).all() and len(only[:, 1].unique()) > 20


def test_shifts_and_flips_are_the_same_whatever_else_is_drawn() -> None:
    draws, others = Augmentation(shift=3, flip=True).draw(30, seeded()), ALL.draw(30, seeded())
    assert torch.equal(draws.offsets, others.offsets) and torch.equal(draws.flips, others.flips)


def test_a_slice_of_all_draws_changes_a_slice_of_images_and_boxes() -> None:
    images, boxes, _ = block_images(np.random.default_rng(1), 40)
    draws = ALL.draw(40, seeded())
    whole = ALL.apply_boxes(images, boxes, draws)
    parts = [ALL.apply_boxes(images[i : i + 10], boxes[i : i + 10], draws[i : i + 10]) for i in range(0, 40, 10)]
    assert torch.equal(torch.cat([part[0] for part in parts]), whole[0])
    assert torch.equal(torch.cat([part[1] for part in parts]), whole[1])
    edges = torch.cat([whole[1][:, :2] - whole[1][:, 2:] / 2, whole[1][:, :2] + whole[1][:, 2:] / 2])
    assert float(edges.min()) > -1e-6 and float(edges.max()) < 1 + 1e-6


@pytest.mark.parametrize(
    "values, error, message",
    [
        ({"crop": 1}, ValueError, "crop must be in 0..1, below 1, not 1"),
        ({"crop": "0.5"}, TypeError, "crop must be a number, not '0.5'"),
        ({"contrast": -0.1}, ValueError, "contrast must be in 0..1, not -0.1"),
        ({"saturation": float("nan")}, ValueError, "saturation must be in 0..1, not nan"),
        ({"shift": -1}, ValueError, "shift must not be negative, not -1"),
        ({"shift": 1.0}, TypeError, "shift must be an integer, not 1.0"),
        ({"shift": True}, TypeError, "shift must be an integer, not True"),
        ({"flip": 1}, TypeError, "flip must be a bool, not 1"),
    ],
)
def test_wrong_values(values: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        Augmentation(**values)
    assert str(raised.value) == message


def test_numbers_that_do_not_fit() -> None:
    augmentation = Augmentation(flip=True)
    draws = augmentation.draw(4, seeded())
    assert isinstance(draws, Draws) and len(draws) == 4
    with pytest.raises(ValueError, match=r"^draws must be of 3 images, not 4$"):
        augmentation.apply(pictures(3), draws)
    with pytest.raises(ValueError, match=r"^boxes must be of shape \(4, 4\), not \(3, 4\)$"):
        augmentation.apply_boxes(pictures(4), torch.zeros(3, 4), draws)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_makes_no_difference() -> None:
    images, boxes, _ = block_images(np.random.default_rng(1), 200)
    here, here_boxes = ALL.apply_boxes(images, boxes, seeded())
    there, there_boxes = ALL.apply_boxes(images.cuda(), boxes.cuda(), seeded())
    assert there.is_cuda and torch.equal(there.cpu(), here)
    assert torch.allclose(there_boxes.cpu(), here_boxes, rtol=0, atol=1e-7)
