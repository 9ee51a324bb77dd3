"""`convert` and `revert`: what is replaced, what is not and why, what an example shows, and that it can be undone."""

from __future__ import annotations

import copy
import io
import json
import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as everybody writes it
from torch.nn.utils import parametrizations

import poolwise.torch as pt
from poolwise.torch.conversion import Report, exchange, graph
from poolwise.torch.conversion import calls as pooling_calls

LAYERS = [
    (nn.MaxPool1d(3, 2, 1, 1, ceil_mode=True), (2, 3, 11)),
    (nn.MaxPool2d((3, 2), (2, 1), (1, 0), (1, 2)), (2, 3, 9, 8)),
    (nn.MaxPool2d(2, return_indices=True), (2, 3, 9, 8)),
    (nn.MaxPool3d(2, padding=1), (2, 3, 5, 6, 7)),
    (nn.AvgPool1d(3, 2, 1, count_include_pad=False), (2, 3, 11)),
    (nn.AvgPool2d(3, 2, 1, divisor_override=5), (2, 3, 9, 8)),
    (nn.AvgPool3d(2, ceil_mode=True), (2, 3, 5, 6, 7)),
    (nn.LPPool1d(2, 3), (2, 3, 11)),
    (nn.LPPool2d(3, 2, 1), (2, 3, 9, 8)),
    (nn.LPPool3d(2.0, 2), (2, 3, 5, 6, 7)),
    (nn.AdaptiveMaxPool1d(4), (2, 3, 11)),
    (nn.AdaptiveMaxPool2d((4, None)), (2, 3, 9, 8)),
    (nn.AdaptiveMaxPool3d(2, return_indices=True), (2, 3, 5, 6, 7)),
    (nn.AdaptiveAvgPool1d(4), (2, 3, 11)),
    (nn.AdaptiveAvgPool2d(1), (2, 3, 9, 8)),
    (nn.AdaptiveAvgPool3d((2, 3, None)), (2, 3, 5, 6, 7)),
    (nn.FractionalMaxPool2d(2, output_ratio=0.5), (2, 3, 9, 8)),
    (nn.FractionalMaxPool2d(2, output_size=(3, 4), _random_samples=torch.rand(2, 3, 2)), (2, 3, 9, 8)),
    (nn.FractionalMaxPool3d(2, output_size=2), (2, 3, 5, 6, 7)),
]


@pytest.fixture
def x():
    return torch.randn(2, 3, 12, 13, generator=torch.Generator().manual_seed(1))


def text_of(report: Report) -> str:
    return re.sub(" +", " ", str(report))


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value))
def test_every_layer_has_its_equal(layer, shape):
    if not hasattr(pt, type(layer).__name__):
        pytest.skip("poolwise.torch has no such layer yet")
    example = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    if "LP" in str(layer):
        example = example.abs()  # torch takes roots of negative sums: NaN, of which this package makes a number
    new, report = pt.convert(nn.Sequential(layer), example=example, measure=False)
    assert type(new[0]) is getattr(pt, type(layer).__name__)
    assert [row.replaced for row in report.rows] == [True]
    assert report.checked is not None
    picks = type(layer).__name__.startswith(("Max", "AdaptiveMax", "Fractional"))
    assert report.equal or not picks
    assert list(new.state_dict()) == list(nn.Sequential(layer).state_dict())


def test_unpooling_is_replaced_with_its_indices():
    if not hasattr(pt, "MaxUnpool2d"):
        pytest.skip("poolwise.torch has no such layer yet")

    class Back(nn.Module):
        def __init__(self):
            super().__init__()
            self.down, self.up = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)

        def forward(self, x):
            y, at = self.down(x)
            return self.up(y, at, output_size=x.size())

    new, report = pt.convert(Back(), example=torch.randn(1, 2, 7, 6), measure=False)
    assert type(new.up) is pt.MaxUnpool2d and report.equal and len(report.replaced) == 2


