"""Data sets: what they hold, that their parts are apart, and what is said of files that are not what they should be."""

from __future__ import annotations

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest

for module in ("PIL.Image", "sklearn", "skimage", "mlxtend"):
    pytest.importorskip(module)

from PIL import Image  # noqa: E402

from poolwise import data  # noqa: E402

OWN = Path(os.environ.get("POOLWISE_DATA", "/nowhere"))


def check(images: data.ImageSet) -> None:
    for pixels, labels in ((images.train_images, images.train_labels), (images.test_images, images.test_labels)):
        assert pixels.dtype == np.uint8 and pixels.shape[1:] == images.shape and len(pixels) == len(labels)
        assert labels.dtype == np.int64 and sorted(set(labels.tolist())) == list(range(len(images.classes)))
    assert len(images.sha256) == 64 and images.source and images.licence and images.split


@pytest.mark.parametrize(
    ("name", "shape", "train", "test"),
    [("digits", (1, 8, 8), 1438, 359), ("mnist5k", (1, 28, 28), 4000, 1000), ("textures", (1, 32, 32), 1395, 384)],
)
def test_packaged_sets(name, shape, train, test):
    images = data.load(name)
    check(images)
    assert images.shape == shape and len(images.train_labels) == train and len(images.test_labels) == test
    assert images.train_images.max() > 200 and images.train_images.std() > 20
    seen = {image.tobytes() for image in images.train_images}
    assert not any(image.tobytes() in seen for image in images.test_images)
    assert data.SETS[name]().sha256 == images.sha256


def test_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    images, theirs = data.load("digits"), load_digits()
    wanted = {
        (label, np.rint(image * 255 / 16).astype(np.uint8).tobytes())
        for image, label in zip(theirs.images, theirs.target, strict=True)
    }
    ours = {
        (label, image.tobytes())
        for pixels, labels in ((images.train_images, images.train_labels), (images.test_images, images.test_labels))
        for image, label in zip(pixels, labels.tolist(), strict=True)
    }
    assert ours == wanted


def test_texture_patches_are_of_their_halves():
    import skimage.data

    images = data.load("textures")
    for label, name in enumerate(images.classes):
        photograph = getattr(skimage.data, name)()
        first = images.train_images[images.train_labels == label]
        assert np.array_equal(first[0, 0], photograph[:32, :32]) and np.array_equal(
            first[-1, 0], photograph[-32:, 224:256]
        )
        last = images.test_images[images.test_labels == label]
        assert np.array_equal(last[0, 0], photograph[:32, 256:288]) and np.array_equal(
            last[-1, 0], photograph[-32:, -32:]
        )


@pytest.mark.skipif(
    not any((OWN / place).is_dir() for place in ("fashion-mnist", "FashionMNIST/raw"))
    and not data.sets.FASHION.is_dir(),
    reason="Fashion-MNIST is not on this machine (POOLWISE_DATA, or Debian's dataset-fashion-mnist)",
)
def test_fashion_mnist():
    images = data.load("fashion-mnist")
    check(images)
    assert len(images.train_labels) == 10_000 and images.shape == (1, 28, 28)


def test_resizing_keeps_means_and_says_so():
    images, small = data.load("digits"), data.load("digits", image_size=4)
    check(small)
    assert small.shape == (1, 4, 4) and "4 x 4" in small.split
    assert np.abs(images.train_images.mean((1, 2, 3)) - small.train_images.mean((1, 2, 3))).max() < 40
    assert abs(images.train_images.mean() - small.train_images.mean()) < 8
    assert data.load("digits", image_size=8).split == images.split


@pytest.mark.parametrize("text", ["", "mnist", "folder:", "idx:", "folder", "http://x/y", "MNIST5K"])
def test_names_of_nothing(text):
    with pytest.raises(ValueError, match="no such data set"):
        data.load(text)


@pytest.mark.parametrize("size", [0, 3, 10_000])
def test_sizes_of_nothing(size):
    with pytest.raises(ValueError, match="size"):
        data.load("digits", image_size=size)


# Folders.


