"""The networks of the benchmark: their shapes, and that a number stands only beside an equal result."""

from __future__ import annotations

import argparse
import json

import pytest
import torch
from torch import nn

import poolwise.torch as pt
from poolwise.bench import cli
from poolwise.bench.networks import cells, session
from poolwise.bench.networks.models import NETWORKS, Network, UNet
from poolwise.bench.timing import Plan

PLAN = Plan(budget=0.01, least=1, most=1)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)
def test_the_published_number_of_parameters(network):
    with torch.device("meta"):
        model = network.build()
        y = model(torch.zeros(2, *network.image))
    assert sum(parameter.numel() for parameter in model.parameters()) == network.parameters
    assert y.shape == ((2, 2, 256, 256) if "U-Net" in network.name else (2, 1000))


def small() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(True), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(4 * 15 * 15, 3))


SMALL = Network("small", small, 0, (1, 32, 32))


@pytest.fixture(autouse=True)
def as_if_faster(monkeypatch):
    """Which of the two is faster on so little is chance."""
    from poolwise.torch.conversion import exchange

    monkeypatch.setattr(exchange, "timed", lambda *args: [(0.002, 0.002, 0.002), (0.001, 0.001, 0.001)])


@pytest.mark.parametrize("work", ["inference", "training"])
def test_a_job(work):
    cell = cells.measure(cells.Job(SMALL, work, 2), PLAN)
    assert cell["status"] == "ok" and list(cell["contenders"]) == [cells.BEFORE, cells.AFTER, cells.RELU]
    assert all(ratio > 0 for ratio in (*cell["ratios"].values(), *cell["fastest_ratios"].values()))
    assert cell["report"]["replaced"] == 1
    json.dumps(cell, allow_nan=False)
    text = "\n".join([session.line(cell), *session.summary_lines([cell])])
    assert "small" in text and "geometric mean" in text
    if work == "training":
        saved = {name: entry["saved_bytes"] for name, entry in cell["contenders"].items()}
        # torch keeps int64 positions, this package one byte each; ReLU behind the pooling has a smaller result to keep.
        assert saved[cells.BEFORE] - saved[cells.AFTER] == 2 * 4 * 15 * 15 * (8 - 1)
        assert saved[cells.RELU] < saved[cells.AFTER]
        assert "memory of a training step" in text


def test_what_pooling_layers_keep():
    x = torch.zeros(1, 1, 4, 4)
    for layer, bytes_kept in ((nn.MaxPool2d(2), 4 * 8), (pt.MaxPool2d(2), 4)):
        total, own = cells._saved(nn.Sequential(nn.Conv2d(1, 1, 1), nn.Sigmoid(), layer), x)
        # The input of the convolution, the result of the sigmoid, and what the layer alone keeps.
        assert (total, own) == (64 + 64 + bytes_kept, bytes_kept)


def test_a_wrong_result_has_no_number(monkeypatch):
    class Wrong(nn.MaxPool2d):
        def backward(self):
            raise NotImplementedError

        def forward(self, x):
            return super().forward(x) if not x.requires_grad else super().forward(x.detach() + 0 * x)

    def convert(model, **options):
        made, report = pt.convert(model, **options)
        made[2] = Wrong(2)
        return made, report

    monkeypatch.setattr(cells, "convert", convert)
    cell = cells.measure(cells.Job(SMALL, "training", 2), PLAN)
    assert cell["status"] == "mismatch" and "apart" in cell["reason"] and "ratios" not in cell
    assert "no number" in session.line(cell) and session.summary_lines([cell])


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_arguments(parser)
    return parser.parse_args(["--networks", *words])


def test_the_command(monkeypatch, tmp_path, capsys):
    assert cli.run(arguments("--list", "--only", "training,u-net")) == 0
    assert capsys.readouterr().out.split("\n")[0] == "U-Net training batch 1"
    with pytest.raises(ValueError, match="no network has these words"):
        cli.run(arguments("--only", "transformer"))
    monkeypatch.setattr(cells, "JOBS", (cells.Job(SMALL, "inference", 1, quick=True),))
    monkeypatch.setattr(session, "claim_cores", lambda threads: torch.get_num_threads())
    path = tmp_path / "networks.json"
    assert cli.run(arguments("--quick", "--budget", "0.001", "--json", str(path))) == 0
    assert json.loads(path.read_text())["networks"][0]["status"] == "ok"
    monkeypatch.setattr(cells, "CLOSE", -1.0)
    assert cli.run(arguments("--quick", "--budget", "0.001")) == 1


def test_a_u_net_learns_where_its_pooling_is_this_packages():
    """The gradients of every layer, through four levels of pooling and what was seen on the way down."""
    torch.manual_seed(0)
    x = torch.randn(1, 1, 32, 32)
    net = UNet(4)
    new, report = pt.convert(net, example=x, measure=False)
    assert report.equal and [row.name for row in report.replaced] == ["pool"]
    for model in (net, new):
        model(x).square().mean().backward()
    for a, b in zip(net.parameters(), new.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-5, atol=1e-7)