class Net(nn.Module):
    """One layer under two names, one that the example does not reach, and calls of functions."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.again = self.pool
        self.unused = nn.AvgPool2d(2)
        self.features = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(2))
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.conv(x))))
        x = self.features(self.again(x))
        return self.drop(F.adaptive_avg_pool2d(x, 1).flatten(1))


def test_a_shared_layer_stays_one_layer(x):
    net = Net()
    new, report = pt.convert(net, example=x, measure=False)
    assert new.pool is new.again and type(new.pool) is pt.MaxPool2d
    row = next(row for row in report.rows if row.name == "pool")
    assert row.also == ("again",) and row.new == "poolwise.torch.MaxPool2d"
    unused = next(row for row in report.rows if row.name == "unused")
    assert unused.replaced and "not called by the example" in unused.notes[0]


def test_a_copy_leaves_the_original_alone(x):
    net = Net().train()
    pool, before = net.pool, copy.deepcopy(net.state_dict())
    new = pt.convert(net, example=x, measure=False, report=False, relu_after_max=True, functional=True)
    assert net.pool is pool and type(net.features[1]) is nn.ReLU and type(net.features[2]) is nn.MaxPool2d
    assert not any("hook" in key and value for module in net.modules() for key, value in vars(module).items())
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)
        torch.testing.assert_close(new.state_dict()[name], value, rtol=0, atol=0)
    assert all(module.training for module in (*net.modules(), *new.modules()))
    assert not {id(p) for p in net.parameters()} & {id(p) for p in new.parameters()}


def test_training_goes_on_as_before(x):
    """Dropout and batch norm are those of before, and the example did not move the random numbers on."""
    torch.manual_seed(3)
    net = Net().train()
    new = pt.convert(net, example=x, measure=False, report=False, relu_after_max=True)
    results = []
    for model in (net, new):
        torch.manual_seed(4)
        y = model(x)
        y.square().sum().backward()
        results.append((y.detach(), *(p.grad for p in model.parameters()), model.norm.running_mean))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)  # a bias before batch norm has nothing but roundings
    torch.manual_seed(3)
    drawn = torch.rand(1)
    torch.manual_seed(3)
    pt.convert(net, example=x, measure=False, report=False)
    assert torch.equal(torch.rand(1), drawn)


def test_in_place_and_back(x):
    net = Net().eval()
    objects, before = dict(net.named_modules()), net(x)
    new, _ = pt.convert(net, inplace=True, example=x, measure=False, relu_after_max=True, functional=True)
    assert new is net and type(net.pool) is pt.MaxPool2d and type(net.features[1]) is pt.MaxPool2d
    assert "forward" in vars(net)
    assert pt.revert(net) is net
    assert dict(net.named_modules()) == objects and list(dict(net.named_modules())) == list(objects)
    assert "forward" not in vars(net)
    torch.testing.assert_close(net(x), before, rtol=0, atol=0)
    assert pt.revert(net) is net and dict(net.named_modules()) == objects


def test_revert_goes_back_to_the_first_layer_and_works_on_parts():
    net = nn.Sequential(nn.Sequential(nn.MaxPool2d(2)), nn.AvgPool2d(2))
    first = net[0][0]
    pt.convert(net, inplace=True)
    pt.convert(net, inplace=True, to={"max": "avg"})
    assert type(net[0][0]) is pt.AvgPool2d
    net.eval()
    pt.revert(net[0])
    assert net[0][0] is first and type(net[1]) is pt.AvgPool2d and not first.training
    copied = copy.deepcopy(net)
    assert type(pt.revert(copied)[1]) is nn.AvgPool2d and type(net[1]) is pt.AvgPool2d


def test_the_model_may_be_a_layer():
    pool = nn.MaxPool2d(2)
    new, report = pt.convert(pool, inplace=True)
    assert type(new) is pt.MaxPool2d and "(the model itself)" in str(report)
    assert pt.revert(new) is pool


def test_a_converted_model_is_copied_and_pickled(x):
    new = pt.convert(Net().eval(), report=False, relu_after_max=True)
    assert "forward" in vars(new)
    twin = copy.deepcopy(new)
    assert twin.forward.__self__ is twin
    file = io.BytesIO()
    torch.save(new, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    for model in (twin, loaded):
        torch.testing.assert_close(model(x), new(x), rtol=0, atol=0)
        assert type(pt.revert(model).pool) is nn.MaxPool2d


def test_hooks_and_what_was_written_on_a_layer_move_over():
    net, seen = nn.Sequential(nn.MaxPool2d(2)), []
    handle = net[0].register_forward_hook(lambda module, args, y: seen.append(type(module)))
    net[0].register_full_backward_hook(lambda module, gx, gy: seen.append("backward"))
    net[0].tag = "stem"
    pool = net[0].eval()
    new = pt.convert(net, inplace=True, report=False)
    assert new[0].tag == "stem" and not new[0].training
    new(torch.zeros(1, 1, 4, 4, requires_grad=True)).sum().backward()
    assert seen == [pt.MaxPool2d, "backward"]
    handle.remove()  # given out by the old layer
    new(torch.zeros(1, 1, 4, 4))
    assert len(seen) == 2
    new[0].register_forward_pre_hook(lambda module, args: seen.append("later"))
    assert pt.revert(new)[0] is pool
    pool(torch.zeros(1, 1, 4, 4))
    assert seen[-1] == "later"


class Halved(nn.MaxPool2d):
    def forward(self, x):
        return super().forward(x) / 2


def patched():
    pool = nn.MaxPool2d(2)
    pool.forward = lambda x: x
    return pool


def holding():
    pool = nn.MaxPool2d(2)
    pool.inner = nn.Linear(1, 1)
    return pool


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Halved(2), "a subclass"),
        (patched, "its forward was replaced"),
        (holding, "modules, parameters or buffers of its own"),
        (lambda: torch.jit.script(nn.MaxPool2d(2)), "scripted"),
        (lambda: pt.MaxPool2d(2), "poolwise's own already"),
    ],
)
def test_what_is_left_and_why(make, reason):
    layer = make()
    net, report = pt.convert(nn.Sequential(layer), inplace=True)
    assert net[0] is layer
    assert [row.replaced for row in report.rows] == [False] and reason in report.rows[0].reason
    assert reason in str(report)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_quantised_tensors_are_left_to_torch(x):
    """Their layers are torch's plain ones: only a run shows what they are given."""
    quantised = torch.ao.nn.quantized
    net = nn.Sequential(
        quantised.Quantize(0.1, 0, torch.quint8), nn.MaxPool2d(2), quantised.DeQuantize(), nn.AvgPool2d(2)
    )
    new, report = pt.convert(net)
    assert len(report.kept) == 2 and all("quantised" in row.reason for row in report.kept)
    new, report = pt.convert(net, example=x, measure=False)
    assert type(new[1]) is nn.MaxPool2d and "poolwise refuses" in report.rows[0].reason
    assert type(new[3]) is pt.AvgPool2d


