"""The arrays of a graph as one ``.npz`` file of reproducible bytes, read without trust."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Mapping

import numpy as np

from mixq.graph.checks import GraphError, IntArray

MAX_FILE_BYTES = 64 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)


def array_digest(array: IntArray) -> str:
    """Return the SHA-256 of the values as little-endian int64 in C order, in hexadecimal."""
    return hashlib.sha256(np.ascontiguousarray(array, dtype="<i8").tobytes()).hexdigest()


def narrowest_dtype(array: IntArray) -> np.dtype[np.signedinteger]:
    """Return the smallest little-endian signed type that holds every value."""
    low, high = int(array.min()), int(array.max())
    for name in ("<i1", "<i2", "<i4"):
        dtype = np.dtype(name)
        if np.iinfo(dtype).min <= low and high <= np.iinfo(dtype).max:
            return dtype
    return np.dtype("<i8")


def pack_arrays(arrays: Mapping[str, IntArray]) -> bytes:
    """Return the bytes of an ``.npz`` file: members in order, stored, with a fixed time stamp."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for key, array in arrays.items():
            member = zipfile.ZipInfo(f"{key}.npy", date_time=_EPOCH)
            member.create_system = 3
            member.external_attr = 0o644 << 16
            content = io.BytesIO()
            np.lib.format.write_array(
                content,
                np.ascontiguousarray(array.astype(narrowest_dtype(array))),
                version=(1, 0),
                allow_pickle=False,
            )
            archive.writestr(member, content.getvalue())
    return buffer.getvalue()


def unpack_arrays(data: bytes, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, IntArray]:
    """Return the arrays of an ``.npz`` file, exactly those named in ``shapes`` and of those shapes.

    Nothing is allocated on the word of the file: shapes are compared before the values are read, and no
    member is read past its expected size. GraphError for anything unexpected.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            names = [member.filename for member in members]
            expected = {f"{key}.npy" for key in shapes}
            if len(set(names)) != len(names) or set(names) != expected:
                odd = sorted(set(names) ^ expected)[:3]
                raise GraphError(f"members must be the arrays that graph.json names, not others (see {odd!r})")
            return {key: _read_member(archive, f"{key}.npy", shape) for key, shape in shapes.items()}
    except GraphError:
        raise
    # zipfile, zlib, struct and NumPy's header parser each fail in their own ways on damaged bytes; all of
    # them mean the same to the user.
    except Exception as error:
        raise GraphError(f"not a readable .npz file: {error or type(error).__name__}") from error


def _read_member(archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> IntArray:
    with archive.open(name) as stream:
        version = np.lib.format.read_magic(stream)
        if version != (1, 0):
            raise GraphError(f"{name} must be of .npy version 1.0, not {version!r}")
        found, fortran, dtype = np.lib.format.read_array_header_1_0(stream)
        if found != shape:
            raise GraphError(f"{name} must have the shape {shape}, not {found!r}")
        if fortran or dtype.kind != "i":
            raise GraphError(f"{name} must hold signed integers in C order, not {dtype!r}")
        size = math.prod(shape) * dtype.itemsize
        content = stream.read(size + 1)
    if len(content) != size:
        raise GraphError(f"{name} must hold {size} bytes of values, not {len(content)!r}")
    return np.frombuffer(content, dtype=dtype).reshape(shape).astype(np.int64)
