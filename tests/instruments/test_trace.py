"""Traces: costs against torch's own counter and by hand, what pooling saves, and models that are left as they were."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812

import poolwise.torch as pt  # noqa: E402
from poolwise.instruments import inspect, trace  # noqa: E402

nn = torch.nn


class ByHand(nn.Module):
    """As tutorials write it: functions, and a reshape to a length that fits one image size."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2 = nn.Linear(16 * 5 * 5, 120), nn.Linear(120, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        return self.fc2(F.relu(self.fc1(x.view(-1, 16 * 5 * 5))))


class Block(nn.Module):
    def __init__(self, shared=False):
        super().__init__()
        self.conv, self.pool, self.act = nn.Conv2d(2, 2, 3, 2, 1), pt.MaxPool2d(2), nn.ReLU(inplace=True)

    def forward(self, x):
        return self.act(self.act(self.conv(x)) + self.pool(x))


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.low = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.up, self.out = nn.ConvTranspose2d(4, 4, 2, 2), nn.Conv2d(8, 1, 1)

    def forward(self, x):
        a = self.down(x)
        b = self.up(self.low(F.max_pool2d(a, 2)))
        return self.out(torch.cat([a, b], 1))


class Gate(nn.Module):
    """Squeeze and excitation."""

    def __init__(self):
        super().__init__()
        self.conv, self.gate = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(2, 2)

    def forward(self, x):
        x = self.conv(x)
        return x * torch.sigmoid(self.gate(x.mean((2, 3))))[:, :, None, None]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.patches, self.attention = nn.Conv2d(3, 8, 4, 4), nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        return x + self.attention(x, x, x, need_weights=False)[0]


def by_torch(model, shape):
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.zeros(shape))
    counts = counter.get_flop_counts()["Global"]
    return sum(flops for op, flops in counts.items() if op != torch.ops.poolwise.pool) // 2


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (nn.Sequential(nn.Conv2d(4, 8, 3, 2, 1, groups=2), nn.BatchNorm2d(8), nn.ReLU(), pt.MaxPool2d(3, 2, 1), nn.Flatten(),
                       nn.Linear(128, 3)), (2, 4, 16, 16)),
        (ByHand(), (3, 1, 32, 32)), (UNet(), (1, 1, 8, 8)), (Gate(), (2, 2, 9, 9)),
        (nn.Sequential(nn.Conv1d(2, 4, 3, padding="same"), nn.Conv1d(4, 4, 3, dilation=2, groups=4)), (1, 2, 17)),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_multiply_adds_agree_with_torch(model, shape):
    assert trace(model, shape).multiply_adds == by_torch(model, shape) > 0


def test_attention_is_counted():
    found = trace(Attention(), (1, 3, 16, 20))
    tokens = 20
    products = 2 * tokens * tokens * 8
    assert found.layer("attention").multiply_adds == tokens * 8 * 8 * 4 + products
    last = found.layers[-1]
    assert (last.receptive_field, last.local_field, last.reduction) == (
        (16, 20),
        (4, 4),
        (4, 4),
    ) and last.sees_everything


@pytest.mark.parametrize(
    ("layer", "shape", "reduction", "field", "operations"),
    [
        (pt.MaxPool2d((3, 2), (2, 1), (1, 0)), (1, 2, 9, 9), (2, 1), (3, 2), 2 * (2 * 2 + 3 * 3) * 8 * 2),
        (nn.MaxPool2d((3, 2), (2, 1), (1, 0)), (1, 2, 9, 9), (2, 1), (3, 2), 2 * (2 * 2 + 3 * 3) * 8 * 2),
        (nn.MaxPool2d(2, dilation=3), (1, 2, 9, 9), (2, 2), (4, 4), 2 * 9 * 4),
        (nn.AvgPool1d(4, 3, 2, ceil_mode=True), (1, 2, 9), (3,), (4,), 2 * (2 + 4 + 4 + 2)),
        (nn.LPPool2d(2, 3), (1, 2, 9, 9), (3, 3), (3, 3), 2 * 81),
        (nn.AdaptiveMaxPool2d((None, 3)), (1, 2, 9, 9), (1, 3), (1, 3), 2 * 81),
        (pt.AdaptiveAvgPool2d(1), (1, 2, 9, 7), (9, 7), (9, 7), 2 * 63),
        (nn.AdaptiveAvgPool2d(1), (1, 2, 9, 7), (9, 7), (9, 7), 2 * 63),
        (nn.AdaptiveAvgPool2d(4), (1, 2, 9, 9), None, (3, 3), 2 * 12 * 12),
        (pt.MaxBlurPool2d(2), (1, 2, 9, 9), (2, 2), (4, 4), None),
    ],
    ids=str,
)  # fmt: skip
def test_pooling_layers(layer, shape, reduction, field, operations):
    (found,) = trace(layer, shape).layers
    assert (found.reduction, found.receptive_field) == (reduction, field)
    assert found.output == tuple(layer(torch.zeros(shape)).shape)
    assert operations is None or found.pool_operations == operations