def test_other_modules_are_no_business_of_it():
    net = nn.Sequential(parametrizations.weight_norm(nn.Conv2d(1, 1, 1)), nn.ReLU(), nn.Identity())
    _, report = pt.convert(net, example=torch.zeros(1, 1, 4, 4), measure=False)
    assert report.rows == [] and report.equal


def test_only_the_pools_that_are_named(x):
    net, report = pt.convert(Net(), pools="avg")
    assert type(net.pool) is nn.MaxPool2d and type(net.unused) is pt.AvgPool2d
    assert "pools= does not name max" in str(report)


def test_the_report_is_plain_values(x):
    _, report = pt.convert(Net(), example=x)
    kept = json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert kept["replaced"] == len(report.replaced) and kept["replaced"] + kept["kept"] == len(kept["rows"])
    timed = next(row for row in kept["rows"] if row["name"] == "pool")
    assert timed["torch_ms"] > 0 and timed["poolwise_ms"] > 0
    assert "torch ms" in str(report) and "torch ms" not in str(pt.convert(Net())[1])


def test_a_layer_that_is_slower_stays_torchs(x, monkeypatch):
    """The rule, on times that are made up: not on noise, but by more than it."""
    net = nn.Sequential(nn.MaxPool2d(2))
    for ours, kept in (((2.0, 2.1, 2.2), True), ((1.1, 2.1, 3.0), False), ((0.1, 0.2, 0.3), False)):
        monkeypatch.setattr(exchange, "timed", lambda *args, t=ours: [(1.0, 1.1, 1.2), t])
        new, report = pt.convert(net, example=x)
        assert (type(new[0]) is nn.MaxPool2d) is kept
        assert (report.rows[0].torch_ms, report.rows[0].poolwise_ms) == (1100.0, ours[1] * 1e3)
        assert not kept or "faster" in report.rows[0].reason
        assert type(pt.convert(net, example=x, measure=False, report=False)[0]) is pt.MaxPool2d


