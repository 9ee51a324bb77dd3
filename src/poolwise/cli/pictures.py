"""Picture files as arrays: whole and exact, or an error.

Who reads what was decided by trying (July 2026's releases): Pillow cuts 16-bit colour to 8 bits, so imagecodecs decodes
16-bit PNG and tifffile TIFF; Pillow and libjpeg's default also return damaged JPEGs half grey without a word, so
simplejpeg decodes those, in its strict mode.
"""

from __future__ import annotations

import io
import logging
from pathlib import Path
from typing import Any

import numpy as np

from .output import CommandError, needs

__all__ = ["check_fits", "check_output", "encode", "read"]

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
ORIENTATION = 274
JPEG_SIDE = 65_535


def check_output(path: Path) -> str:
    """The format that a file name asks for."""
    if path.is_dir():
        raise CommandError(f"{path} is a folder; -o needs a file name such as {path / 'pooled.png'}")
    try:
        return FORMATS[path.suffix.lower()]
    except KeyError:
        raise ValueError(f"{path.name} has no known extension; expected one of {', '.join(FORMATS)}") from None


def check_fits(path: Path, pixels: np.ndarray) -> None:
    """Refuse a format that would lose what the picture holds, before anything is computed."""
    if check_output(path) != "JPEG":
        return
    if pixels.dtype != np.uint8:
        raise ValueError("JPEG holds 8 bits, the picture has 16; PNG and TIFF hold 16 (.png, .tif)")
    if pixels.ndim == 3 and pixels.shape[2] in (2, 4):
        raise ValueError("JPEG has no alpha channel, the picture has one; PNG and TIFF do (.png, .tif)")