def test_a_mean_over_space_is_pooling_and_one_over_channels_is_not():
    found = trace(Gate(), (2, 2, 9, 9))
    assert found.layer("mean").pool_operations == 2 * 2 * 81
    assert (found.layers[-1].receptive_field, found.layers[-1].local_field) == ((9, 9), (3, 3))

    class Centre(nn.Module):
        def forward(self, x):
            return x - x.mean(1, keepdim=True)

    assert trace(Centre(), (1, 4, 5, 5)).pool_operations == 0


def test_bytes():
    found = trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.MaxPool1d(2)), (1, 1, 6, 6))
    conv, relu, flat, pool = found.layers
    assert conv.bytes_moved == 4 * (36 + 18 + 2 + 32) and relu.bytes_moved == 4 * 64 and flat.bytes_moved == 0
    assert (conv.fresh, relu.fresh, flat.fresh, pool.fresh) == (True, False, False, True)
    # The input and the first map; then that map and the pooled one, with the indices that torch finds on the way.
    assert found.output_bytes == 4 * (32 + 16) and found.peak_bytes == 4 * (36 + 32) + 4 * 16 + 8 * 16


def test_names_and_calls():
    found = trace(nn.Sequential(Block(), Block()), (1, 2, 16, 16))
    assert [layer.name for layer in found.layers[:5]] == ["0.conv", "0.act", "0.pool", "0.add", "0.act (2)"]
    assert found.layer("1.pool").kind == "MaxPool2d" and found.layer("1.add").kind == "add"
    assert found.layers[-1].reduction == (4, 4) and found.layers[-1].receptive_field == (7, 7)
    with pytest.raises(ValueError, match="no such layer"):
        found.layer("nothing")


def test_what_pooling_saves_by_hand():
    found = inspect(ByHand(), (1, 1, 32, 32))
    saved = found.undecimated
    # Maps of 28, 27, 23 and 22; a linear layer for 16 x 22 x 22 inputs.
    adds = 28**2 * 6 * 25 + 23**2 * 16 * 6 * 25 + 16 * 22**2 * 120 + 1200
    assert saved.multiply_adds == adds and saved.pool_operations == 4 * (6 * 27**2 + 16 * 22**2)
    assert saved.enlarged == ("fc1",) and saved.strides == 2 and saved.stopped is None
    assert saved.before == (found.multiply_adds, found.pool_operations, found.output_bytes)


@pytest.mark.parametrize("pool", [nn.AvgPool2d, pt.AvgPool2d, pt.MaxBlurPool2d])
def test_what_pooling_saves_equals_the_network_built_so(pool):
    def build(stride):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), pool(2, stride), nn.Conv2d(4, 4, 3), pool(3, stride), nn.Conv2d(4, 2, 3),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3),
        )  # fmt: skip

    found, wanted = inspect(build(2), (2, 1, 32, 32)), trace(build(1), (2, 1, 32, 32))
    saved = found.undecimated
    assert (saved.multiply_adds, saved.pool_operations) == (wanted.multiply_adds, wanted.pool_operations)
    assert saved.output_bytes == wanted.output_bytes and saved.stopped is None


