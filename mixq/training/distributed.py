"""Training in several processes, as ``torchrun`` starts them: who this process is, and what they exchange.

Every process holds the whole model and computes its slice of each global batch. Gradients are summed, not averaged:
each process scales its loss by its share of the batch, so that the sum is that of one process with the whole batch,
but for the order in which floating-point numbers are added.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from mixq.errors import UserError


@dataclass(frozen=True, kw_only=True)
class World:
    """This process among all: ``rank`` of ``size``, the ``local_rank`` th on its machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size must be positive, not {self.size!r}")
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank must be in 0..{self.size - 1}, not {self.rank!r}")
        if self.local_rank < 0:
            raise ValueError(f"local_rank must not be negative, not {self.local_rank!r}")

    @classmethod
    def of_environment(cls, environment: Mapping[str, str] = os.environ) -> World:
        """What ``torchrun`` says in RANK, WORLD_SIZE and LOCAL_RANK; one process alone where it does not.

        Raises:
            UserError: variables that are no numbers or do not fit each other.
        """
        if "WORLD_SIZE" not in environment and "RANK" not in environment:
            return ALONE
        try:
            rank, size, local = (int(environment[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
            return cls(rank=rank, size=size, local_rank=local)
        except (KeyError, ValueError):
            found = ", ".join(f"{name}={environment.get(name, '')}" for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
            raise UserError(f"the environment says {found}; start several processes with torchrun") from None

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and tells the progress."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """The device called ``name``: "cpu", "cuda" (of several GPUs this process's own) or "cuda:N".

        Raises:
            UserError: another name, or a GPU that is not there.
        """
        kind, _, number = name.partition(":")
        if name == "cpu":
            return torch.device("cpu")
        if kind != "cuda" or (name != "cuda" and not (number.isascii() and number.isdigit())):
            raise UserError(f"device must be cpu, cuda or cuda:N, not {name}")
        if not torch.cuda.is_available():
            raise UserError(f"device {name} is not there: PyTorch finds no GPU; take the device cpu")
        index = int(number) if number else self.local_rank
        if index >= torch.cuda.device_count():
            raise UserError(f"device {name} is not there: PyTorch finds {torch.cuda.device_count()} GPUs")
        return torch.device("cuda", index)

    def join(self, device: torch.device) -> None:
        """Let the processes exchange, from now to their end; a group that exists already is used.

        The group is not left after a training: the next one could then meet the addresses of the first.
        """
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", rank=self.rank, world_size=self.size)
            atexit.register(_leave)

    def slice_of(self, count: int) -> slice:
        """This process's part of a global batch of ``count`` samples; the first ones have one more where it is uneven.

        >>> [World(rank=rank, size=3).slice_of(5) for rank in range(3)]
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
        """
        least, more = divmod(count, self.size)
        start = self.rank * least + min(self.rank, more)
        return slice(start, start + least + (self.rank < more))

    def sum_all(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, in one exchange for each dtype."""
        if self.size == 1:
            return
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
            group = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in group])
            dist.all_reduce(flat)
            for tensor, part in zip(group, flat.split([tensor.numel() for tensor in group]), strict=True):
                tensor.copy_(part.view(tensor.shape))

    def copy_first(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by that of the first process."""
        if self.size > 1:
            for tensor in tensors:
                # NCCL and gloo want dense memory
                dense = tensor.detach().contiguous()
                dist.broadcast(dense, 0)
                with torch.no_grad():
                    tensor.copy_(dense)

    def read_first(self, read: Callable[[], bytes], device: torch.device) -> bytes:
        """What ``read`` returns in the first process, in all of them; its UserError is raised in all of them too."""
        if self.size == 1:
            return read()
        error = b""
        content = b""
        if self.is_first:
            try:
                content = read()
            except UserError as raised:
                error = str(raised).encode() or b"?"
        sizes = torch.tensor([len(error), len(content)], dtype=torch.int64, device=device)
        dist.broadcast(sizes, 0)
        data = torch.zeros(int(sizes.sum()), dtype=torch.uint8, device=device)
        if self.is_first and len(data):
            data.copy_(torch.frombuffer(bytearray(error + content), dtype=torch.uint8))
        if len(data):
            dist.broadcast(data, 0)
        received = data.cpu().numpy().tobytes()
        length = int(sizes[0])
        if length:
            raise UserError(received[:length].decode())
        return received


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


ALONE = World()
"""One process, which exchanges nothing."""
