"""PyTorch's DistributedDataParallel on gloo, with its defaults; eager, one thread a rank. The networks mirror networks.py."""

from __future__ import annotations

import os
import sys
from typing import Any

from benchmarks.p4 import orders

orders.pin()

import torch  # noqa: E402  # after the threads' core is set
from torch import nn  # noqa: E402

from benchmarks.p4.works import WORKS  # noqa: E402


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    rank = int(os.environ[orders.CORE])
    work = WORKS[os.environ[orders.MODEL]]
    model: nn.Module = {"cnn": cnn, "vgg": vgg, "transformer": Transformer}[work.name]()
    if not orders.is_alone():
        torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
        model = nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.001, momentum=0.9)
    rows, labels = (torch.from_numpy(array) for array in work.batch(rank, int(os.environ[orders.ROWS])))
    if len(work.shape) == 3:
        rows = rows.permute(0, 3, 1, 2).contiguous()
    loss = nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        loss(model(rows), labels).backward()
        optimizer.step()

    def weights() -> list[Any]:
        return [parameter.detach().numpy() for parameter in model.parameters()]

    orders.obey(rank, {"steps": orders.timed(step)}, weights, torch=torch.__version__)


def convolutions(channels: int, blocks: list[tuple[int, int]]) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for filters, count in blocks:
        for _ in range(count):
            layers += [nn.Conv2d(channels, filters, 3, padding=1), nn.ReLU()]
            channels = filters
        layers.append(nn.MaxPool2d(2))
    return [*layers, nn.Flatten()]


def cnn() -> nn.Module:
    return nn.Sequential(*convolutions(1, [(32, 1), (64, 1)]), nn.Linear(64 * 7 * 7, 56), nn.ReLU(), nn.Linear(56, 10))


def vgg() -> nn.Module:
    blocks = [(64, 1), (128, 1), (256, 2), (512, 2), (512, 2)]
    return nn.Sequential(*convolutions(3, blocks), nn.Linear(2048, 5120), nn.ReLU(), nn.Linear(5120, 1000))


class Transformer(nn.Module):
    """Twelve blocks of width 64, each normalising its input first."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs, self.norm, self.outputs = nn.Linear(16, 64), nn.LayerNorm(64, eps=1e-3), nn.Linear(64, 10)
        options: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True, "layer_norm_eps": 1e-3}
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(64, 4, 256, **options) for _ in range(12)))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        outputs: torch.Tensor = self.outputs(self.norm(self.blocks(self.inputs(rows))).mean(1))
        return outputs


if __name__ == "__main__":
    sys.exit(main())