def test_a_layer_is_timed_once_per_shape_and_counted_per_call(x, monkeypatch):
    seen = []

    def fake(torchs, ours, call, grad):
        seen.append((tuple(call.args[0].shape), call.times, grad))
        return [(1.0, 1.0, 1.0), (0.5, 0.5, 0.5)]

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x):
            return self.pool(x) + self.pool(x + 1), self.pool(self.pool(x))

    monkeypatch.setattr(exchange, "timed", fake)
    _, report = pt.convert(Twice(), example=x)
    assert seen == [((2, 3, 12, 13), 3, True), ((2, 3, 6, 6), 1, True)]
    assert (report.rows[0].torch_ms, report.rows[0].poolwise_ms) == (4000.0, 2000.0)
    seen.clear()
    pt.convert(Twice().eval(), example=x)
    assert [grad for *_, grad in seen] == [False, False]


class Wrong(nn.MaxPool2d):
    """What a broken layer of this package would be."""

    spatial = 2

    def forward(self, x):
        y = super().forward(x).clone()
        y.view(-1)[-1] += 0.5
        return y


def test_a_wrong_layer_is_caught(x, monkeypatch):
    monkeypatch.setattr(pt, "MaxPool2d", Wrong)
    net = nn.Sequential(nn.MaxPool2d(2), nn.AvgPool2d(2))
    new, report = pt.convert(net, example=x, measure=False)
    assert type(new[0]) is nn.MaxPool2d and type(new[1]) is pt.AvgPool2d
    assert "its result differs from torch's: values 0.5 apart" in report.rows[0].reason


def test_a_wrong_network_is_caught_and_taken_back(x, monkeypatch):
    """Two layers that are equal on their own, and a model that tells them apart."""

    class Sly(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, x):
            return self.pool(x) * (2 if type(self.pool) is nn.MaxPool2d else 3)

    net = Sly()
    pool = net.pool
    with pytest.raises(ValueError, match="outputs on the example differ; nothing was changed"):
        pt.convert(net, inplace=True, example=x, measure=False)
    assert net.pool is pool and vars(net).keys() == vars(Sly()).keys()
    assert not any("hook" in key and value for key, value in vars(net).items())


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda y: y, False),
        (lambda y: y * (1 + 1e-6), False),
        (lambda y: y * (1 + 1e-3), True),
        (lambda y: y.double(), True),
        (lambda y: y[:1], True),
        (lambda y: (y, y), True),
        (lambda y: y.index_fill(0, torch.tensor(0), float("nan")), True),
        (lambda y: y.index_fill(0, torch.tensor(0), float("inf")), True),
    ],
)
def test_compare(change, wrong, x):
    from poolwise.torch.conversion.probe import compare

    found = compare({"y": x}, {"y": change(x)})
    assert (found.wrong is not None) is wrong
    bad = torch.tensor([float("nan"), float("inf"), -0.0])
    assert compare(bad, bad.clone()).same_bits and compare(bad[:2], -bad[:2]).wrong


