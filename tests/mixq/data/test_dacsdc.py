"""Images with one box each: pixels, boxes, splits, and the real sample."""

from __future__ import annotations

import csv
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mixq.data import BoxSamples
from mixq.data.dacsdc import load_dacsdc
from mixq.data.resizing import resize_bilinear
from mixq.errors import UserError

HEIGHT, WIDTH = 6, 10


def refusal(root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        load_dacsdc(root, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def picture(index: int) -> NDArray[np.uint8]:
    """Pixels (height, width, 3), different for every index."""
    return np.random.default_rng(index).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def edges(index: int) -> tuple[int, int, int, int]:
    """Left, top, right, bottom; different for every index below 30."""
    return index % 6, index // 6 % 5, index % 6 + 3, HEIGHT


def voc(index: int) -> str:
    left, top, right, bottom = edges(index)
    box = f"<xmin>{left}</xmin><ymin>{top}</ymin><xmax>{right}</xmax><ymax>{bottom}</ymax>"
    size = f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
    return f"<annotation>{size}<object><name>0</name><bndbox>{box}</bndbox></object></annotation>"


def write(root: Path, count: int = 12, labels: str = "xml") -> Path:
    """A folder of images, each with its box in the form of ``labels``."""
    (root / "images").mkdir(parents=True)
    table = ["image,xmin,xmax,ymin,ymax"]
    for index in range(count):
        Image.fromarray(picture(index)).save(root / "images" / f"{index}.png")
        left, top, right, bottom = edges(index)
        table.append(f"{index},{left},{right},{top},{bottom}")
        if labels == "xml":
            (root / "images" / f"{index}.xml").write_text(voc(index))
        if labels == "txt":
            x, y = (left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT
            line = f"0 {x:.6f} {y:.6f} {(right - left) / WIDTH:.6f} {(bottom - top) / HEIGHT:.6f}\n"
            (root / "images" / f"{index}.txt").write_text(line)
    if labels == "csv":
        (root / "boxes.csv").write_text("\n".join(table) + "\n")
    return root


def packed(folder: Path) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def rows(*parts: BoxSamples) -> list[tuple[bytes, list[float]]]:
    return sorted(
        (image.tobytes(), np.round(box, 4).tolist())
        for part in parts
        for image, box in zip(part.images, part.boxes, strict=True)
    )


def expected_rows(count: int, *, order: int = 1) -> list[tuple[bytes, list[float]]]:
    result = []
    for index in range(count):
        left, top, right, bottom = edges(index)
        box = [(left + right) / 2 / WIDTH, (top + bottom) / 2 / HEIGHT, (right - left) / WIDTH, (bottom - top) / HEIGHT]
        pixels = picture(index)[:, :, ::order].transpose(2, 0, 1)
        result.append((pixels.tobytes(), np.round(np.array(box, np.float32), 4).tolist()))
    return sorted(result)


OWN_SIZE: dict[str, Any] = {"height": HEIGHT, "width": WIDTH}


@pytest.mark.parametrize("labels", ["xml", "csv", "txt"])
def test_every_image_once_with_its_box_from_folder_and_archive(tmp_path: Path, labels: str) -> None:
    folder = write(tmp_path / "data", labels=labels)
    for root in (folder, packed(folder), str(folder)):
        data = load_dacsdc(root, **OWN_SIZE)
        assert (data.name, data.class_names) == ("dacsdc", ("object",))
        assert (len(data.train), len(data.validation), len(data.test)) == (8, 2, 2)
        assert rows(data.train, data.validation, data.test) == expected_rows(12)


def test_annotations_go_before_the_table(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    (folder / "boxes.csv").write_text("not a table")
    (folder / "images" / "notes.txt").write_text("not a label")
    assert rows(*parts(folder)) == expected_rows(12)


def parts(root: Path, **options: Any) -> tuple[BoxSamples, BoxSamples, BoxSamples]:
    data = load_dacsdc(root, **{**OWN_SIZE, **options})
    return data.train, data.validation, data.test


def test_channels_as_opencv_has_them(tmp_path: Path) -> None:
    assert rows(*parts(write(tmp_path / "data"), channel_order="bgr")) == expected_rows(12, order=-1)
    given = [load_dacsdc(tmp_path / "data", height=9, width=16, channel_order=order) for order in ("rgb", "bgr")]
    assert [dataset.channel_order for dataset in given] == ["rgb", "bgr"]


def test_four_pixels_as_opencv_takes_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    size = {"height": HEIGHT // 2 - 1, "width": WIDTH // 2}
    found = parts(folder, resize="opencv", **size)
    expected = {
        resize_bilinear(picture(index), (size["width"], size["height"])).transpose(2, 0, 1).tobytes()
        for index in range(12)
    }
    assert {image.tobytes() for part in found for image in part.images} == expected
    assert rows(*found) != rows(*parts(folder, **size))
    # Caches of the two are different files.
    for resize in ("pillow", "opencv"):
        cached = parts(folder, resize=resize, **size, memory_bytes=0, cache_dir=tmp_path / "cache")
        assert rows(*cached) == rows(*parts(folder, resize=resize, **size))


def test_halving_is_the_triangle_filter(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", count=3)
    line = np.arange(WIDTH) ** 2 * 3
    for index in range(3):
        pixels = np.broadcast_to(line[None, :, None], (HEIGHT, WIDTH, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.png")
    image = load_dacsdc(folder, height=HEIGHT, width=WIDTH // 2).train.images[0]
    # Of width two pixels of the result, hence four of the image, with weights 1, 3, 3, 1 within it.
    inner = [(line[i - 1] + 3 * line[i] + 3 * line[i + 1] + line[i + 2]) / 8 for i in range(2, WIDTH - 2, 2)]
    assert np.abs(image[:, :, 1:-1] - np.array(inner)).max() <= 1
    assert np.abs(image[:, :, 0] - (3 * line[0] + 3 * line[1] + line[2]) / 7).max() <= 1


def test_parts_follow_from_the_seed_and_the_shares(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", count=20)
    one, other = parts(folder), parts(folder)
    assert all(
        np.array_equal(a.images, b.images) and np.array_equal(a.boxes, b.boxes) for a, b in zip(one, other, strict=True)
    )
    assert [len(part) for part in one] == [14, 3, 3]
    assert [len(part) for part in parts(folder, validation_share=0.25, test_share=0.1)] == [13, 5, 2]
    assert not np.array_equal(one[0].images, parts(folder, seed=1)[0].images)
    small = parts(folder, train_size=5, validation_size=1, test_size=2)
    for part, whole, size in zip(small, one, (5, 1, 2), strict=True):
        assert np.array_equal(part.images, whole.images[:size]) and np.array_equal(part.boxes, whole.boxes[:size])


def test_images_outside_the_sizes_are_not_decoded(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    wanted = {image.tobytes() for part in parts(folder, train_size=1) for image in part.images}
    for index in range(12):
        if picture(index).transpose(2, 0, 1).tobytes() not in wanted:
            (folder / "images" / f"{index}.png").write_bytes(b"damaged")
    told: list[tuple[int, int]] = []
    parts(folder, train_size=1, progress=lambda done, total: told.append((done, total)))
    assert told == [(number, 5) for number in range(1, 6)]


def test_large_sets_are_mapped_from_the_cache(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    cache = tmp_path / "cache"
    expected = parts(folder)
    for _ in range(2):
        found = parts(folder, memory_bytes=2000, cache_dir=cache)
        for part, right in zip(found, expected, strict=True):
            assert isinstance(part.images, np.memmap)
            assert np.array_equal(part.images, right.images) and np.array_equal(part.boxes, right.boxes)
            assert part.take(np.array([0])).images.flags.writeable
    assert len(list(cache.glob("*.lock"))) == 1
    bgr = parts(folder, memory_bytes=2000, cache_dir=cache, channel_order="bgr")
    assert np.array_equal(bgr[0].images, expected[0].images[:, ::-1])
    (folder / "images" / "0.xml").write_text(voc(29))
    changed = parts(folder, memory_bytes=2000, cache_dir=str(cache))
    assert rows(*changed) != expected_rows(12)
    assert len(list(cache.glob("*.lock"))) == 3
    assert not isinstance(parts(folder, memory_bytes=12 * 180, cache_dir=cache)[0].images, np.memmap)


def test_large_sets_without_a_cache(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    assert refusal(folder, height=1000, width=1000, memory_bytes=30 << 20) == (
        f"{folder}: the images take 34 MiB, more than the 30 MiB allowed; "
        "name a folder for them with cache_dir, or raise memory_bytes"
    )


def test_faults_are_named_by_their_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "data")
    label = folder / "images" / "3.xml"
    image = folder / "images" / "3.png"
    label.write_text(voc(3).replace("<xmin>3", "<xmin>-3"))
    expected = f"{label}: the box -3..6 by 0..6 is empty or not inside the image of 10 x 6; correct it"
    assert refusal(folder) == expected
    label.write_text(voc(3).replace("<width>10", "<width>640"))
    assert refusal(folder) == f"{label}: is for an image of 640 x 6, not 10 x 6; correct it"
    label.write_text('<!DOCTYPE a [<!ENTITY b "1">]>' + voc(3))
    assert refusal(folder) == f"{label}: declares a document type, which annotations never do; remove that"
    label.write_bytes(b"<a>" + b" " * (1 << 20))
    assert refusal(folder) == f"{label}: larger than 1048576 bytes; this is not a file of the expected kind"
    label.unlink()
    assert refusal(folder) == f"{image}: no box; it needs an .xml file beside it"
    label.write_text(voc(3))
    whole = image.read_bytes()
    image.write_bytes(whole[:50])
    assert refusal(folder).startswith(f"{image}: cannot be read as an image (")
    archive = packed(folder)
    assert refusal(archive).startswith(f"{archive}/images/3.png: cannot be read as an image (")


def test_missing_labels(tmp_path: Path) -> None:
    folder = write(tmp_path / "data", labels="none")
    assert refusal(folder).endswith(".png: no box; it needs an .xml or .txt file beside it, or boxes.csv")
    (folder / "boxes.csv").write_text("image,xmin,xmax,ymin,ymax\n")
    assert refusal(folder).endswith(f".png: no box; add a line for it to {folder}/boxes.csv")


def test_empty_and_small_sets(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty") == f"{tmp_path}/empty: no JPEG, PNG or BMP images; give the path of the data set"
    folder = write(tmp_path / "data", count=2)
    assert refusal(folder) == f"{folder}: 0 of 2 images are for train, not 1; change the sizes"
    larger = write(tmp_path / "larger")
    assert refusal(larger, test_size=3) == f"{larger}: 2 of 12 images are for test, not 3; change the sizes"


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"height": 0}, ValueError, "height must be positive, not 0"),
        ({"width": 320.0}, TypeError, "width must be an integer, not 320.0"),
        ({"channel_order": "gbr"}, ValueError, "channel_order must be rgb or bgr, not 'gbr'"),
        ({"resize": "cubic"}, ValueError, "resize must be pillow or opencv, not 'cubic'"),
        ({"test_share": 1}, ValueError, "test_share must be between 0 and 1, not 1"),
        ({"validation_share": "a"}, TypeError, "validation_share must be a number, not 'a'"),
        ({"train_size": -1}, ValueError, "train_size must be positive, not -1"),
        ({"seed": None}, TypeError, "seed must be an integer, not None"),
        ({"memory_bytes": -1}, ValueError, "memory_bytes must be zero or more, not -1"),
    ],
)
def test_wrong_parameters(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        load_dacsdc("nowhere", **options)
    assert str(raised.value) == message


def test_the_real_sample(shared: Path) -> None:
    path = shared / "data" / "dacsdc_sample300.zip"
    data = load_dacsdc(path)
    assert (len(data.train), len(data.validation), len(data.test)) == (200, 50, 50)
    assert data.train.images.shape == (200, 3, 160, 320)
    # The table in the archive is a second source of the boxes, which come from the annotations.
    with zipfile.ZipFile(path) as archive:
        table = list(csv.DictReader(io.StringIO(archive.read("boxes.csv").decode())))
    expected = np.array([[int(row[key]) for key in ("xmin", "xmax", "ymin", "ymax")] for row in table], float)
    expected /= [640, 640, 360, 360]
    boxes = np.concatenate([part.boxes for part in (data.train, data.validation, data.test)]).astype(float)
    x, y, width, height = boxes.T
    found = np.stack([x - width / 2, x + width / 2, y - height / 2, y + height / 2], axis=1)
    assert np.allclose(found[np.lexsort(found.round(5).T)], expected[np.lexsort(expected.round(5).T)], atol=1e-6)
