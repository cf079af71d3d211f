"""CIFAR-10: every form gives the same pixels, the split is fixed, and damaged files end in one line."""

from __future__ import annotations

import gzip
import hashlib
import io
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mixq.data import Dataset, Samples
from mixq.data import cifar10 as loader
from mixq.data.cifar10 import CLASS_NAMES, load_cifar10
from mixq.errors import UserError
from tests.mixq.data.cifar10_files import (
    BATCHES,
    labels_of,
    python2_batch,
    random_images,
    write_batches,
    write_tar,
)


def refusal(root: Path, **options: Any) -> str:
    with pytest.raises(UserError) as raised:
        load_cifar10(root, **options)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def rows(*parts: Samples) -> list[tuple[bytes, int]]:
    """All samples, in an order that does not depend on theirs."""
    return sorted(
        (image.tobytes(), int(label)) for part in parts for image, label in zip(part.images, part.labels, strict=True)
    )


def same(one: Dataset[Samples], other: Dataset[Samples]) -> bool:
    return all(
        np.array_equal(getattr(one, part).images, getattr(other, part).images)
        and np.array_equal(getattr(one, part).labels, getattr(other, part).labels)
        for part in ("train", "validation", "test")
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_batches(tmp_path / "data" / "cifar-10-batches-py")
    return tmp_path / "data"


def test_the_python_version_holds_every_image_once(tmp_path: Path) -> None:
    images = write_batches(tmp_path / "cifar-10-batches-py")
    data = load_cifar10(tmp_path / "cifar-10-batches-py")
    assert data.name == "cifar10"
    assert (len(data.train), len(data.validation), len(data.test)) == (90, 10, 20)
    expected = [
        (image.tobytes(), label)
        for name in BATCHES[:5]
        for image, label in zip(images[name], labels_of(20), strict=True)
    ]
    assert rows(data.train, data.validation) == sorted(expected)
    # The test set stays in its order.
    assert np.array_equal(data.test.images, images["test_batch"]) and data.test.labels.tolist() == labels_of(20)


def test_archive_folder_and_the_folder_around_it_are_the_same(folder: Path, tmp_path: Path) -> None:
    inner = folder / "cifar-10-batches-py"
    members = {f"cifar-10-batches-py/{name}": (inner / name).read_bytes() for name in BATCHES}
    (tmp_path / "packed").mkdir()
    archive = write_tar(tmp_path / "packed" / "cifar-10-python.tar.gz", {"readme.html": b"x", **members})
    before = sorted(tmp_path.rglob("*"))
    one = load_cifar10(inner)
    for root in (folder, archive, archive.parent, str(archive)):
        assert same(one, load_cifar10(root))
    assert sorted(tmp_path.rglob("*")) == before, "nothing is unpacked"


def test_smaller_parts_lie_in_larger_ones_and_never_meet(folder: Path) -> None:
    full = load_cifar10(folder)
    small = load_cifar10(folder, train_size=30, validation_size=4)
    assert np.array_equal(small.train.images, full.train.images[:30])
    assert np.array_equal(small.validation.images, full.validation.images[:4])
    large = load_cifar10(folder, validation_size=40)
    assert len(large.train) == 60
    assert np.array_equal(large.train.images, full.train.images[:60])
    assert np.array_equal(large.validation.images[:10], full.validation.images)
    assert len(rows(large.train, large.validation)) == len(set(rows(large.train, large.validation))) == 100


def test_the_split_follows_from_the_seed(folder: Path) -> None:
    assert same(load_cifar10(folder), load_cifar10(folder))
    assert same(load_cifar10(folder), load_cifar10(folder, seed=20240817))
    assert not same(load_cifar10(folder), load_cifar10(folder, seed=1))


@pytest.mark.parametrize(
    "options, wanted",
    [
        ({"train_size": 91}, "91 for training and 10 for validation"),
        ({"validation_size": 100}, "1 for training and 100 for validation"),
        ({"train_size": 61, "validation_size": 40}, "61 for training and 40 for validation"),
    ],
)
def test_sizes_beyond_the_set(folder: Path, options: dict[str, int], wanted: str) -> None:
    expected = f"{folder} has 100 images beside those of the test, not {wanted}; lower the sizes"
    assert refusal(folder, **options) == expected
    assert len(load_cifar10(folder, train_size=60, validation_size=40).train) == 60


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"train_size": 0}, ValueError, "train_size must be positive, not 0"),
        ({"validation_size": 1.0}, TypeError, "validation_size must be an integer, not 1.0"),
        ({"train_size": True}, TypeError, "train_size must be an integer, not True"),
        ({"seed": -1}, ValueError, "seed must be zero or more, not -1"),
        ({"seed": None}, TypeError, "seed must be an integer, not None"),
    ],
)
def test_wrong_parameters(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error) as raised:
        load_cifar10("nowhere", **options)
    assert str(raised.value) == message


