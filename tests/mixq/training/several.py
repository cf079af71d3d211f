"""A training script as a user writes one: the same under ``torchrun`` and without. Writes what it ended with."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from mixq.layers import QuantConv2d, QuantLinear
from mixq.quantizers import ActivationQuantizer, ImageQuantizer, make_activation_quantizer
from mixq.training import TrainConfig, Trainer
from tests.mixq.training.toy import CLASSES, ToyExtension, toy_data


class FirstBatchScale(nn.Module):
    """Divides by the mean magnitude of its first batch, as a learned step is found."""

    started: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("started", torch.zeros((), dtype=torch.uint8))

    def forward(self, values: Tensor) -> Tensor:
        if self.training and not bool(self.started):
            with torch.no_grad():
                self.scale.copy_(values.abs().mean())
                self.started.fill_(1)
        return values / self.scale


def model() -> nn.Sequential:
    """In float64, with both kinds of batch norm and of quantisers."""
    return nn.Sequential(
        ImageQuantizer(4),
        QuantConv2d(1, 4, kernel=3, padding=1, weight_bits=3),
        nn.BatchNorm2d(4),
        FirstBatchScale(),
        make_activation_quantizer("lsq", 3),
        nn.Flatten(),
        QuantLinear(4 * 36, 8, weight_bits=4, quantizer="lsq"),
        nn.BatchNorm1d(8),
        ActivationQuantizer(4),
        QuantLinear(8, CLASSES, weight_bits=4),
    ).double()


#: 47 samples: batches of 15, 15, 15 and 2, so that slices differ and, of three processes, one gets nothing.
CONFIG = TrainConfig(epochs=5, batch=15, learning_rate=0.05, shift=1, flip=True, ema=0.8, seed=2)


def main(folder: Path) -> None:
    """Train; then go on with the finished run, which only reads it."""
    torch.set_num_threads(1)
    outcomes = []
    for _ in range(2):
        network = model()
        extension = ToyExtension(network)
        result = Trainer(network, toy_data(train=47), CONFIG, extension=extension, run_dir=folder / "run").run()
        state = network.state_dict()
        outcomes.append(
            {
                "losses": [epoch.loss for epoch in result.epochs],
                "penalties": [epoch.penalty for epoch in result.epochs],
                "metrics": [(epoch.train_metric, epoch.validation_metric) for epoch in result.epochs],
                "scale": extension.scale.detach().tolist(),
                "state": {name: value.double().flatten().tolist() for name, value in state.items()},
                "started": float(state["3.scale"]),
            }
        )
    rank = os.environ.get("RANK", "0")
    (folder / f"outcome{rank}.json").write_text(json.dumps(outcomes))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
