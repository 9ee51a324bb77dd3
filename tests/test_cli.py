"""The command line: exit codes, one-line errors, and pictures that come out exact or not at all."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

import poolwise as pw
from poolwise.cli import main
from poolwise.cli.arguments import paddings, sizes

SOURCE = str(Path(pw.__file__).parents[1])


def run(*args: str, **options) -> subprocess.CompletedProcess:
    path = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, "-m", "poolwise", *args], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": path}, **options,
    )  # fmt: skip


def fails(capsys, *args: object) -> tuple[int, str]:
    """Exit code and the one line on standard error."""
    code = main([str(arg) for arg in args])
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("poolwise: ") and err.count("\n") == 1 and "Traceback" not in err, err
    return code, err


# Arguments and the commands that print


def test_help_is_quick_and_imports_nothing_heavy():
    code = "import sys; from poolwise.cli import main; main(['--help']); print([m for m in sys.modules if m in HEAVY])"
    code = f"HEAVY = {{'torch', 'PIL', 'matplotlib', 'rich', 'jinja2', 'tifffile'}}\n{code}"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": SOURCE},
    )
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--help"], 0),
        (["--version"], 0),
        (["list"], 0),
        ([], 2),
        (["nonsense"], 2),
        (["explain", "max", "--shape", "8,8", "--window", "0"], 2),
        (["image", "missing.png", "--op", "max", "--window", "2", "-o", "out.png"], 1),
    ],
)
def test_exit_codes(args, code, tmp_path):
    done = run(*args, cwd=tmp_path)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == (code != 0)


def test_broken_pipe_is_quiet():
    read, write = os.pipe()
    os.close(read)
    path = {**os.environ, "PYTHONPATH": SOURCE}
    done = subprocess.run(
        [sys.executable, "-m", "poolwise", "list"], stdout=write, stderr=subprocess.PIPE, env=path, check=False
    )
    os.close(write)
    assert done.stderr == b"" and done.returncode == 1


def test_interrupt_exits_130_quietly(monkeypatch, capsys):
    from poolwise.cli import info

    def interrupted(value):
        raise KeyboardInterrupt

    monkeypatch.setattr(info, "print_json", interrupted)
    assert main(["list", "--json"]) == 130
    assert capsys.readouterr() == ("", "")


def test_list_and_config_as_json(capsys):
    assert main(["list", "--json"]) == 0
    assert [entry["name"] for entry in json.loads(capsys.readouterr().out)] == [op.name for op in pw.OPS]
    assert main(["config", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["versions"]["numpy"] == np.__version__


def test_config_as_text(capsys):
    assert main(["config"]) == 0
    assert "backends" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "output"),
    [
        (["--window", "3", "--stride", "2", "--padding", "1"], [1, 4, 8, 8]),
        (["--window", "2x3"], [1, 4, 8, 5]),
        (["--window", "2", "--axes", "3"], [1, 4, 16, 8]),
        (["--adaptive", "5"], [1, 4, 5, 5]),
        (["--global"], [1, 4, 1, 1]),
    ],
)
def test_explain(capsys, options, output):
    assert main(["explain", "max", "--shape", "1,4,16,16", *options, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["calls"][0]["output"] == output


def test_explain_as_text(capsys):
    assert main(["explain", "lp", "--shape", "64", "--window", "2", "--p", "inf", "--dtype", "float64"]) == 0
    assert "float64 (32,)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["max", "--shape", "8,8", "--window", "9"], "axes"),
        (["max", "--shape", "8,8", "--window", "9x9"], "does not fit"),
        (["max", "--shape", "8,x", "--window", "2"], "whole number"),
        (["max", "--shape", "8", "--window", "2", "--p", "3"], "--p belongs"),
        (["avg", "--shape", "8", "--window", "2", "--border", "zeros"], "--border belongs"),
        (["max", "--shape", "8", "--window", "2", "--dtype", "noise"], "noise"),
        (["max", "--shape", "8", "--adaptive", "2", "--stride", "2"], "--window only"),
        (["max", "--shape", "8", "--window", "2", "--adaptive", "2"], "not allowed"),
        (["max", "--shape", "8", "--window", "9" * 400], "whole number"),
        (["max", "--shape=-8", "--window", "2"], "-8"),
    ],
)
def test_explain_refuses(capsys, options, text):
    code, err = fails(capsys, "explain", *options)
    assert code == 2 and text in err


def test_texts_of_arguments():
    assert sizes("2") == 2 and sizes("2x3") == sizes("2,3") == (2, 3)
    assert paddings("0:1x2:3") == ((0, 1), (2, 3)) and paddings("same") == "same"


# Pictures

CHANNELS = {"grey": (), "grey+alpha": (2,), "RGB": (3,), "RGBA": (4,)}


@pytest.fixture(scope="module")
def codecs():
    return {name: pytest.importorskip(name) for name in ("PIL.Image", "tifffile", "imagecodecs", "simplejpeg")}


def picture(kind: str, dtype: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, np.iinfo(dtype).max + 1, (23, 31, *CHANNELS[kind]), dtype=dtype)


def save(codecs, path: Path, pixels: np.ndarray) -> Path:
    """Write with the outside library, not with the code under test."""
    if path.suffix == ".png":
        path.write_bytes(codecs["imagecodecs"].png_encode(pixels))
    elif path.suffix == ".tif":
        channels = pixels.shape[2] if pixels.ndim == 3 else 1
        codecs["tifffile"].imwrite(
            path, pixels, photometric="rgb" if channels > 2 else "minisblack", planarconfig="contig" if channels > 1 else None,
            extrasamples=["unassalpha"] if channels in (2, 4) else None,
        )  # fmt: skip
    else:
        sys.modules["PIL.Image"].fromarray(pixels).save(path, quality=95)
    return path


def load(codecs, path: Path) -> np.ndarray:
    data = path.read_bytes()
    return (
        codecs["tifffile"].imread(io.BytesIO(data)) if path.suffix == ".tif" else codecs["imagecodecs"].png_decode(data)
    )


@pytest.mark.parametrize("source", [".png", ".tif"])
@pytest.mark.parametrize("target", [".png", ".tif"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("kind", CHANNELS)
def test_image_is_exact(codecs, tmp_path, capsys, source, target, dtype, kind):
    pixels = picture(kind, dtype)
    photo, out = save(codecs, tmp_path / f"in{source}", pixels), tmp_path / f"out{target}"
    assert main(["image", str(photo), "--op", "max", "--window", "3x2", "--stride", "2", "-o", str(out), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    pooled = load(codecs, out)
    expected = pw.max_pool(pixels, (3, 2), stride=2, axes=(0, 1))
    assert pooled.dtype == pixels.dtype and np.array_equal(pooled, expected)
    assert facts["output"] == list(expected.shape) and facts["dtype"] == dtype
    assert sorted(tmp_path.iterdir()) == sorted([photo, out])


@pytest.mark.parametrize("op", ["blur", "lp", "sum"])
def test_operators_that_leave_the_range_round_and_clip(codecs, tmp_path, op):
    pixels = picture("RGB", "uint16")
    photo, out = save(codecs, tmp_path / "in.png", pixels), tmp_path / "out.png"
    assert main(["image", str(photo), "--op", op, "--window", "2", "-o", str(out)]) == 0
    exact = pw.pool(pixels.astype(np.float64), op, 2, axes=(0, 1))
    assert np.array_equal(load(codecs, out), np.clip(np.rint(exact), 0, 65535).astype(np.uint16))


def test_jpeg_both_ways(codecs, tmp_path):
    flat = np.full((32, 32, 3), 90, np.uint8)
    photo, out = save(codecs, tmp_path / "in.jpg", flat), tmp_path / "out.jpeg"
    assert main(["image", str(photo), "--op", "avg", "--window", "2", "-o", str(out)]) == 0
    pooled = codecs["simplejpeg"].decode_jpeg(out.read_bytes(), strict=True)
    assert pooled.shape == (16, 16, 3) and np.abs(pooled.astype(int) - 90).max() <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_orientation_is_applied(codecs, tmp_path, orientation, suffix):
    from PIL import Image

    coarse = np.random.default_rng(1).integers(0, 256, (2, 3), dtype=np.uint8)
    pixels = np.kron(coarse, np.ones((8, 8), np.uint8))  # whole JPEG blocks: next to no loss
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[274] = orientation
    photo, out = tmp_path / f"in.{suffix}", tmp_path / "out.png"
    image.save(photo, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    assert main(["image", str(photo), "--op", "max", "--window", "1", "-o", str(out)]) == 0
    half = np.rot90(pixels, 2)
    upright = (pixels, pixels[:, ::-1], half, pixels[::-1], pixels.T, np.rot90(pixels, -1), half.T, np.rot90(pixels))
    assert np.abs(load(codecs, out).astype(int) - upright[orientation - 1]).max() <= (2 if suffix == "jpg" else 0)


@pytest.mark.parametrize("mode", ["P", "1"])
def test_palette_and_one_bit(codecs, tmp_path, mode):
    from PIL import Image

    image = Image.fromarray(picture("RGB", "uint8")).convert(mode)
    for suffix in ("png", "tif"):
        photo, out = tmp_path / f"in.{suffix}", tmp_path / f"out-{suffix}.png"
        image.save(photo)
        assert main(["image", str(photo), "--op", "max", "--window", "1", "-o", str(out)]) == 0
        assert np.array_equal(load(codecs, out), np.asarray(image.convert("RGB" if mode == "P" else "L")))


def huge_png() -> bytes:
    """A valid header that claims 100,000 x 100,000 pixels, and next to no data."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.95])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_cut_files_are_errors(codecs, tmp_path, capsys, suffix, share, dtype):
    if suffix == ".jpg" and dtype == "uint16":
        pytest.skip("JPEG holds 8 bits")
    photo = save(codecs, tmp_path / f"in{suffix}", picture("RGB", dtype))
    data = photo.read_bytes()
    photo.write_bytes(data[: int(len(data) * share)])
    code, err = fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / "out.png")
    assert code == 1 and str(photo) in err
    assert list(tmp_path.iterdir()) == [photo]