FORMS = (
    "give cifar-10-python.tar.gz, the folder cifar-10-batches-py, a folder with train/CLASS/ and test/CLASS/, "
    "or an .npz file"
)


def test_what_is_no_cifar10(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"{tmp_path}/none: no such file or folder; {FORMS}"
    assert refusal(tmp_path) == f"{tmp_path}: no CIFAR-10 in this folder; {FORMS}"
    other = tmp_path / "cifar.h5"
    other.write_bytes(b"")
    assert refusal(other) == f"{other}: CIFAR-10 does not come in this form; {FORMS}"
    for name in ("a_train.npz", "b_train.npz"):
        (tmp_path / name).write_bytes(b"")
    assert refusal(tmp_path) == f"{tmp_path} has 2 files *train*.npz; give the path of one"


def test_a_missing_batch(folder: Path) -> None:
    missing = folder / "cifar-10-batches-py" / "data_batch_3"
    missing.unlink()
    assert refusal(folder) == f"{missing}: no such file"


def batch_bytes() -> dict[str, bytes]:
    return {name: python2_batch(random_images(4, 0), labels_of(4)) for name in BATCHES}


def test_a_hostile_batch_in_the_archive_is_not_run(tmp_path: Path) -> None:
    members = {**batch_bytes(), "data_batch_2": b"cos\nsystem\n(S'touch /tmp/x'\ntR."}
    message = refusal(write_tar(tmp_path / "c.tar.gz", members))
    assert message.startswith(f"{tmp_path}/c.tar.gz/data_batch_2: this pickle does more than CIFAR-10's do")


def test_links_and_large_members_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = batch_bytes()
    outside = tmp_path / "outside"
    outside.write_bytes(batches.pop("test_batch"))
    path = tmp_path / "c.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in batches.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("test_batch")
        link.type, link.linkname = tarfile.SYMTYPE, str(outside)
        archive.addfile(link)
    expected = f"{path}: has no test_batch of the expected size; get cifar-10-python.tar.gz anew"
    assert refusal(path) == expected
    write_tar(path, batch_bytes())
    monkeypatch.setattr(loader, "MAX_BATCH_BYTES", 1000)
    assert refusal(path) == expected.replace("test_batch", "data_batch_1")


def test_archives_that_are_damaged_or_unpack_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tar(tmp_path / "c.tar.gz", batch_bytes())
    whole = path.read_bytes()
    for damaged in (b"", b"text", whole[:-2000], whole[:5000] + bytes(100) + whole[5100:]):
        path.write_bytes(damaged)
        message = refusal(path)
        assert message.startswith(f"{path}: ") and message.endswith("; get cifar-10-python.tar.gz anew")
    path.write_bytes(gzip.compress(b"no tar archive" * 100))
    assert refusal(path).startswith(f"{path}: cannot be read (")
    monkeypatch.setattr(loader, "MAX_ARCHIVE_BYTES", 1 << 20)
    path.write_bytes(gzip.compress(bytes(2 << 20)))
    assert refusal(path) == f"{path}: unpacks to more than 1048576 bytes; get cifar-10-python.tar.gz anew"


def write_classes(root: Path, suffix: str = "png", count: int = 3) -> dict[str, NDArray[np.uint8]]:
    """Numbered images in folders by class; returns each part's in the order of number, then class."""
    images = {}
    for seed, part in enumerate(("train", "test")):
        pixels = images[part] = random_images(count * 10, seed)
        for index, image in enumerate(pixels):
            path = root / part / CLASS_NAMES[index % 10] / f"{index // 10 + 9}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(path)
    return images


def test_folders_by_class(tmp_path: Path) -> None:
    images = write_classes(tmp_path)
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "labels.txt").write_text("not an image")
    told: list[tuple[int, int]] = []
    data = load_cifar10(tmp_path, progress=lambda done, total: told.append((done, total)))
    assert data.name == "cifar10" and data.class_names == CLASS_NAMES
    assert np.array_equal(data.test.images, images["test"]), "9.png comes before 10.png, and classes take turns"
    assert data.test.labels.tolist() == [*range(10)] * 3
    expected = sorted((image.tobytes(), index % 10) for index, image in enumerate(images["train"]))
    assert rows(data.train, data.validation) == expected
    assert told == [(60, 60)]


