"""Reads the batches of CIFAR-10's Python version, which are pickles, without running anything in them.

A pickle is a program: it can name any function and call it. These name three, all to build one array of bytes.
So each batch is read in two steps. First its instructions are listed, and anything that a batch does not need
is refused, before anything is done. Then it is loaded with stand-ins in the place of the three: they take the
array's bytes and shape, and are no real functions of NumPy.
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixq.errors import UserError

MAX_BATCH_BYTES = 64 << 20
"""Largest batch that is read; CIFAR-10's have 31 MB."""
MAX_MEMO = 1 << 20
"""Largest index of a remembered object, for which room is made up to that index."""
MAX_INSTRUCTIONS = 1 << 20
"""The most instructions of a batch; CIFAR-10's have about 50,000, and each can make an object."""

_ALLOWED = frozenset(
    {
        *("PROTO", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2", "LONG1"),
        *("SHORT_BINSTRING", "BINSTRING", "BINUNICODE", "SHORT_BINBYTES", "BINBYTES"),
        *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
        *("EMPTY_DICT", "DICT", "SETITEM", "SETITEMS"),
        *("BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
        *("GLOBAL", "REDUCE", "BUILD"),
    }
)


def read_batch(data: bytes, where: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) of a batch; ``where`` is its name in messages.

    Raises:
        UserError: the pickle does or holds anything else, or is damaged.
    """
    try:
        _check_instructions(data, where)
        content = _BatchUnpickler(io.BytesIO(data), encoding="bytes").load()
        images, labels = _entry(content, "data"), _entry(content, "labels")
        if isinstance(images, _Bytes) and images.array is not None and isinstance(labels, list):
            return _checked(images.array, labels)
    except UserError:
        raise
    except (MemoryError, RecursionError, Exception):  # a damaged pickle fails in any way
        pass
    raise UserError(f"{where}: no batch of CIFAR-10's Python version, or damaged; get cifar-10-python.tar.gz anew")


def _check_instructions(data: bytes, where: str) -> None:
    for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
        wanted = opcode.name in _ALLOWED and count < MAX_INSTRUCTIONS
        if opcode.name == "GLOBAL":
            wanted = tuple(str(argument).split(" ")) in _STAND_INS
        elif opcode.name.endswith("BINPUT"):
            wanted = wanted and isinstance(argument, int) and argument <= MAX_MEMO
        if not wanted:
            what = f"{opcode.name} {argument!r:.60}" if argument is not None else opcode.name
            raise UserError(
                f"{where}: this pickle does more than CIFAR-10's do ({what}) and was not loaded; "
                "get cifar-10-python.tar.gz from its authors"
            )


class _Bytes:
    """Stands for an array while a batch is loaded; holds it as soon as its bytes are known."""

    array: NDArray[np.uint8] | None = None

    def __setstate__(self, state: Any) -> None:
        _version, shape, dtype, fortran_order, raw = state
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
            raise ValueError("not an array of bytes")
        if not isinstance(shape, tuple) or len(raw) != math.prod(shape):
            raise ValueError("as many bytes as the shape says are needed")
        self.array = np.frombuffer(raw, dtype=np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _Dtype:
    """Stands for the type of an array of bytes, the only one there is."""

    def __setstate__(self, state: Any) -> None:
        """Byte order, alignment and the like, which bytes do not have."""


class _MakeArray:
    """Stands for the function that makes an empty array. Without a place for attributes, which a pickle could set."""

    __slots__ = ()

    def __call__(self, *_: Any) -> _Bytes:
        return _Bytes()


class _MakeDtype:
    """Stands for NumPy's class of types."""

    __slots__ = ()

    def __call__(self, name: Any, *_: Any) -> _Dtype:
        if name not in (b"u1", "u1"):
            raise ValueError("not an array of bytes")
        return _Dtype()


_STAND_INS: dict[tuple[str, ...], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy._core.multiarray", "_reconstruct"): _MakeArray(),
    ("numpy", "ndarray"): None,  # the first argument of _reconstruct, never called
    ("numpy", "dtype"): _MakeDtype(),
}


class _BatchUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str, /) -> Any:
        """The stand-in; a KeyError for any other name, whatever the list of instructions looked like."""
        return _STAND_INS[module, name]


def _entry(content: Any, key: str) -> Any:
    """Python 2 wrote keys as bytes, Python 3 as text."""
    return content.get(key.encode(), content.get(key))


def _checked(images: NDArray[np.uint8], labels: list[Any]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if images.ndim != 2 or images.shape[1] != 3 * 32 * 32 or len(images) != len(labels):
        raise ValueError("not rows of 3 x 32 x 32, each with a label")
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise ValueError("not labels 0..9")
    return images.reshape(-1, 3, 32, 32), np.array(labels, dtype=np.int64)