def test_a_network_that_does_not_run_at_stride_1_says_where():
    found = inspect(UNet(), (1, 1, 8, 8))
    saved = found.undecimated
    assert saved.stopped.startswith("UNet: ") and saved.strides == 1
    names = [layer.name for layer in found.layers]
    before = found.layers[: names.index("cat")]
    assert saved.before[0] == sum(layer.multiply_adds for layer in before)
    # down as it was; low on 7 x 7; up from 7 x 7 to 14 x 14.
    assert saved.multiply_adds == 64 * 36 + 49 * 144 + 49 * 4 * 4 * 4
    assert "It stops at UNet" in str(found)


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(0.5))
    model[1].eval()
    model[0].weight.grad = torch.ones_like(model[0].weight)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    inspect(model, (2, 1, 8, 8))
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert bool((model[0].weight.grad == 1).all()) and torch.equal(torch.random.get_rng_state(), state)


class Counting(nn.Module):
    """Fails after it changed its buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        raise RuntimeError("out of luck")


def test_a_model_that_fails():
    model = nn.Sequential(nn.Conv2d(1, 1, 3), Counting())
    with pytest.raises(ValueError, match=r"fails on this input, in 1(.|\n)*out of luck"):
        trace(model, (1, 1, 8, 8))
    assert model[1].calls == 0 and not any(module._forward_hooks for module in model.modules())
    with pytest.raises(ValueError, match="in 0"):
        trace(model, (1, 3, 8, 8))


@pytest.mark.parametrize(
    ("model", "example"), [("model", (1, 1)), (nn.ReLU(), "1,2"), (nn.ReLU(), (1.5, 2)), (nn.ReLU(), None)]
)
def test_refusals(model, example):
    with pytest.raises(TypeError):
        trace(model, example)


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3)

    def forward(self, a, b):
        return {"maps": [self.conv(a), (a + b,)], "count": 3}


def test_several_inputs_and_outputs():
    found = trace(Several(), ((1, 1, 8, 8), (1, 1, 8, 8)))
    assert [layer.name for layer in found.layers] == ["conv", "add"] and not found.notes
    found = trace(Several(), (torch.zeros(1, 1, 8, 8), torch.zeros(1)))
    assert "input 2" in found.notes[0]


def test_tokens_and_features():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.LSTM(4, 3))
    found = trace(model, torch.zeros(2, 7, dtype=torch.int64))
    assert found.layers[1].receptive_field == (1,) and found.layers[-1].receptive_field == (7,)
    assert found.layers[-1].multiply_adds == 2 * 7 * 4 * 3 * (4 + 3)
    found = trace(nn.Sequential(nn.Linear(6, 3), nn.ReLU()), (4, 6))
    assert found.multiply_adds == 72 and found.layers[0].box((0, 0)) == ((0, 1),)


def test_a_network_that_decides_by_values():
    class Looks(nn.Module):
        def forward(self, x):
            return F.max_pool2d(x, 2) if float(x.sum()) == 0 else x

    found = inspect(Looks(), (1, 1, 4, 4))
    assert found.layers[-1].reduction == (2, 2) and "looks at values" in found.notes[0]
    assert found.undecimated.stopped


def test_lazily_in_the_torch_namespace():
    assert pt.inspect is inspect
    assert "What pooling saved" in str(pt.inspect(nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(1, 1, 1)), (1, 1, 4, 4)))


class Inferring(nn.Module):
    """Switches autograd off itself, so that operations reach the dispatcher as they were called."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 2, 3), nn.Linear(18, 2)

    @torch.inference_mode()
    def forward(self, x):
        return self.fc(F.max_pool2d(F.pad(self.conv(x), (1, 0, 1, 0)), 2).flatten(1))


def test_inference_mode():
    found = inspect(Inferring(), (1, 1, 7, 7))
    assert found.layer("max_pool2d").receptive_field == (4, 4) and found.layer("max_pool2d").start == (-1, -1)
    assert found.multiply_adds == 25 * 18 + 36 and not any(layer.assumed for layer in found.layers)


@pytest.mark.parametrize("name", ["", ".result", ".text"])
def test_examples(name):
    import doctest
    import importlib

    outcome = doctest.testmod(importlib.import_module(f"poolwise.instruments.tracing{name}"))
    assert outcome.failed == 0 and outcome.attempted
