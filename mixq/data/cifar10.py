"""CIFAR-10: 60,000 colour images of 32 x 32 in ten classes, from the forms in which it is passed on.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009;
https://www.cs.toronto.edu/~kriz/cifar.html describes the Python version.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixq.data.cifar10_pickle import MAX_BATCH_BYTES, read_batch
from mixq.data.dataset import Dataset, Samples
from mixq.data.images import SUFFIXES, FileTree, archive_errors, decode_image, natural_key
from mixq.errors import UserError
from mixq.files import read_bytes

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SPLIT_SEED = 20240817
#: Of the training set kept for validation: 5,000 of 50,000.
VALIDATION_SHARE = 10
#: Of a part of the training set kept for the test: as large as CIFAR-10's test set is in all of it.
TEST_SHARE = 6

MAX_ARCHIVE_BYTES = 512 << 20
"""Largest archive that is read, packed or unpacked."""

_FOLDER = "cifar-10-batches-py"
_ARCHIVE = "cifar-10-python.tar.gz"
_TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
_TEST_BATCH = "test_batch"
_FORMS = f"give {_ARCHIVE}, the folder {_FOLDER}, a folder with train/CLASS/ and test/CLASS/, or an .npz file"

Progress = Callable[[int, int], None]
_Arrays = tuple[NDArray[np.uint8], NDArray[np.int64]]


class _Content(NamedTuple):
    name: str
    train: _Arrays
    test: _Arrays | None


def load_cifar10(
    root: str | os.PathLike[str],
    *,
    train_size: int | None = None,
    validation_size: int | None = None,
    seed: int = SPLIT_SEED,
    progress: Progress | None = None,
) -> Dataset[Samples]:
    """Load CIFAR-10 in a fixed split: 45,000 images to train, 5,000 of the training set to validate, 10,000 to test.

    A tenth of the training set, by a permutation that the seed fixes, is kept for validation; the test set is as it
    comes, in its order. Smaller sizes take the first so many of either part, so that a smaller part lies
    in every larger one and no validation image is ever trained on.

    Parameters:
        root: `cifar-10-python.tar.gz`, or the folder `cifar-10-batches-py`, or a folder with one of them; a folder
            with `train/airplane/` ... `test/truck/`, of JPEG or PNG images; or an `.npz` file with `jpeg`, `offset`
            and `label`, or with `x` and `y`, whose name has "train" in it, with the test set beside it under the
            same name with "test". A file of `x` and `y` without one is divided into all three parts.
        train_size, validation_size: images of these parts; None for all 45,000, and 5,000. More than 5,000 for
            validation are taken from the training part.
        seed: of the split.
        progress: called with images read and images in all, where reading takes long.

    Returns:
        Images (N, 3, 32, 32), red, green, blue. The name is "cifar10", or "cifar10_jpeg" where the images come
        from JPEG files, which loses accuracy, or "cifar10_part" where the test images come from the training set:
        figures of the latter two must not be compared with published ones.

    Raises:
        TypeError, ValueError: sizes or a seed that are no such.
        UserError: nothing of that kind at ``root``, a damaged or hostile file, or sizes larger than the set.
    """
    for name, value in (("train_size", train_size), ("validation_size", validation_size), ("seed", seed)):
        if value is not None or name == "seed":
            _check_integer(name, value, least=0 if name == "seed" else 1)
    path = Path(root)
    content = _read(path, progress)
    train, test = content.train, content.test
    order = np.random.default_rng(seed).permutation(len(train[1]))
    if test is None:
        kept = max(1, len(order) // TEST_SHARE)
        test = _take(train, np.sort(order[:kept]))
        order = order[kept:]
    available = len(order)
    # The training part is counted from the front and the validation part from the back: neither moves with the sizes.
    kept = max(1, available // VALIDATION_SHARE, validation_size or 0)
    if available <= kept or (train_size or 0) > available - kept:
        wanted = f"{train_size or 1} for training and {kept} for validation"
        raise UserError(f"{path} has {available} images beside those of the test, not {wanted}; lower the sizes")
    return Dataset(
        name=content.name,
        train=Samples(*_take(train, order[: available - kept][:train_size])),
        validation=Samples(*_take(train, order[::-1][:kept][:validation_size])),
        test=Samples(*test),
        class_names=CLASS_NAMES,
    )


def _check_integer(name: str, value: object, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    if value < least:
        raise ValueError(f"{name} must be {'positive' if least else 'zero or more'}, not {value!r}")


def _take(arrays: _Arrays, indices: NDArray[np.int64]) -> _Arrays:
    return arrays[0][indices], arrays[1][indices]


def _read(path: Path, progress: Progress | None) -> _Content:
    """Whatever form of the data lies at ``path``."""
    if path.is_dir():
        if (path / _TRAIN_BATCHES[0]).is_file():
            return _read_batches(path, lambda name: read_bytes(path / name, max_bytes=MAX_BATCH_BYTES))
        for inner in (path / _FOLDER, path / _ARCHIVE):
            if inner.exists():
                return _read(inner, progress)
        if (path / "train").is_dir():
            return _read_classes(path, progress)
        found = sorted(path.glob("*train*.npz"))
        if len(found) == 1:
            return _read_npz(found[0], progress)
        if found:
            raise UserError(f"{path} has {len(found)} files *train*.npz; give the path of one")
        raise UserError(f"{path}: no CIFAR-10 in this folder; {_FORMS}")
    if not path.is_file():
        raise UserError(f"{path}: no such file or folder; {_FORMS}")
    if path.name.endswith((".tar.gz", ".tgz")):
        return _read_tar(path)
    if path.suffix == ".npz":
        return _read_npz(path, progress)
    raise UserError(f"{path}: CIFAR-10 does not come in this form; {_FORMS}")


def _read_batches(root: Path, read: Callable[[str], bytes]) -> _Content:
    """The Python version's six batches, each by its name."""
    parts = [read_batch(read(name), str(root / name)) for name in (*_TRAIN_BATCHES, _TEST_BATCH)]
    images, labels = zip(*parts[:-1], strict=True)
    return _Content("cifar10", (np.concatenate(images), np.concatenate(labels)), parts[-1])