@pytest.mark.parametrize(
    ("layer", "to", "expected"),
    [
        (nn.MaxPool2d(3, 2, 1), "avg", "AvgPool2d(kernel_size=3, stride=2, padding=1)"),
        (nn.MaxPool2d(2), "lp", "LPPool2d(norm_type=2.0, kernel_size=2, stride=2, ceil_mode=False)"),
        (nn.MaxPool2d(3, 2, 1), "blur", "BlurPool2d(kernel_size=3, stride=2, padding=1, border=reflect)"),
        (nn.MaxPool2d(3, 2, 1), "max_blur", "MaxBlurPool2d(kernel_size=3, stride=2, filter_size=3, padding=1"),
        (nn.AvgPool2d(2, 1, ceil_mode=True), "max", "MaxPool2d(kernel_size=2, stride=1, padding=0, dilation=1, ceil_"),
        (nn.AvgPool2d(3, 2), "blur", "BlurPool2d(kernel_size=3, stride=2, padding=0, border=reflect)"),
        (nn.LPPool1d(2, 3), "max", "MaxPool1d(kernel_size=3, stride=3, padding=0, dilation=1, ceil_mode=False)"),
        (nn.MaxPool2d(2, dilation=2), "median", "MedianPool2d(kernel_size=2, stride=2, padding=0, dilation=2"),
        (nn.AdaptiveAvgPool2d(2), "adaptive_max", "AdaptiveMaxPool2d(output_size=2)"),
        (pt.MinPool2d(2), "max", "MaxPool2d(kernel_size=2, stride=2"),
    ],
)
def test_one_operator_for_another(layer, to, expected):
    from poolwise.torch.conversion.layers import family_of

    example = torch.randn((1, 2, 11, 12)[: 2 + family_of(type(layer).__name__)[1]])
    net, report = pt.convert(
        nn.Sequential(layer), to={family_of(type(layer).__name__)[0]: to}, example=example, measure=False
    )
    assert str(net[0]).startswith(expected)
    assert report.equal is False and "same shapes" in report.checked
    assert report.rows[0].new.startswith(f"poolwise.torch.{expected}"[:40])
    assert net(example).shape == layer(example).shape


def test_an_average_in_the_place_of_a_maximum_leaves_the_padding_out():
    net = pt.convert(nn.Sequential(nn.MaxPool2d(3, 2, 1)), to={"max": "avg"}, report=False)
    assert torch.equal(net(torch.ones(1, 1, 5, 5)), torch.ones(1, 1, 3, 3))
    assert "count_include_pad" in vars(net[0]) and "return_indices" not in vars(net[0])


def test_another_shape_is_said():
    """The blur after a maximum has no ceil mode: the network still gives its scores, and the row says what changed."""
    net = nn.Sequential(nn.MaxPool2d(3, 2, ceil_mode=True), nn.AdaptiveAvgPool2d(1))
    _, report = pt.convert(net, to={"max": "max_blur"}, example=torch.randn(1, 2, 12, 12), measure=False)
    assert "another shape" in report.rows[0].notes[0] and "same shapes" in report.checked
    with pytest.raises(ValueError, match="outputs on the example differ"):
        pt.convert(net[:1], to={"max": "max_blur"}, example=torch.randn(1, 2, 12, 12), measure=False)


class Calls(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv(x)), 2)
        y, at = F.max_pool2d(x, 2, stride=1, return_indices=True)
        return F.avg_pool2d(y, 2) + torch.nn.functional.adaptive_avg_pool2d(x, 1), at


def test_calls_are_named_with_and_without_an_example(x):
    for example in (None, x):
        net, report = pt.convert(nn.Sequential(Calls()), example=example, measure=False)
        assert "forward" not in vars(net[0])
        assert {(row.name, row.old) for row in report.kept} == {
            ("0", "max_pool2d()"),
            ("0", "avg_pool2d()"),
            ("0", "adaptive_avg_pool2d()"),
        }
        assert all("functional=True" in row.reason for row in report.kept)


def test_a_call_is_found_in_the_module_that_makes_it(x):
    class Helper(nn.Module):
        def forward(self, x):
            return helper(x)

    _, report = pt.convert(nn.Sequential(nn.Sequential(Helper()), nn.MaxPool2d(2)), example=x, measure=False)
    assert [(row.name, row.old) for row in report.kept if "()" in row.old] == [("0.0", "avg_pool2d()")]


def helper(x):
    return F.avg_pool2d(x, 2)


@pytest.fixture
def functions(monkeypatch):
    """Stand-ins for `poolwise.torch.functional`, which note that they were called."""
    called = []

    def make(name):
        def stand_in(*args, **kwargs):
            called.append(name)
            return getattr(F, name)(*args, **kwargs)

        stand_in.__name__ = stand_in.__qualname__ = name
        return stand_in

    made = {name: make(name) for name in ("max_pool2d", "avg_pool2d", "adaptive_avg_pool2d")}
    for module in (exchange, graph):
        monkeypatch.setattr(module, "our_function", made.get)
    return called