def test_jpeg_shows_in_the_name(tmp_path: Path) -> None:
    write_classes(tmp_path, "jpg", 1)
    assert load_cifar10(tmp_path).name == "cifar10_jpeg"


def test_faults_in_folders_by_class(tmp_path: Path) -> None:
    write_classes(tmp_path, count=1)
    image = tmp_path / "train" / "cat" / "9.png"
    content = image.read_bytes()
    image.write_bytes(content[:100])
    assert refusal(tmp_path).startswith(f"{image}: cannot be read as an image (")
    Image.new("RGB", (32, 31)).save(image)
    assert refusal(tmp_path) == f"{image}: must be of 32 x 32 pixels, not 32 x 31; this is not CIFAR-10"
    image.unlink()
    assert refusal(tmp_path) == f"{tmp_path}/train/cat: no JPEG or PNG images; put them there"
    image.write_bytes(content)
    wrong = tmp_path / "test" / "plane" / "1.png"
    wrong.parent.mkdir()
    wrong.write_bytes(content)
    assert refusal(tmp_path) == f"{wrong}: not in a folder of a class, test/airplane/ and so on"


def write_jpegs(path: Path, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """An .npz of JPEG files; returns what Pillow decodes of them, and the labels."""
    images, files = [], []
    for image in random_images(count, seed):
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0)).save(buffer, "JPEG")
        files.append(buffer.getvalue())
        images.append(np.asarray(Image.open(buffer)).transpose(2, 0, 1))
    labels = np.array(labels_of(count), np.uint8)
    offsets = np.cumsum([0, *map(len, files)])
    np.savez(path, jpeg=np.frombuffer(b"".join(files), np.uint8), offset=offsets, label=labels)
    return np.stack(images), labels


def test_jpeg_blobs_with_the_test_set_beside(tmp_path: Path) -> None:
    images, labels = write_jpegs(tmp_path / "some_train30.npz", 30, 0)
    test_images, test_labels = write_jpegs(tmp_path / "some_test10.npz", 10, 1)
    for root in (tmp_path / "some_train30.npz", tmp_path):
        data = load_cifar10(root)
        assert data.name == "cifar10_jpeg"
        assert rows(data.train, data.validation) == rows(Samples(images, labels.astype(np.int64)))
        assert np.array_equal(data.test.images, test_images) and np.array_equal(data.test.labels, test_labels)
    (tmp_path / "some_test10.npz").rename(tmp_path / "some_test.npz")
    (tmp_path / "some_testother.npz").write_bytes(b"")
    train = tmp_path / "some_train30.npz"
    assert refusal(train) == f"{train}: 2 files some_test*.npz lie beside it; leave one there"
    for name in ("some_test.npz", "some_testother.npz"):
        (tmp_path / name).unlink()
    assert refusal(train) == f"{train}: the test set is missing; put some_test*.npz beside it"


def write_arrays(path: Path, count: int, seed: int) -> NDArray[np.uint8]:
    images = random_images(count, seed)
    np.savez(path, x=images.transpose(0, 2, 3, 1), y=np.array(labels_of(count), np.uint8))
    return images


def test_arrays_with_and_without_a_test_set(tmp_path: Path) -> None:
    path = tmp_path / "x_train.npz"
    images = write_arrays(path, 60, 0)
    data = load_cifar10(path)
    assert data.name == "cifar10_part"
    assert (len(data.train), len(data.validation), len(data.test)) == (45, 5, 10)
    assert rows(data.train, data.validation, data.test) == rows(Samples(images, np.array(labels_of(60))))
    test_images = write_arrays(tmp_path / "x_test.npz", 7, 1)
    data = load_cifar10(path)
    assert (data.name, len(data.train), len(data.validation)) == ("cifar10", 54, 6)
    assert np.array_equal(data.test.images, test_images)


IMAGES = np.zeros((6, 32, 32, 3), np.uint8)
BLOB = np.zeros(60, np.uint8)