def _read_tar(path: Path) -> _Content:
    members = _members(path)

    def read(name: str) -> bytes:
        if name not in members:
            raise UserError(f"{path}: has no {name} of the expected size; get {_ARCHIVE} anew")
        return members.pop(name)

    return _read_batches(path, read)


def _members(path: Path) -> dict[str, bytes]:
    """The batches in an archive, which is unpacked in memory: names and links of members lead nowhere."""
    members: dict[str, bytes] = {}
    with archive_errors(path, f"get {_ARCHIVE} anew"):
        with gzip.open(path) as stream:
            # No single read by the tar library can be larger than this.
            unpacked = stream.read(MAX_ARCHIVE_BYTES + 1)
        if len(unpacked) > MAX_ARCHIVE_BYTES:
            raise UserError(f"{path}: unpacks to more than {MAX_ARCHIVE_BYTES} bytes; get {_ARCHIVE} anew")
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as archive:
            for member in archive:
                name = member.name.rpartition("/")[2]
                if member.isreg() and name in (*_TRAIN_BATCHES, _TEST_BATCH) and member.size <= MAX_BATCH_BYTES:
                    stored = archive.extractfile(member)
                    assert stored is not None
                    members[name] = stored.read()
    return members


def _read_classes(root: Path, progress: Progress | None) -> _Content:
    """Images in folders by class, in the order of their numbers."""
    tree = FileTree(root)
    files: dict[str, list[tuple[str, int]]] = {"train": [], "test": []}
    for name in tree.names:
        part, _, below = name.partition("/")
        if part in files and below.lower().endswith(SUFFIXES):
            folders = below.split("/")[:-1]
            if len(folders) != 1 or folders[0] not in CLASS_NAMES:
                raise UserError(f"{tree.where(name)}: not in a folder of a class, {part}/{CLASS_NAMES[0]}/ and so on")
            files[part].append((name, CLASS_NAMES.index(folders[0])))
    for part, found in files.items():
        missing = sorted(set(range(10)) - {label for _, label in found})
        if missing:
            raise UserError(f"{root / part / CLASS_NAMES[missing[0]]}: no JPEG or PNG images; put them there")
        # Numbers run within a class, so this mixes the classes.
        found.sort(key=lambda entry: (natural_key(entry[0].rpartition("/")[2]), entry[1]))
    total, done = sum(map(len, files.values())), 0
    arrays = []
    for found in files.values():
        images = np.empty((len(found), 3, 32, 32), np.uint8)
        for index, (name, _) in enumerate(found):
            images[index] = _decoded(tree.read(name), tree.where(name))
            done += 1
            if progress is not None and (done % 256 == 0 or done == total):
                progress(done, total)
        arrays.append((images, np.array([label for _, label in found], np.int64)))
    lossy = any(name.lower().endswith((".jpg", ".jpeg")) for found in files.values() for name, _ in found)
    return _Content("cifar10_jpeg" if lossy else "cifar10", arrays[0], arrays[1])