def test_calls_are_replaced_where_forward_can_be_traced(x, functions):
    net, report = pt.convert(nn.Sequential(Calls()), example=x, functional=True, measure=False)
    assert report.equal and not report.kept and len(report.replaced) == 3
    assert "2 calls" in str(report)
    functions.clear()
    _, at = net(x)
    assert sorted(functions) == ["adaptive_avg_pool2d", "avg_pool2d", "max_pool2d", "max_pool2d"]
    assert at.dtype == torch.int64
    assert pt.revert(net) is net and "forward" not in vars(net[0])
    functions.clear()
    net(x)
    assert functions == []


def test_torchs_own_functions_have_an_equal_here(x):
    pytest.importorskip("poolwise.torch.functional")
    _, report = pt.convert(nn.Sequential(Calls()), example=x, functional=True, measure=False)
    assert not report.kept and "poolwise.torch.functional.max_pool2d()" in str(report)
    assert all(pooling_calls.our_function(name) for name in pooling_calls.FUNCTIONS.values())


class Branch(nn.Module):
    def forward(self, x):
        return F.max_pool2d(x, 2) if x.sum() > 0 else F.avg_pool2d(x, 2)


class Mode(nn.Module):
    def forward(self, x):
        return F.dropout(F.max_pool2d(x, 2), training=self.training)


class Optional(nn.Module):
    def forward(self, x, size=2):
        return F.max_pool2d(x, size)


class Block(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            return F.max_pool2d(x, 2)


class Decorated(nn.Module):
    @torch.no_grad()
    def forward(self, x):
        return F.max_pool2d(x, 2)


class Method(nn.Module):
    def forward(self, x):
        return self.pooled(x)

    def pooled(self, x):
        with torch.no_grad():
            return F.max_pool2d(x, 2)


class Counting(nn.Module):
    count = 0

    def forward(self, x):
        self.count += 1
        return F.max_pool2d(x, 2)


class Constant(nn.Module):
    def forward(self, x):
        return F.max_pool2d(x, 2) + torch.tensor([1.0])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Branch, "cannot be traced"),
        (Mode, "depends on self.training"),
        (Optional, "optional arguments"),
        (Block, "with block"),
        (Decorated, "decorator"),
        (Method, "with block"),
        (Counting, "writes to the module"),
        (Constant, "writes to the module or makes constants"),
    ],
)
@pytest.mark.usefixtures("functions")
def test_what_a_trace_would_lose_is_refused(kind, reason, x):
    net = nn.Sequential(kind())
    before = set(vars(net[0]))
    new, report = pt.convert(net, inplace=True, functional=True)
    assert new is net and set(vars(net[0])) == before and net[0].training
    assert report.kept and all(reason in row.reason for row in report.kept if row.old == "max_pool2d()")


def relu_then_max(pool=None, inplace=False):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace), pool or nn.MaxPool2d(3, 2, 1))


@pytest.mark.parametrize("inplace", [False, True])
def test_relu_after_max_in_a_sequence(inplace, x):
    net = relu_then_max(inplace=inplace)
    new, report = pt.convert(net, relu_after_max=True, example=x, measure=False)
    assert [type(layer) for layer in new] == [nn.Conv2d, pt.MaxPool2d, nn.ReLU] and report.equal
    assert "1" in [row.name for row in report.replaced]
    assert list(new.state_dict()) == list(net.state_dict())
    assert [type(layer) for layer in pt.revert(new)] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]


