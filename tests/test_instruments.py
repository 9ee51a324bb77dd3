"""Traces against worked examples and torch's own counter."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import trace, undecimated  # noqa: E402

nn = torch.nn


def lenet(pool) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5),
        nn.Tanh(),
        pool(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        pool(2),
        nn.Flatten(),
        nn.Linear(400, 10),
    )


@pytest.mark.parametrize("pool", [nn.AvgPool2d, pt.AvgPool2d, nn.MaxPool2d, pt.MaxPool2d])
def test_lenet(pool):
    found = trace(lenet(pool), (1, 1, 32, 32))
    outputs = [layer.output for layer in found.layers if "Pool" in layer.kind]
    assert outputs == [(1, 6, 14, 14), (1, 16, 5, 5)]
    last = found.layers[5]
    assert last.receptive_field == (16, 16) and last.reduction == (4, 4)
    assert found.layers[0].multiply_adds == 6 * 28 * 28 * 25
    assert found.layers[2].pool_operations == 6 * 28 * 28
    assert found.layers[-1].receptive_field is None and found.parameters == 156 + 2416 + 4010


def test_multiply_adds_agree_with_torch():
    from torch.utils.flop_counter import FlopCounterMode

    model = nn.Sequential(
        nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        pt.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, padding="same", dilation=2), nn.Dropout(), nn.Flatten(), nn.Linear(128, 3),
    ).eval()  # fmt: skip
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(2, 4, 16, 16))
    found, pooled = trace(model, (2, 4, 16, 16)), counter.get_flop_counts()["Global"].pop(torch.ops.poolwise.pool)
    assert 2 * found.multiply_adds == counter.get_total_flops() - pooled
    # Padding costs nothing: windows of 2, 3, 3 and 3 elements an axis.
    assert pooled == 2 * 8 * 11 * 11


@pytest.mark.parametrize(
    ("layer", "shape", "reduction", "field"),
    [
        (pt.MaxPool2d((3, 2), (2, 1), (1, 0)), (1, 2, 9, 9), (2, 1), (3, 2)),
        (nn.MaxPool2d((3, 2), (2, 1), (1, 0)), (1, 2, 9, 9), (2, 1), (3, 2)),
        (nn.MaxPool2d(2, dilation=3), (1, 2, 9, 9), (2, 2), (4, 4)),
        (nn.AvgPool1d(4, 3, 2, ceil_mode=True), (1, 2, 9), (3,), (4,)),
        (nn.LPPool2d(2, 3), (1, 2, 9, 9), (3, 3), (3, 3)),
        (nn.AdaptiveMaxPool2d((None, 3)), (1, 2, 9, 9), (1, 3), (1, 3)),
        (pt.AdaptiveAvgPool2d(1), (1, 2, 9, 7), (9, 7), (9, 7)),
        (nn.AdaptiveAvgPool2d(4), (1, 2, 9, 9), None, None),
        (pt.MaxBlurPool2d(2), (1, 2, 9, 9), (2, 2), (4, 4)),
    ],
    ids=str,
)
def test_pooling_layers(layer, shape, reduction, field):
    (found,) = trace(layer, shape).layers
    assert (found.reduction, found.receptive_field) == (reduction, field)
    assert found.output == tuple(layer(torch.zeros(shape)).shape)


def test_a_receptive_field_is_what_the_gradient_reaches():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), pt.AvgPool2d(3, 2), nn.Conv2d(1, 1, 3, dilation=2), pt.AvgPool2d(2))
    x = torch.zeros(1, 1, 40, 40, requires_grad=True)
    model(x)[0, 0, 1, 1].backward()
    rows = torch.nonzero(x.grad[0, 0].abs().sum(1)).flatten()
    field = trace(model, (1, 1, 40, 40)).layers[-1].receptive_field[0]
    assert int(rows[-1] - rows[0] + 1) == field


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trace(model, (2, 1, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_stride_1_is_what_pooling_saves():
    model = lenet(pt.MaxPool2d)[:6]
    full = trace(undecimated(model), (1, 1, 32, 32))
    assert [layer.output[-1] for layer in full.layers if "Pool" in layer.kind] == [27, 22]
    assert full.multiply_adds > 3 * trace(model, (1, 1, 32, 32)).multiply_adds
    assert model[2].stride == 2


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, x):
        return x + self.conv(x)


@pytest.mark.parametrize(
    ("model", "text"),
    [
        (nn.Sequential(nn.ConvTranspose2d(1, 1, 3)), "not known"),
        (nn.Sequential(nn.MaxPool2d(2, return_indices=True)), "not known"),
        (nn.Sequential(Residual(), nn.ReLU()), "not a chain"),
        (Residual(), "not a chain"),
    ],
)
def test_trace_refuses(model, text):
    with pytest.raises(ValueError, match=text):
        trace(model, (1, 1, 8, 8))
    assert not any(module._forward_hooks for module in model.modules())
    with pytest.raises(TypeError, match="not a torch model"):
        trace("model", (1, 1, 8, 8))