@pytest.mark.parametrize(
    "arrays, message",
    [
        ({"x": IMAGES}, "must hold jpeg, offset and label, or x and y, not x"),
        ({"x": IMAGES, "y": np.full(6, 10)}, "the labels must be a list of integers 0..9; get the file anew"),
        ({"x": IMAGES, "y": np.full(6, -1)}, "the labels must be a list of integers 0..9; get the file anew"),
        ({"x": IMAGES, "y": np.zeros(6)}, "the labels must be a list of integers 0..9; get the file anew"),
        ({"x": IMAGES, "y": np.zeros(0, int)}, "the labels must be a list of integers 0..9; get the file anew"),
        (
            {"x": IMAGES, "y": np.zeros(5, int)},
            "x must be uint8 of shape (5, 32, 32, 3), not uint8 (6, 32, 32, 3)",
        ),
        (
            {"x": IMAGES.astype(np.int16), "y": np.zeros(6, int)},
            "x must be uint8 of shape (6, 32, 32, 3), not int16 (6, 32, 32, 3)",
        ),
        *(
            (
                {"jpeg": BLOB, "offset": np.array(offsets), "label": np.zeros(2, int)},
                "offset must lead through the bytes of jpeg, once for each label; get the file anew",
            )
            for offsets in ([0, 30], [0, 30, 61], [0, 30, 20], [-1, 30, 60], [0.0, 30.0, 60.0], [[0, 30, 60]])
        ),
    ],
)
def test_wrong_arrays(tmp_path: Path, arrays: dict[str, NDArray[Any]], message: str) -> None:
    path = tmp_path / "train.npz"
    np.savez(path, allow_pickle=False, **arrays)
    assert refusal(path) == f"{path}: {message}"


def test_damaged_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.npz"
    other = tmp_path / "other.npz"
    other.write_bytes(b"")
    assert refusal(other) == f"{other}: give the file of the training set, which has 'train' in its name"
    path.write_bytes(b"no archive")
    assert refusal(path) == f"{path}: cannot be read (File is not a zip file); get the file anew"
    np.savez(path, x=np.array([{}]), y=np.zeros(1, int))
    assert refusal(path).startswith(f"{path}: cannot be read (Object arrays cannot be loaded")
    offsets = np.array([0, 30, 60])
    np.savez(path, jpeg=BLOB, offset=offsets, label=np.zeros(2, int))
    assert refusal(path).startswith(f"{path}, image 0: cannot be read as an image (")
    monkeypatch.setattr(loader, "MAX_ARCHIVE_BYTES", 100)
    assert refusal(path) == f"{path}: unpacks to more than 100 bytes; get the file anew"


def test_without_pillow_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jpegs(tmp_path / "train.npz", 2, 0)
    write_jpegs(tmp_path / "test.npz", 2, 0)
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert refusal(tmp_path) == "images are read with Pillow; install it: pip install 'mixq[train]'"


def test_all_of_the_real_images(shared: Path) -> None:
    data = load_cifar10(shared / "data" / "cifar10_jpeg_train50k.npz")
    assert data.name == "cifar10_jpeg"
    assert (len(data.train), len(data.validation), len(data.test)) == (45000, 5000, 10000)
    # The sum stands in the data's README: the test images decoded, (N, H, W, C), in CIFAR-10's own order.
    decoded = data.test.images.transpose(0, 2, 3, 1).tobytes()
    assert hashlib.sha256(decoded).hexdigest() == "b7018a062865e9348a704e72416eb53c816b43cc8ac42ab43276a2b967508ab6"
    assert Counter(data.test.labels.tolist()) == dict.fromkeys(range(10), 1000)
    both = np.concatenate([data.train.labels, data.validation.labels])
    assert Counter(both.tolist()) == dict.fromkeys(range(10), 5000)
    assert min(Counter(data.validation.labels.tolist()).values()) > 400


def test_a_part_of_the_lossless_images(shared: Path) -> None:
    path = shared / "data" / "cifar10_lossless_train5085.npz"
    data = load_cifar10(path)
    assert (data.name, len(data.test), len(data.validation), len(data.train)) == ("cifar10_part", 847, 423, 3815)
    with np.load(path) as stored:
        everything = Samples(stored["x"].transpose(0, 3, 1, 2), stored["y"].astype(np.int64))
    assert rows(data.train, data.validation, data.test) == rows(everything)
