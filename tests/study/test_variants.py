"""The family: equal parameters, equal weights, equal maps, and what each variant does to its input."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from poolwise.study import nets  # noqa: E402
from poolwise.study.costs import describe  # noqa: E402
from poolwise.study.record import Settings  # noqa: E402
from poolwise.study.variants import BY_NAME, WAYS, chosen, reductions  # noqa: E402

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 64), (1, 16, 24)]
STANDARD = ("strided", "max2", "max3", "avg2", "avg3", "lp2")


def settings(batch: int = 4) -> Settings:
    return Settings(("max2",), (0,), (10,), 5, batch, 0.01, 10, (1,), 10, 4)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parameters_are_equal_within_each_family(shape):
    counts = nets.check_parameters(shape, 10)
    assert set(counts) == {"main", "extra"} and counts["extra"] > counts["main"]


def test_a_family_that_is_uneven_is_caught(monkeypatch):
    uneven = [BY_NAME["max2"], nets.Way("odd", "odd", extra=1)]
    monkeypatch.setattr(nets, "WAYS", uneven)
    with pytest.raises(AssertionError, match="odd"):
        nets.check_parameters((1, 8, 8), 10)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_maps_at_each_depth(way, shape):
    model = nets.build(way, shape, 7, 0).eval()
    seen = {}
    places = nets.places(way, shape)
    for name, layer in places.items():
        model.get_submodule(layer).register_forward_hook(
            lambda module, args, y, name=name: seen.update({name: tuple(y.shape)})
        )
    assert model(torch.rand(2, *shape)).shape == (2, 7)
    times = reductions(*shape[1:])
    for stage, (name, width) in enumerate(zip(places, (16, 32, 64, 64), strict=False), 1):
        factor = 1 if way.name == "none" else 2 ** min(stage, times)
        assert seen[name] == (2, width, shape[1] // factor, shape[2] // factor)
    assert list(seen) == [f"stage {n}" for n in range(1, times + 2)]


def test_layers_start_equal_wherever_they_are():
    models = {way.name: dict(nets.build(way, (1, 8, 8), 10, 3).named_parameters()) for way in WAYS}
    base = models["max2"]
    for parameters in models.values():
        assert all(torch.equal(parameters[name], value) for name, value in base.items())
    assert torch.equal(models["allconv"]["extra_conv1.weight"], models["convpool"]["extra_conv1.weight"])
    other = dict(nets.build(BY_NAME["max2"], (1, 8, 8), 10, 4).named_parameters())
    assert not torch.equal(other["conv1.weight"], base["conv1.weight"])
    assert base["conv3.weight"].std().item() == pytest.approx((2 / (32 * 9)) ** 0.5, rel=0.05)


@pytest.mark.parametrize("name", STANDARD)
def test_variants_are_what_torch_has_under_the_name(name):
    nn = torch.nn
    theirs = {
        "strided": lambda: nn.Identity(),
        "max2": lambda: nn.MaxPool2d(2),
        "max3": lambda: nn.MaxPool2d(3, 2, 1),
        "avg2": lambda: nn.AvgPool2d(2),
        "avg3": lambda: nn.AvgPool2d(3, 2, 1, count_include_pad=False),
        "lp2": lambda: nn.LPPool2d(2, 2),
    }[name]
    stride = 2 if name == "strided" else 1
    plain = nn.Sequential(
        nn.Conv2d(1, 16, 3, stride, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(), theirs(),
        nn.Conv2d(16, 32, 3, stride, 1, bias=False), nn.BatchNorm2d(32), nn.ReLU(), theirs(),
        nn.Conv2d(32, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    model = nets.build(BY_NAME[name], (1, 28, 28), 10, 0)
    plain.load_state_dict(dict(zip(plain.state_dict(), model.state_dict().values(), strict=True)))
    x = torch.rand(5, 1, 28, 28)
    assert torch.allclose(model(x), plain(x), atol=1e-5)


def test_fractional_draws_in_training_and_is_fixed_in_evaluation():
    layer = nets.FractionalRoot2()
    x = torch.rand(2, 3, 28, 28)
    torch.manual_seed(0)
    first, second = layer(x), layer(x)
    torch.manual_seed(0)
    assert first.shape == (2, 3, 20, 20) and torch.equal(layer(x), first) and not torch.equal(first, second)
    assert layer(torch.rand(2, 3, 20, 20)).shape[2:] == (14, 14)
    layer.eval()
    state = torch.random.get_rng_state()
    assert torch.equal(layer(x), layer(x)) and torch.equal(torch.random.get_rng_state(), state)
    values = set(x.flatten().tolist())
    assert all(value in values for value in layer(x).flatten().tolist())


@pytest.mark.parametrize("size", [(8, 8), (28, 28), (64, 64), (128, 128)])
def test_sizes_that_halve(size):
    assert reductions(*size) == (3 if min(size) >= 48 else 2)


@pytest.mark.parametrize("size", [(4, 4), (30, 30), (7, 8), (60, 60), (256, 256), (8, 1000)])
def test_sizes_that_do_not(size):
    with pytest.raises(ValueError, match="--image-size") as caught:
        reductions(*size)
    offered = int(str(caught.value).rsplit(" ", 1)[1])
    assert reductions(offered, offered)


def test_names():
    assert [way.name for way in chosen(["none", "max2"])] == ["max2", "none"]
    for names in (["max2", "softmax"], []):
        with pytest.raises(ValueError, match="variant"):
            chosen(names)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_costs(way):
    found = describe(way, (1, 28, 28), 10, settings())
    assert found.parameters == sum(p.numel() for p in nets.build(way, (1, 28, 28), 10, 0).parameters())
    assert found.train_ms > found.infer_ms > 0
    head = 64 * found.depths[-1].output[1] ** 2  # the global average that all have
    assert (found.pool_operations > head) == bool(way.pools) and found.pool_operations >= head
    last = found.depths[-1]
    assert last.output == ((64, 28, 28) if way.name == "none" else (64, 7, 7))
    if way.name != "fractional":  # windows of many spacings have no one reduction
        assert last.reduction == (1 if way.name == "none" else 4)
    base = describe(BY_NAME["max2"], (1, 28, 28), 10, settings())
    if way.family == "main" and way.reduces == "pooling":
        assert found.multiply_adds == base.multiply_adds, "the next convolution sees as many positions"
