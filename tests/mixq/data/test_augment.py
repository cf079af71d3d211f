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


@pytest.mark.parametrize(
    "values, error, message",
    [
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
    augmentation = Augmentation(shift=3, flip=True)
    images, boxes, _ = block_images(np.random.default_rng(1), 200)
    here, here_boxes = augmentation.apply_boxes(images, boxes, seeded())
    there, there_boxes = augmentation.apply_boxes(images.cuda(), boxes.cuda(), seeded())
    assert there.is_cuda and torch.equal(there.cpu(), here)
    assert torch.allclose(there_boxes.cpu(), here_boxes, rtol=0, atol=1e-7)