def test_a_png_with_a_wrong_byte_is_an_error(codecs, tmp_path, capsys):
    photo = save(codecs, tmp_path / "in.png", picture("RGB", "uint16"))
    data = bytearray(photo.read_bytes())
    data[len(data) // 2] ^= 0x55
    photo.write_bytes(data)
    assert fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / "out.png")[0] == 1


def test_a_jpeg_that_ends_early_inside_is_an_error(codecs, tmp_path, capsys):
    photo = save(codecs, tmp_path / "in.jpg", picture("RGB", "uint8"))
    data = photo.read_bytes()
    photo.write_bytes(data[: len(data) // 2] + b"\xff\xd9")  # Pillow alone shows the rest in grey
    assert fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / "out.png")[0] == 1


@pytest.mark.parametrize("data", [b"just text\n", b"", b"GIF89a", huge_png()], ids=["text", "empty", "gif", "huge"])
def test_what_is_no_picture(codecs, tmp_path, capsys, data):
    photo = tmp_path / "in.png"
    photo.write_bytes(data)
    assert fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / "out.png")[0] == 1
    assert list(tmp_path.iterdir()) == [photo]


def test_unserved_tiffs(codecs, tmp_path, capsys):
    several, floats = tmp_path / "pages.tif", tmp_path / "floats.tif"
    codecs["tifffile"].imwrite(several, np.zeros((2, 8, 8), np.uint8), photometric="minisblack")
    codecs["tifffile"].imwrite(floats, np.zeros((8, 8), np.float32))
    for photo, text in ((several, "2 pages"), (floats, "float32")):
        code, err = fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / "out.png")
        assert code == 1 and text in err