class Stem(nn.Module):
    """Modules, functions and methods; in place and not; one ReLU that somebody else sees too."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.relu = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(True)
        self.pool = nn.MaxPool2d(2)

    def forward(self, x):
        x = self.pool(self.relu(self.norm(self.conv(x))))
        x = F.max_pool2d(F.relu(x), 2)
        seen = F.relu(x)
        return self.pool(seen) + seen.mean(), self.pool(x.relu())


def test_relu_after_max_in_a_graph(x):
    new, report = pt.convert(Stem().eval(), relu_after_max=True, example=torch.cat([x, x], 2), measure=False)
    assert len([row for row in report.replaced if "ReLU" in row.old]) == 3 and report.equal
    names = [line.split("=")[0].strip() for line in new.forward.__func__.__code__.co_varnames]
    assert names.index("pool") < names.index("relu") and names.index("max_pool2d") < names.index("relu_1")
    assert "forward" not in vars(pt.revert(new))


@pytest.mark.parametrize(
    "net",
    [
        relu_then_max(nn.MaxPool2d(3, 1, 1, dilation=2)),  # windows of padding only, which are -inf
        relu_then_max(nn.MaxPool2d(2, return_indices=True)),  # of windows without a positive element
        relu_then_max(nn.AvgPool2d(2)),
        nn.Sequential(nn.Identity(), nn.ReLU(inplace=True), nn.MaxPool2d(2)),  # what it overwrites may be seen
        nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        nn.Sequential(nn.Conv2d(3, 3, 1), nn.LeakyReLU(), nn.MaxPool2d(2)),
    ],
)
def test_relu_stays_where_it_could_be_seen(net):
    kinds = [isinstance(layer, nn.ReLU) for layer in net]
    new, _ = pt.convert(net, relu_after_max=True)
    assert [isinstance(layer, nn.ReLU) for layer in new] == kinds


def test_relu_stays_where_a_hook_would_see_it():
    net, seen = relu_then_max(), []
    net[1].register_forward_hook(lambda module, args, y: seen.append(y.shape))
    assert type(pt.convert(net, relu_after_max=True, report=False)[1]) is nn.ReLU


@pytest.mark.parametrize("window", [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}])
@pytest.mark.parametrize("pools", [(), None], ids=["torch", "poolwise"])
def test_relu_and_max_commute(window, pools):
    """Values and gradients, on every small window of zeros, signs, NaN and infinities; only a zero's sign may differ."""
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 2.0])
    drawn = torch.randint(0, len(special), (4, 8, 12, 12), generator=torch.Generator().manual_seed(0))
    x = special[drawn]
    x[0] = torch.where(x[0].isnan(), torch.zeros(()), x[0])
    before = nn.Sequential(nn.Identity(), nn.ReLU(), nn.MaxPool2d(**window))
    # Compared on the same layer: of several NaN in a window torch's gradient goes to the last, poolwise's to the first.
    before = pt.convert(before, pools=pools, report=False)
    after = pt.convert(before, pools=pools, relu_after_max=True, report=False)
    assert isinstance(after[2], nn.ReLU)
    found = []
    for net in (before, after):
        leaf = x.clone().requires_grad_()
        y = net(leaf)
        y.backward(torch.arange(1.0, y.numel() + 1).view_as(y))
        found.append((y.detach(), leaf.grad))
    (y, gx), (moved, gx_moved) = found
    torch.testing.assert_close(moved, y, rtol=0, atol=0, equal_nan=True)
    torch.testing.assert_close(gx_moved, gx, rtol=0, atol=0)
    signs = torch.signbit(moved) != torch.signbit(y)
    assert bool((y[signs & ~y.isnan()] == 0).all())
    zero = torch.tensor([[[[-1.0, -0.0], [-1.0, -1.0]]]])
    two = nn.Sequential(nn.ReLU(), nn.MaxPool2d(2))
    swapped = pt.convert(two, relu_after_max=True, report=False)
    assert [bool(torch.signbit(net(zero))) for net in (two, swapped)] == [False, True]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"pools": "maximum"}, ValueError, "a layer that torch does not have"),
        ({"pools": ["max", "conv"]}, ValueError, "a layer that torch does not have"),
        ({"pools": 3}, TypeError, "names no pooling layers"),
        ({"to": "max_blur"}, TypeError, "not a mapping"),
        ({"to": {"max": "largest"}}, ValueError, "'max' is not replaced by 'largest'"),
        ({"to": {"largest": "max"}}, ValueError, "'largest' is not replaced by 'max'"),
        ({"to": {"max": "adaptive_avg"}}, ValueError, "is not replaced by 'adaptive_avg'"),
        ({"to": {"max": "max"}}, ValueError, "is not replaced by"),
        ({"to": {"max_unpool": "max"}}, ValueError, "is not replaced by"),
        ({"example": 3}, TypeError, "cannot be given to a model"),
        ({"example": torch.zeros(1, 5, 4, 4)}, ValueError, "the model does not take the example"),
        ({"example": {"y": torch.zeros(1, 3, 4, 4)}}, ValueError, "the model does not take the example"),
    ],
)
def test_bad_arguments(options, error, text):
    net = relu_then_max()
    objects = list(net)
    with pytest.raises(error, match=text):
        pt.convert(net, inplace=True, **options)
    assert list(net) == objects
    assert not any("hook" in key and value for module in net.modules() for key, value in vars(module).items())


