"""Small image files of every kind and the pixels Pillow makes of them: tests/oracle/images/*.{png,jpg} and expected.json.

`cargo test` compares crates/data/src/decode.rs with these. Run: python tests/oracle/images.py
"""

import json
import pathlib

import numpy as np
from PIL import Image, ImageOps

OUT = pathlib.Path(__file__).parent / "images"
RNG = np.random.default_rng(0)


def picture(height, width, channels):
    """Smooth waves with a little noise: resizing errors show, JPEG stays close."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [127 + 90 * np.sin(x / (3 + c) + c) * np.cos(y / (4 + c)) for c in range(channels)]
    return np.clip(np.stack(planes, -1) + RNG.normal(0, 6, (height, width, channels)), 0, 255).astype(np.uint8)


def sources():
    rgb = picture(31, 53, 3)
    yield "rgb.png", Image.fromarray(rgb), rgb
    grey = picture(60, 40, 1)[..., 0]
    yield "grey.png", Image.fromarray(grey), grey
    small = picture(5, 7, 3)
    yield "small.png", Image.fromarray(small), small
    rgba = picture(40, 33, 4)
    yield "rgba.png", Image.fromarray(rgba), np.rint(rgba[..., :3] * (rgba[..., 3:] / 255.0)).astype(np.uint8)
    la = picture(29, 41, 2)
    yield "grey-alpha.png", Image.fromarray(la, "LA"), np.rint(la[..., 0] * (la[..., 1] / 255.0)).astype(np.uint8)
    deep = picture(44, 50, 1)[..., 0].astype(np.uint16) * 257 - 100 * (RNG.random((44, 50)) < 0.5).astype(np.uint16)
    yield "grey16.png", Image.fromarray(deep), ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    palette = Image.fromarray(picture(30, 30, 3)).quantize(16)
    yield "palette.png", palette, np.asarray(palette.convert("RGB"))
    bits = Image.fromarray(picture(33, 47, 1)[..., 0] > 127)
    yield "bits.png", bits, np.asarray(bits.convert("L"))


def expected(pixels, size, channels, crop):
    image = Image.fromarray(pixels)
    image = image.convert("L" if channels == 1 else "RGB")
    if crop:  # torchvision: Resize(size), CenterCrop(size)
        short = min(image.size)
        image = image.resize([max(size, int(size * side / short)) for side in image.size], Image.Resampling.BILINEAR)
        left, top = (int(round((side - size) / 2.0)) for side in image.size)
        image = image.crop((left, top, left + size, top + size))
    else:
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image).reshape(size, size, channels)
    return array.transpose(2, 0, 1).ravel().tolist()


def main():
    OUT.mkdir(exist_ok=True)
    cases = []

    def add(name, pixels, tolerance):
        for size, channels, crop in [(16, 3, False), (16, 1, False), (12, 1, True)]:
            values = expected(pixels, size, channels, crop)
            cases.append({"file": name, "size": size, "channels": channels, "crop": crop, "tolerance": tolerance, "pixels": values})

    for name, image, pixels in sources():
        image.save(OUT / name)
        add(name, pixels, 1)
    for name, mode, options in [
        ("rgb.jpg", 3, {"subsampling": 0}),
        ("rgb-420.jpg", 3, {"subsampling": 2}),
        ("grey.jpg", 1, {}),
        ("progressive.jpg", 3, {"progressive": True}),
    ]:
        pixels = picture(48, 64, mode)
        Image.fromarray(pixels if mode == 3 else pixels[..., 0]).save(OUT / name, quality=92, **options)
        add(name, np.asarray(Image.open(OUT / name)), 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture(24, 48, 3)).save(OUT / "turned.jpg", quality=92, subsampling=0, exif=exif)
    add("turned.jpg", np.asarray(ImageOps.exif_transpose(Image.open(OUT / "turned.jpg"))), 3)
    (OUT / "expected.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