def read(path: Path, max_pixels: int) -> np.ndarray:
    """The upright picture as ``(height, width)`` or ``(height, width, channels)``, uint8 or uint16."""
    needs("image", "PIL.Image", "tifffile", "imagecodecs", "simplejpeg")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from None
    try:
        if data[:4] in TIFF_MAGIC:
            pixels, orientation = _read_tiff(data, max_pixels)
        elif data[:8] == PNG_MAGIC or data[:3] == b"\xff\xd8\xff":
            pixels, orientation = _read_png_or_jpeg(data, max_pixels)
        else:
            raise CommandError("it is not a PNG, JPEG or TIFF file")
    except CommandError as failure:
        raise CommandError(f"cannot read {path}: {failure}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise whatever they like on damaged files; none of it is our caller's
        raise CommandError(
            f"cannot read {path}: damaged or incomplete picture ({type(error).__name__}: {error})"
        ) from None
    return np.ascontiguousarray(_upright(pixels, orientation))


def encode(path: Path, pixels: np.ndarray) -> bytes:
    """The picture as the bytes of a file in the format that its name asks for; PNG and TIFF are lossless."""
    kind = check_output(path)
    check_fits(path, pixels)
    pixels = np.ascontiguousarray(pixels)
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    stream = io.BytesIO()
    if kind == "PNG":
        (imagecodecs,) = needs("image", "imagecodecs")
        return bytes(imagecodecs.png_encode(pixels))
    if kind == "JPEG":
        if max(pixels.shape[:2]) > JPEG_SIDE:
            raise ValueError(f"JPEG ends at {JPEG_SIDE} pixels a side, the result is larger; PNG and TIFF hold it")
        (image,) = needs("image", "PIL.Image")
        image.fromarray(pixels).save(stream, "JPEG", quality=95, subsampling=0)
        return stream.getvalue()
    (tifffile,) = needs("image", "tifffile")
    tifffile.imwrite(
        stream, pixels, photometric="minisblack" if channels < 3 else "rgb", planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None, compression="zlib", metadata=None,
    )  # fmt: skip
    return stream.getvalue()


def _check_size(height: int, width: int, max_pixels: int) -> None:
    # Before decoding: a file of a few bytes can claim a picture of many gigabytes.
    if height < 1 or width < 1:
        raise CommandError(f"the picture is empty ({width} x {height})")
    if height * width > max_pixels:
        raise CommandError(f"{width} x {height} is more than {max_pixels:,} pixels; try --max-pixels {height * width}")


def _read_png_or_jpeg(data: bytes, max_pixels: int) -> tuple[np.ndarray, int]:
    import warnings

    image, imagecodecs, simplejpeg = needs("image", "PIL.Image", "imagecodecs", "simplejpeg")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's limit is not ours, and is checked below
        picture = image.open(io.BytesIO(data), formats=("PNG", "JPEG"))
    with picture:
        _check_size(picture.height, picture.width, max_pixels)
        orientation = picture.getexif().get(ORIENTATION, 1)
        if picture.format == "JPEG":
            if picture.mode not in ("L", "RGB"):
                raise CommandError(f"JPEG in {picture.mode} is not served; convert it to RGB first")
            pixels = simplejpeg.decode_jpeg(data, "GRAY" if picture.mode == "L" else "RGB", strict=True)
            return (pixels[..., 0] if picture.mode == "L" else pixels), orientation
        if data[24] == 16:  # bit depth, in the header chunk
            return imagecodecs.png_decode(data), orientation
        transparent = "transparency" in picture.info
        if picture.mode == "P":
            picture = picture.convert("RGBA" if transparent else "RGB")
        elif picture.mode == "1":
            picture = picture.convert("L")
        elif transparent:
            picture = picture.convert("LA" if picture.mode == "L" else "RGBA")
        return np.asarray(picture), orientation


def _read_tiff(data: bytes, max_pixels: int) -> tuple[np.ndarray, int]:
    (tifffile,) = needs("image", "tifffile")
    logger = logging.getLogger("tifffile")
    before, logger.disabled = logger.disabled, True  # what it logs is raised, or refused below
    try:
        with tifffile.TiffFile(io.BytesIO(data)) as file:
            if len(file.pages) != 1:
                raise CommandError(f"the TIFF has {len(file.pages)} pages; only one is served")
            page = file.pages[0]
            _check_size(page.imagelength, page.imagewidth, max_pixels)
            if page.dtype is None or page.dtype.name not in ("bool", "uint8", "uint16") or page.imagedepth != 1:
                raise CommandError(
                    f"TIFF of {page.dtype} is not served; expected 1, 8 or 16 bits of whole numbers per channel"
                )
            if page.samplesperpixel > 4:
                raise CommandError(f"TIFF of {page.samplesperpixel} channels is not served; expected 1 to 4")
            tag = page.tags.get(ORIENTATION)
            return _tiff_colours(page, page.asarray()), tag.value if tag else 1
    finally:
        logger.disabled = before


def _tiff_colours(page: Any, pixels: np.ndarray) -> np.ndarray:
    """Grey, grey+alpha, RGB or RGBA from what a TIFF page stores."""
    kind = getattr(page.photometric, "name", str(page.photometric))
    if page.samplesperpixel > 1 and page.planarconfig == 2:
        pixels = np.moveaxis(pixels, 0, -1)
    if kind == "PALETTE":
        # Colour maps hold 16 bits by definition; those of 8-bit pictures mean their upper half.
        return np.moveaxis((page.colormap >> 8).astype(np.uint8)[:, pixels], 0, -1)
    if kind not in ("MINISBLACK", "MINISWHITE", "RGB", "YCBCR"):
        raise CommandError(f"TIFF in {kind} is not served; convert it to RGB first")
    if pixels.dtype == bool:
        pixels = pixels.astype(np.uint8) * np.uint8(255)
    elif page.bitspersample not in (8, 16):
        raise CommandError(f"TIFF of {page.bitspersample} bits is not served; expected 1, 8 or 16")
    return np.iinfo(pixels.dtype).max - pixels if kind == "MINISWHITE" else pixels


def _upright(pixels: np.ndarray, orientation: Any) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8); anything else is taken as upright, as viewers do."""
    if orientation not in range(2, 9):
        return pixels
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    flip_rows = orientation in (3, 4, 7, 8)
    flip_columns = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
