"""What stands in checkpoint files: weights, and beside them the network's name, widths and kind of quantisers.

Files come from elsewhere and are not trusted: `.pt` is loaded without running pickled code, `.npz` without pickles, and
`.safetensors` holds none.
"""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from mixq.errors import UserError
from mixq.packing import WeightRange
from mixq.quantizer_kinds import KNOWN
from mixq.quantizers import QUANTIZER_KINDS, QuantizerKind, WeightScale
from mixq.safetensors import read_safetensors

MAX_BYTES = 1 << 30
"""Largest checkpoint that is read."""


def read_content(path: Path) -> Mapping[str, Any]:
    """Content of a checkpoint file: names to tensors, or what `mixq.checkpoints.save_checkpoint` writes.

    Raises:
        UserError: the file is missing, too large, damaged or no checkpoint.
    """
    readers = {".pt": _read_pt, ".pth": _read_pt, ".npz": _read_npz, ".safetensors": _read_safetensors}
    if path.suffix not in readers:
        raise UserError(f"{path} is no checkpoint; give a file that ends in {', '.join(readers)}")
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise UserError(f"{path} cannot be read as a checkpoint (it is no regular file); give the path of one")
        if size > MAX_BYTES:
            raise UserError(f"{path} has {size} bytes; a checkpoint may have {MAX_BYTES} at most")
        content = readers[path.suffix](path)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}; check the path") from None
    except UserError:
        raise
    except pickle.UnpicklingError:
        raise UserError(
            f"{path} cannot be read as a checkpoint (it is damaged, or holds more than tensors and plain values); "
            "save the model's state_dict() again"
        ) from None
    except Exception as error:  # a damaged file fails in as many ways as there are libraries below
        reason = (str(error).splitlines() or [""])[0][:120] or type(error).__name__
        raise UserError(f"{path} cannot be read as a checkpoint ({reason}); save it again") from None
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise UserError(f"{path} holds no state_dict; save the model's state_dict() there")
    return content


def _read_pt(path: Path) -> Any:
    with warnings.catch_warnings():  # whatever is odd about the file is told in the error's one line
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_npz(path: Path) -> dict[str, torch.Tensor]:
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > MAX_BYTES:
        raise UserError(f"{path} unpacks to {size} bytes; a checkpoint may have {MAX_BYTES} at most")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(np.asarray(arrays[name])) for name in arrays.files}


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    arrays = read_safetensors(path, max_bytes=MAX_BYTES)
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def text_of(value: object) -> str | None:
    """The value where it is text."""
    return value if isinstance(value, str) else None


def widths_of(path: Path, key: str, content: Mapping[str, Any]) -> list[int] | None:
    """The widths under a key, None where there are none."""
    value = content.get(key)
    if value is not None and not isinstance(value, list | tuple):
        raise UserError(f"{path}: {key} must be a list of widths, not {value!r}; save the checkpoint again")
    return None if value is None else list(value)


def weight_range_of(path: Path, content: Mapping[str, Any]) -> WeightRange:
    """The range that a checkpoint was trained for; old ones do not say it and mean the full one."""
    value = content.get("weight_range", "full")
    for name in get_args(WeightRange):
        if value == name:
            return name
    raise UserError(f"{path}: weight_range must be full or narrow, not {value!r}; save the checkpoint again")


def quantizer_of(path: Path, content: Mapping[str, Any]) -> QuantizerKind:
    """The kind of quantisers that a checkpoint was trained with; old ones do not say it and mean the fixed ones."""
    value = content.get("quantizer", "hwgq")
    for kind in QUANTIZER_KINDS:
        if value == kind:
            return kind
    raise UserError(f"{path}: quantizer must be {KNOWN}, not {value!r}; save the checkpoint again")


def weight_scale_of(path: Path, content: Mapping[str, Any]) -> WeightScale:
    """Whether the channels of a checkpoint's weights have steps of their own; old ones do not say it: one for all."""
    value = content.get("weight_scale", "tensor")
    for name in get_args(WeightScale):
        if value == name:
            return name
    raise UserError(f"{path}: weight_scale must be tensor or channel, not {value!r}; save the checkpoint again")
