"""From encoded images to pixels: decoding to RGB, the random crop of training and the images of evaluation.

A file shows what Pillow's `Image.open(...).convert("RGB")` shows: the first picture of several, no rotation by EXIF, no
alpha, grey as three equal channels. Only grey of 16 bits is scaled to 8, where Pillow would cut values off, and grey of
32 bits, whose range nobody knows, is refused.

Nearly all files are JPEGs of one or three components. OpenCV reads those, faster, only down to the last row of the crop
and, where the crop allows it, directly at a half, a quarter or an eighth of the size. Pillow reads all others, and
decides what counts as damaged.

Results depend on the arguments only, never on the thread or the process.
"""

import io
import math

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from datasets import pictures
from datasets.feeds.jpeg import Header, cut_below, read_header

# The feed decodes many images side by side, in threads or processes; OpenCV's own threads would compete with them. This
# stands here and not in the feed, so that it holds in every process that decodes.
cv2.setNumThreads(0)

RATIOS = 3 / 4, 4 / 3
TRIES = 10
_TOO_LARGE = f"more than {pictures.MAX_PIXELS:,} pixels"
_FINER = 4  # how many times finer than the result a JPEG stays that is stretched
TENSORFLOW_RATIOS = 0.75, 1.33
TENSORFLOW_TRIES = 100

# IMREAD_COLOR_RGB asks for colour; OpenCV refuses it together with the bit that IMREAD_REDUCED_COLOR_* add to these.
_REDUCED = {
    1: 0,
    2: cv2.IMREAD_REDUCED_GRAYSCALE_2,
    4: cv2.IMREAD_REDUCED_GRAYSCALE_4,
    8: cv2.IMREAD_REDUCED_GRAYSCALE_8,
}


class DamagedImage(ValueError):
    """Bytes that are not a whole image; the message says in a few words why."""


def decode(data: bytes, least: int | None = None) -> np.ndarray:
    """Decodes an image.

    Args:
        data: a file's content, in any format that Pillow reads, whatever the file's name says.
        least: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter side keeps this many pixels.

    Returns:
        uint8 RGB [height, width, 3].

    Raises:
        DamagedImage: not an image, or not all of one; or one of 32 bits, or of more than `pictures.MAX_PIXELS`.
    """
    header = _read_jpeg_header(data)
    if header is None:
        return _decode_with_pillow(data)
    return _decode_with_opencv(data, _choose_reduction(min(header.height, header.width), least) if least else 1)