def picture(path: Path, value: int, mode: str = "L", size: tuple[int, int] = (10, 8)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colour = value if len(Image.new(mode, (1, 1)).getbands()) == 1 else (value, *[20] * (len(mode) - 1))
    Image.new(mode, size, colour).save(path)


@pytest.fixture
def zoo(tmp_path: Path) -> Path:
    for label, name in enumerate(("dog", "cat")):
        for number in range(10):
            picture(tmp_path / name / f"{number:02}.png", 100 * label + number)
    picture(tmp_path / ".hidden" / "1.png", 1)
    (tmp_path / "cat" / ".DS_Store").write_text("not a picture")
    (tmp_path / "README.txt").write_text("not a class")
    return tmp_path


def test_a_folder_for_each_class(zoo):
    images = data.load(f"folder:{zoo}", image_size=16)
    check(images)
    assert images.classes == ("cat", "dog") and images.shape == (1, 16, 16) and "yours" in images.licence
    assert len(images.train_labels) == 16 and np.bincount(images.test_labels).tolist() == [2, 2]
    # A picture of one colour stays so, and tells its class.
    values = np.concatenate([images.train_images, images.test_images])[:, 0]
    labels = np.concatenate([images.train_labels, images.test_labels])
    assert (values == values[:, :1, :1]).all() and ((values[:, 0, 0] < 50) == (labels == 1)).all()
    again = data.load(f"folder:{zoo}", image_size=16)
    assert np.array_equal(images.train_images, again.train_images) and images.sha256 == again.sha256
    assert data.load(f"folder:{zoo}").shape == (1, 32, 32)


def test_the_hash_is_of_files_and_classes(zoo):
    before = data.load(f"folder:{zoo}").sha256
    (zoo / "cat" / "00.png").rename(zoo / "dog" / "99.png")
    moved = data.load(f"folder:{zoo}").sha256
    picture(zoo / "dog" / "99.png", 77)
    assert len({before, moved, data.load(f"folder:{zoo}").sha256}) == 3


def test_a_folder_with_two_parts(zoo, tmp_path_factory):
    both = tmp_path_factory.mktemp("both")
    (zoo / ".hidden").rename(both / ".hidden")
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            for number in range(3):
                picture(both / part / name / f"{number}.png", number + (50 if part == "val" else 0))
    images = data.load(f"folder:{both}")
    check(images)
    assert len(images.train_labels) == len(images.test_labels) == 6
    assert images.train_images.max() < 50 <= images.test_images.min() and "val" in images.split
    picture(both / "val" / "emu" / "1.png", 3)
    with pytest.raises(ValueError, match="emu"):
        data.load(f"folder:{both}")


@pytest.mark.parametrize(
    ("mode", "channels"), [("L", 1), ("1", 1), ("LA", 1), ("RGB", 3), ("RGBA", 3), ("CMYK", 3), ("P", 3), ("I;16", 1)]
)
def test_every_mode_of_pillow(tmp_path, mode, channels):
    for number, name in enumerate(("a", "b")):
        for each in range(2):
            path = tmp_path / name / f"{each}.{'tif' if mode == 'CMYK' else 'png'}"
            path.parent.mkdir(exist_ok=True)
            level = 50 + 100 * number
            if mode == "I;16":
                made = Image.fromarray(np.full((8, 8), level * 257, np.uint16))
            else:
                colour = Image.new("RGB", (8, 8), (level, 30, 60) if channels == 3 else (level,) * 3)
                made = colour.convert("RGBA").convert(mode) if mode == "LA" else colour.convert(mode)
            made.save(path)
    images = data.load(f"folder:{tmp_path}", image_size=8)
    assert images.shape == (channels, 8, 8)
    middle = images.train_images[:, 0].mean((1, 2))
    if mode != "1":
        assert middle == pytest.approx([50, 150], abs=6)


def test_what_is_transparent_is_white(tmp_path):
    for name in ("a", "b"):
        for number in range(2):
            picture(tmp_path / name / f"{number}.png", 0, "LA")
            Image.new("LA", (8, 8), (0, 0)).save(tmp_path / name / f"{number}.png")
    assert (data.load(f"folder:{tmp_path}").train_images == 255).all()


def test_one_colour_picture_makes_three_channels_of_all(zoo):
    picture(zoo / "dog" / "colour.png", 200, "RGB")
    images = data.load(f"folder:{zoo}")
    assert images.shape[0] == 3
    grey = [image for image in images.train_images if (image[0] == image[1]).all()]
    assert len(grey) >= 15


def test_large_folders_are_cut_evenly(zoo, monkeypatch):
    monkeypatch.setattr("poolwise.data.folder.MOST", 10)
    images = data.load(f"folder:{zoo}")
    assert np.bincount(np.concatenate([images.train_labels, images.test_labels])).tolist() == [5, 5]


def test_unreadable_files_are_named_in_one_line(zoo):
    (zoo / "cat" / "text.png").write_text("not a picture")
    whole = (zoo / "dog" / "03.png").read_bytes()
    (zoo / "dog" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (zoo / "dog" / "empty.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match="3 of 23 files") as caught:
        data.load(f"folder:{zoo}")
    assert all(name in str(caught.value) for name in ("text.png", "cut.png", "empty.jpg"))


def test_folders_that_are_no_data_set(tmp_path, zoo):
    with pytest.raises(ValueError, match="no such folder"):
        data.load(f"folder:{tmp_path / 'nowhere'}")
    with pytest.raises(ValueError, match="no classes"):
        data.load(f"folder:{zoo / 'cat'}")
    (zoo / "emu").mkdir()
    with pytest.raises(ValueError, match=r"no pictures(.|\n)*emu"):
        data.load(f"folder:{zoo}")
    picture(zoo / "emu" / "1.png", 3)
    with pytest.raises(ValueError, match=r"single picture(.|\n)*emu"):
        data.load(f"folder:{zoo}")
    picture(tmp_path / "lonely" / "one" / "1.png", 3)
    with pytest.raises(ValueError, match="single class"):
        data.load(f"folder:{tmp_path / 'lonely'}")


# IDX files.


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">{array.ndim + 1}I", 0x800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def four(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for part, count in (("train", 20), ("t10k", 10)):
        (tmp_path / f"{part}-images-idx3-ubyte").write_bytes(idx(random.integers(0, 256, (count, 12, 12))))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(1 + np.arange(count) % 2)))
    return tmp_path


def test_idx_files(four):
    images = data.load(f"idx:{four}")
    check(images)
    assert images.shape == (1, 12, 12) and images.classes == ("1", "2") and len(images.test_labels) == 10
    assert images.train_labels[:4].tolist() == [0, 1, 0, 1]
    assert data.load(f"idx:{four}", image_size=8).shape == (1, 8, 8)
    for path in four.glob("t10k*"):
        path.unlink()
    split = data.load(f"idx:{four}")
    check(split)
    assert len(split.train_labels) == 16 and len(split.test_labels) == 4 and split.sha256 != images.sha256


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train-images-idx3-ubyte", b""),
        ("train-images-idx3-ubyte", idx(np.zeros((20, 12, 12)))[:-1]),
        ("train-images-idx3-ubyte", idx(np.zeros((20, 144)))),
        ("train-images-idx3-ubyte", struct.pack(">4I", 0x803, 2**31, 2**31, 2**31)),
        ("train-images-idx3-ubyte", idx(np.zeros((19, 12, 12)))),
        ("train-images-idx3-ubyte", idx(np.zeros((20, 8, 8)))),
        ("train-labels-idx1-ubyte.gz", gzip.compress(idx(np.zeros(20)), mtime=0)[:-9]),
        ("train-labels-idx1-ubyte.gz", b"\x1f\x8bnonsense"),
    ],
)
def test_idx_files_that_are_broken(four, name, content):
    (four / name).write_bytes(content)
    with pytest.raises(ValueError, match="IDX"):
        data.load(f"idx:{four}")


def test_idx_files_that_are_not_there(four, tmp_path):
    with pytest.raises(ValueError, match="missing"):
        data.load(f"idx:{tmp_path / 'nowhere'}")
    (four / "t10k-images-idx3-ubyte").unlink()
    with pytest.raises(ValueError, match="missing"):
        data.load(f"idx:{four}")
    (four / "t10k-labels-idx1-ubyte.gz").unlink()
    (four / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.zeros(20))))
    with pytest.raises(ValueError, match="single class"):
        data.load(f"idx:{four}")