@pytest.mark.parametrize(
    ("kind", "dtype", "options", "out", "code", "text"),
    [
        ("RGB", "uint16", [], "out.jpg", 2, "PNG and TIFF"),
        ("RGBA", "uint8", [], "out.jpg", 2, "alpha"),
        ("RGB", "uint8", [], "out.gif", 2, "extension"),
        ("RGB", "uint8", [], ".", 1, "folder"),
        ("RGB", "uint8", [], "nowhere/out.png", 1, "cannot write"),
        ("RGB", "uint8", [], "in.png", 1, "--force"),
        ("RGB", "uint8", ["--max-pixels", "100"], "out.png", 1, "pixels"),
        ("RGB", "uint8", ["--window", "2x2x2"], "out.png", 2, "window"),
        ("RGB", "uint8", ["--window", "99"], "out.png", 2, "does not fit"),
        ("RGB", "uint8", ["--window", "1.5"], "out.png", 2, "whole number"),
        ("RGB", "uint8", ["--padding", "most"], "out.png", 2, "whole number"),
        ("RGB", "uint8", ["--op", "mode"], "out.png", 2, "invalid choice"),
        ("RGB", "uint8", ["--op", "lp", "--p", "0"], "out.png", 2, "out of range"),
    ],
)
def test_refusals_leave_nothing(codecs, tmp_path, capsys, kind, dtype, options, out, code, text):
    photo = save(codecs, tmp_path / "in.png", picture(kind, dtype))
    (tmp_path / "old.png").write_bytes(b"old")
    done, err = fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / out, *options)
    assert done == code and text in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "old.png"]
    assert (tmp_path / "old.png").read_bytes() == b"old"


def test_an_older_result_is_replaced(codecs, tmp_path):
    photo, old = save(codecs, tmp_path / "in.png", picture("RGB", "uint8")), tmp_path / "old.png"
    old.write_bytes(b"old")
    assert main(["image", str(photo), "--op", "min", "--window", "2", "-o", str(old)]) == 0
    assert load(codecs, old).shape == (11, 15, 3)


def test_force_writes_over_the_photo(codecs, tmp_path):
    photo = save(codecs, tmp_path / "in.png", picture("RGB", "uint8"))
    assert main(["image", str(photo), "--op", "min", "--window", "2", "-o", str(photo), "--force"]) == 0
    assert load(codecs, photo).shape == (11, 15, 3)


def test_a_device_is_never_replaced(codecs, tmp_path, capsys):
    photo, link = save(codecs, tmp_path / "in.png", picture("RGB", "uint8")), tmp_path / "out.png"
    link.symlink_to("/dev/null")
    code, err = fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", link)
    assert code == 1 and "not an ordinary file" in err and not Path("/dev/null").is_file()


def test_a_missing_library_is_one_line(codecs, tmp_path, capsys, monkeypatch):
    photo = save(codecs, tmp_path / "in.png", picture("RGB", "uint8"))
    monkeypatch.setitem(sys.modules, "tifffile", None)
    code, err = fails(capsys, "image", photo, "--op", "max", "--window", 2, "-o", tmp_path / "out.png")
    assert code == 1 and "poolwise[image]" in err