def _decoded(data: bytes, where: str) -> NDArray[np.uint8]:
    image = decode_image(data, where)
    if image.size != (32, 32):
        raise UserError(f"{where}: must be of 32 x 32 pixels, not {image.width} x {image.height}; this is not CIFAR-10")
    return np.asarray(image).transpose(2, 0, 1)


def _read_npz(path: Path, progress: Progress | None) -> _Content:
    if "train" not in path.name:
        raise UserError(f"{path}: give the file of the training set, which has 'train' in its name")
    begin, _, _ = path.name.partition("train")
    tests = sorted(path.parent.glob(f"{_escaped(begin)}test*.npz"))
    if len(tests) > 1:
        raise UserError(f"{path}: {len(tests)} files {begin}test*.npz lie beside it; leave one there")
    lossy, train = _npz_arrays(path, progress)
    if not tests:
        if lossy:
            raise UserError(f"{path}: the test set is missing; put {begin}test*.npz beside it")
        return _Content("cifar10_part", train, None)
    test_lossy, test = _npz_arrays(tests[0], progress)
    return _Content("cifar10_jpeg" if lossy or test_lossy else "cifar10", train, test)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _npz_arrays(path: Path, progress: Progress | None) -> tuple[bool, _Arrays]:
    """Whether the images come from JPEG, and the images with their labels."""
    with archive_errors(path, "get the file anew"):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > MAX_ARCHIVE_BYTES:
                raise UserError(f"{path}: unpacks to more than {MAX_ARCHIVE_BYTES} bytes; get the file anew")
        with np.load(path, allow_pickle=False) as stored:
            lossy = {"jpeg", "offset", "label"} <= set(stored.files)
            if not lossy and not {"x", "y"} <= set(stored.files):
                raise UserError(f"{path}: must hold jpeg, offset and label, or x and y, not {', '.join(stored.files)}")
            arrays = [np.asarray(stored[name]) for name in (("jpeg", "offset", "label") if lossy else ("x", "y"))]
    labels = arrays[-1]
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not len(labels) or labels.min() < 0 or labels.max() > 9:
        raise UserError(f"{path}: the labels must be a list of integers 0..9; get the file anew")
    if lossy:
        images = _decoded_blobs(path, arrays[0], arrays[1], len(labels), progress)
    else:
        if arrays[0].dtype != np.uint8 or arrays[0].shape != (len(labels), 32, 32, 3):
            shape = f"{arrays[0].dtype} {arrays[0].shape}"
            raise UserError(f"{path}: x must be uint8 of shape ({len(labels)}, 32, 32, 3), not {shape}")
        images = np.ascontiguousarray(arrays[0].transpose(0, 3, 1, 2))
    return lossy, (images, labels.astype(np.int64))


def _decoded_blobs(
    path: Path, blob: NDArray[np.uint8], offsets: NDArray[np.int64], count: int, progress: Progress | None
) -> NDArray[np.uint8]:
    """Images of JPEG files that stand one after the other: number i in bytes offsets[i] to offsets[i + 1]."""
    rising = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) == count + 1
    rising = rising and offsets[0] >= 0 and bool((offsets[1:] >= offsets[:-1]).all()) and offsets[-1] <= len(blob)
    if blob.dtype != np.uint8 or blob.ndim != 1 or not rising:
        raise UserError(f"{path}: offset must lead through the bytes of jpeg, once for each label; get the file anew")
    data, bounds = blob.tobytes(), offsets.tolist()
    images = np.empty((count, 3, 32, 32), np.uint8)
    for index in range(count):
        images[index] = _decoded(data[bounds[index] : bounds[index + 1]], f"{path}, image {index}")
        if progress is not None and ((index + 1) % 1024 == 0 or index + 1 == count):
            progress(index + 1, count)
    return images