@pytest.mark.parametrize(
    ("layer", "to", "text"),
    [
        (nn.MaxPool2d(3, 2, 1, dilation=2), "blur", "dilation=2"),
        (nn.MaxPool2d(2, ceil_mode=True), "blur", "ceil_mode=True"),
        (nn.MaxPool2d(2, return_indices=True), "avg", "return_indices=True"),
        (nn.AvgPool2d(2, divisor_override=3), "max", "divisor_override=3"),
    ],
)
def test_windows_that_the_other_operator_cannot_have(layer, to, text):
    net = nn.Sequential(nn.AvgPool2d(2, 1), layer)
    with pytest.raises(ValueError, match=rf"convert: 1: .*cannot take(.|\n)*{text}"):
        pt.convert(net, inplace=True, to={"max": to, "avg": "max"} if "Max" in str(layer) else {"avg": to})
    assert type(net[0]) is nn.AvgPool2d


@pytest.mark.parametrize("function", [pt.convert, pt.revert])
def test_what_is_no_model(function):
    with pytest.raises(TypeError, match="not a torch model"):
        function("net")


def test_a_model_with_computed_tensors_is_copied_and_one_that_cannot_be_says_so():
    net = nn.Sequential(nn.Conv2d(1, 1, 1), nn.MaxPool2d(2))
    net[0].scaled = net[0].weight * 2  # no leaf: copy.deepcopy alone refuses it
    new = pt.convert(net, report=False)
    assert torch.equal(new[0].scaled, net[0].scaled) and type(new[1]) is pt.MaxPool2d
    net.lock = iter([])
    net.many = [net[0].weight * 2]
    with pytest.raises(ValueError, match=r"cannot be copied(.|\n)*inplace=True"):
        pt.convert(net)
    assert type(pt.convert(net, inplace=True, report=False)[1]) is pt.MaxPool2d


def test_arguments_of_an_example(x):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.pool = nn.MaxPool2d(2)

        def forward(self, a, b):
            a += 1  # the example must not be what it writes to
            return {"sum": self.pool(a) + self.pool(b)}

    before = x.clone()
    for example in ((x, x), [x, x], {"a": x, "b": x}):
        assert pt.convert(Two(), example=example, measure=False)[1].equal
    assert torch.equal(x, before)


def test_what_only_our_layers_have_is_kept_or_refused() -> None:
    net = torch.nn.Sequential(pt.MaxPool2d(2, nan="omit", empty=0.0))
    other, _ = pt.convert(net, to={"max": "min"})
    assert (other[0].nan, other[0].empty) == ("omit", 0.0)
    with pytest.raises(ValueError, match="output=values_and_offsets"):
        pt.convert(torch.nn.Sequential(pt.MaxPool2d(2, output="values_and_offsets")), to={"max": "avg"})
    with pytest.raises(ValueError, match="nan=omit"):
        pt.convert(net, to={"max": "max_blur"})
    for moves, layer in (
        (True, pt.MaxPool2d(2)),
        (False, pt.MaxPool2d(2, nan="omit")),
        (False, pt.MaxPool2d(2, empty=-1.0, padding=1)),
    ):
        chain, _ = pt.convert(torch.nn.Sequential(torch.nn.ReLU(), layer), relu_after_max=True)
        assert moves is (not isinstance(chain[0], torch.nn.ReLU))