def crop_for_training(
    data: bytes, size: int, least_area: float, rng: np.random.Generator, like_tensorflow: bool = False
) -> np.ndarray:
    """Cuts out a random part of an image and stretches it to a square (Szegedy et al. 2015, "Inception crop").

    Its area is uniform in [`least_area`, 1] of the image and its ratio of width to height log-uniform in [3/4, 4/3].
    The first of ten draws that fits into the image is taken; if none fits, the largest central part within the ratios.

    Args:
        data: the encoded image.
        size: side of the result in pixels.
        least_area: smallest share of the image's area, in (0, 1].
        rng: gives the same number of draws for every image.
        like_tensorflow: chooses the part as TensorFlow does, and resizes it as `tf.image.resize` does where nothing
            else is asked for: bilinearly and without antialiasing, values rounded down.

    Returns:
        uint8 RGB [size, size, 3].

    Raises:
        DamagedImage: as `decode`.
    """
    draws = rng.random((TENSORFLOW_TRIES if like_tensorflow else TRIES, 4))
    header = _read_jpeg_header(data)
    if header is None:
        image, reduction = _decode_with_pillow(data), 1
        top, left, height, width = draw_window(image.shape[0], image.shape[1], least_area, draws, like_tensorflow)
    else:
        top, left, height, width = draw_window(header.height, header.width, least_area, draws, like_tensorflow)
        reduction = 1 if like_tensorflow else _choose_reduction(min(height, width), size)
        image = _decode_with_opencv(data, reduction, cut_below(data, header, top + height))
    # Pixel i of the reduced image covers i·r to (i + 1)·r of the full one: edges move by half a pixel at most.
    rows = slice(round(top / reduction), round((top + height) / reduction))
    columns = slice(round(left / reduction), round((left + width) / reduction))
    part = image[rows, columns]
    if like_tensorflow:
        return cv2.resize(part.astype(np.float32), (size, size), interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    return _resize(part, size, size)


def draw_window(
    height: int, width: int, least_area: float, draws: np.ndarray, like_tensorflow: bool = False
) -> tuple[int, int, int, int]:
    """Chooses the part that `crop_for_training` cuts out of an image.

    Args:
        height: of the image, in pixels.
        width: of the image.
        least_area: smallest share of the image's area.
        draws: [tries, 4] uniform in [0, 1): two for the size of each try, one for its vertical and one for its
            horizontal place.
        like_tensorflow: chooses as TensorFlow's `sample_distorted_bounding_box` does for an image without boxes. A part
            that is smaller than the image then never reaches its last row or column, and if no try fits, it is the
            whole image.

    Returns:
        top, left, height and width in pixels.
    """
    draw_size, last = (_draw_size_like_tensorflow, 0) if like_tensorflow else (_draw_size, 1)
    for first, second, down, right in draws.tolist():
        rows, columns = draw_size(height, width, least_area, first, second)
        if 0 < rows <= height and 0 < columns <= width:
            return int(down * (height - rows + last)), int(right * (width - columns + last)), rows, columns
    if like_tensorflow:
        return 0, 0, height, width
    lowest, highest = RATIOS
    rows, columns = min(height, round(width / lowest)), min(width, round(height * highest))
    return (height - rows) // 2, (width - columns) // 2, rows, columns


def _draw_size(height: int, width: int, least_area: float, area: float, ratio: float) -> tuple[int, int]:
    """Height and width of a part, which may not fit into the image; the area is uniform, the ratio log-uniform."""
    lowest, highest = RATIOS
    pixels = height * width * (least_area + (1 - least_area) * area)
    proportion = lowest * (highest / lowest) ** ratio
    return round(math.sqrt(pixels / proportion)), round(math.sqrt(pixels * proportion))


def _draw_size_like_tensorflow(
    height: int, width: int, least_area: float, ratio: float, tall: float
) -> tuple[int, int]:
    """Height and width of a part, which may not fit into the image; no pixels if it has less than the least area.

    The ratio of width to height is uniform in [0.75, 1.33], and then the height is uniform over all whole numbers for
    which the part fits into the image and has the least area. So large parts are likelier than with a uniform area.
    """
    lowest, highest = TENSORFLOW_RATIOS
    least = least_area * height * width
    proportion = lowest + (highest - lowest) * ratio
    shortest = round(math.sqrt(least / proportion))
    tallest = min(height, round(math.sqrt(height * width / proportion)), int((width + 0.5) / proportion))
    rows = tallest if shortest >= tallest else shortest + int(tall * (tallest - shortest + 1))
    rows += rows * round(rows * proportion) < least  # whole pixels may fall a little short of the least area
    columns = round(rows * proportion)
    return (rows, columns) if rows * columns >= least else (0, 0)


def crop_for_evaluation(data: bytes, resize: int, size: int) -> np.ndarray:
    """Resizes an image by its shorter side and cuts out the central square.

    Args:
        data: the encoded image.
        resize: pixels; length of the shorter side. The longer one keeps the proportions, rounded down.
        size: pixels; side of the square, at most `resize`.

    Returns:
        uint8 RGB [size, size, 3].

    Raises:
        DamagedImage: as `decode`.
    """
    header = _read_jpeg_header(data)
    if header is None:
        image = _decode_with_pillow(data)
        height, width = image.shape[:2]
    else:
        height, width = header.height, header.width
        image = _decode_with_opencv(data, _choose_reduction(min(height, width), resize))
    height, width = height * resize // min(height, width), width * resize // min(height, width)
    top, left = (height - size) // 2, (width - size) // 2
    return _resize(image, height, width)[top : top + size, left : left + size]


def stretch_for_evaluation(data: bytes, image_shape: tuple[int, ...]) -> np.ndarray:
    """What a set in memory, of images of one shape, would hold of an image: all of it, stretched to that shape.

    A JPEG of eight times the shape or more is decoded at a fraction of its size, which saves most of the time and
    changes pixels by about one grey level.

    Args:
        data: the encoded image.
        image_shape: height, width and channels; with one channel, colours become the grey of ITU-R 601.

    Returns:
        uint8 [height, width, channels].

    Raises:
        DamagedImage: as `decode`.
    """
    height, width, channels = image_shape
    image = decode(data, least=_FINER * max(height, width))
    if channels == 1:
        image = np.asarray(Image.fromarray(image).convert("L"))[..., None]
    return stretch(image, height, width)


def stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes an image [H, W, C]: sides that shrink by areas, sides that grow bilinearly; its own size leaves it."""
    resized = image
    for method, side in ((cv2.INTER_AREA, min), (cv2.INTER_LINEAR, max)):
        rows, columns = side(resized.shape[0], height), side(resized.shape[1], width)
        if resized.shape[:2] != (rows, columns):
            resized = cv2.resize(resized, (columns, rows), interpolation=method)
    return resized.reshape(height, width, image.shape[-1])


def _choose_reduction(side: int, least: int) -> int:
    """The largest of 8, 4, 2 and 1 that leaves at least `least` of `side` pixels."""
    return next(reduction for reduction in (8, 4, 2, 1) if side >= reduction * least or reduction == 1)


def _resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes to height x width, close to bilinear interpolation with antialiasing in a fraction of its time.

    When an image shrinks by a factor s, antialiasing stretches the triangle of bilinear interpolation by s, and its
    variance from 1/6 to s²/6. Here the taps [k, 1 - 2k, k] with k = (s² - 1)/12 add the variance that plain
    interpolation lacks. From s = 2 on, each new pixel is the mean over its area; a JPEG that was read at a fraction of
    its size never shrinks that much.
    """
    factors = image.shape[1] / width, image.shape[0] / height
    if min(factors) >= 2:
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    if max(factors) > 1:
        shares = (min(max(factor**2 - 1, 0) / 12, 1 / 3) for factor in factors)
        across, down = (np.array([share, 1 - 2 * share, share], np.float32) for share in shares)
        image = cv2.sepFilter2D(image, -1, across, down, borderType=cv2.BORDER_REPLICATE)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


def _decode_with_opencv(data: bytes, reduction: int, part: bytes | bytearray | None = None) -> np.ndarray:
    """A JPEG, or only `part` of it, at 1/`reduction` of its size; sides are rounded up."""
    flags = _REDUCED[reduction] | cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(np.frombuffer(data if part is None else part, np.uint8), flags)
    except cv2.error:  # more pixels than OpenCV allows
        image = None
    return _decode_with_pillow(data, reduction) if image is None else image


def _read_jpeg_header(data: bytes) -> Header | None:
    """As `read_header`; refuses what is too large."""
    header = read_header(data)
    if header is not None:
        _check_size(header.width, header.height)
    return header


def _check_size(width: int, height: int) -> None:
    if width * height > pictures.MAX_PIXELS:
        raise DamagedImage(_TOO_LARGE)


def _decode_with_pillow(data: bytes, reduction: int = 1) -> np.ndarray:
    if not data:
        raise DamagedImage("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=pictures.formats()) as image:
            _check_size(*image.size)
            image.load()
            image.info.pop("transparency", None)  # alpha is dropped, which Pillow would warn of
            return np.asarray(_scale_to_8_bits(image).convert("RGB").reduce(reduction))
    except DamagedImage:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DamagedImage(_TOO_LARGE) from error
    except UnidentifiedImageError as error:
        raise DamagedImage("not an image of a format that is read") from error
    except Exception as error:  # the readers of the formats raise a dozen types
        raise DamagedImage(str(error)) from error


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits with the range 0 to 65,535 as 0 to 255; all others of up to 8 bits are returned as they are."""
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):  # Pillow scales PPM to 16 bits
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise DamagedImage("grey of 32 bits, whose range is not known; it must be saved with 8 or 16 bits")
    return image
