"""Small image files of every kind and the pixels Pillow makes of them: tests/oracle/images/* and expected.json.

`cargo test` compares crates/data/src/decode.rs with these. Run: python tests/oracle/images.py
"""

import json
import pathlib
import struct
import zlib

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
    yield "rgba.png", Image.fromarray(rgba), rgba[..., :3]
    la = picture(29, 41, 2)
    yield "grey-alpha.png", Image.fromarray(la), la[..., 0]
    deep = picture(44, 50, 1)[..., 0].astype(np.uint16) * 257 - 100 * (RNG.random((44, 50)) < 0.5).astype(np.uint16)
    yield "grey16.png", Image.fromarray(deep), ((deep.astype(np.uint32) + 128) // 257).astype(np.uint8)
    palette = Image.fromarray(picture(30, 30, 3)).quantize(16)
    yield "palette.png", palette, np.asarray(palette.convert("RGB"))
    bits = Image.fromarray(picture(33, 47, 1)[..., 0] > 127)
    yield "bits.png", bits, np.asarray(bits.convert("L"))


def over(ground, pixels, alpha):
    """Laid over a ground of one grey."""
    alpha = alpha.reshape(*alpha.shape, *[1] * (pixels.ndim - alpha.ndim)) / 255.0
    return np.rint(pixels * alpha + ground * (1 - alpha)).astype(np.uint8)


def png16(path, values):
    """A PNG of 16 bits with any number of channels, which Pillow does not write."""
    height, width, channels = values.shape
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunk = lambda name, data: struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def to_eight(values, white=65535):
    return ((values.astype(np.uint64) * 255 + white // 2) // white).astype(np.uint8)


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

    def add(name, pixels, tolerance, transparency="drop", white=65535):
        for size, channels, crop in [(16, 3, False), (16, 1, False), (12, 1, True)]:
            values = expected(pixels, size, channels, crop)
            how = {"size": size, "channels": channels, "crop": crop, "transparency": transparency, "white": white}
            cases.append({"file": name, **how, "tolerance": tolerance, "pixels": values})

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
    for name, alpha in [("rgba.png", 3), ("grey-alpha.png", 1)]:
        values = np.asarray(Image.open(OUT / name))
        for ground, grey in [("black", 0), ("white", 255)]:
            add(name, over(grey, values[..., :alpha].squeeze(), values[..., alpha]), 1, ground)

    # Transparency as PNG's tRNS chunk has it: of palette colours, of one colour, of one grey.
    colours = Image.fromarray(picture(24, 30, 3)).quantize(8)
    colours.save(OUT / "palette-alpha.png", transparency=bytes([0, 40, 200, 255, 255, 0]))
    rgb = picture(24, 30, 3)
    rgb[:12] = (255, 250, 3)
    Image.fromarray(rgb).save(OUT / "rgb-trns.png", transparency=(255, 250, 3))
    rgb[:12, :, 1:] = 255
    Image.fromarray(rgb[..., 0]).save(OUT / "grey-trns.png", transparency=255)
    for name in ["palette-alpha.png", "rgb-trns.png", "grey-trns.png"]:
        image = Image.open(OUT / name)
        add(name, np.asarray(image.convert("L" if image.mode == "L" else "RGB")), 1)
        rgba = np.asarray(image.convert("RGBA"))
        add(name, over(255, rgba[..., :3], rgba[..., 3]), 1, "white")

    # 16 bits: the whole range, and a scanner's 12 bits.
    for channels, name in [(2, "grey-alpha16.png"), (3, "rgb16.png"), (4, "rgba16.png")]:
        values = picture(24, 30, channels).astype(np.uint16) * 256 + RNG.integers(0, 256, (24, 30, channels)).astype(np.uint16)
        png16(OUT / name, values)
        pixels = to_eight(values)[..., : channels - 1 if channels != 3 else 3].squeeze()
        add(name, pixels, 1)
        if channels != 3:
            add(name, over(0, pixels, to_eight(values[..., -1])), 1, "black")
    scan = (picture(30, 22, 1).astype(np.uint16) * 16 + RNG.integers(0, 16, (30, 22, 1)).astype(np.uint16)).clip(0, 4095)
    png16(OUT / "scan12.png", scan)
    add("scan12.png", to_eight(scan)[..., 0], 1)
    add("scan12.png", to_eight(scan, 4095)[..., 0], 1, white=4095)

    # Other formats, with the first of several pictures.
    rgb, rgba, grey = picture(21, 34, 3), picture(21, 34, 4), picture(21, 34, 1)[..., 0]
    others = [Image.fromarray(255 - rgb)]
    frames = {"save_all": True, "append_images": others}
    deep = Image.fromarray(grey.astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    for name, image, options, tolerance in [
        ("lossy.webp", Image.fromarray(rgb), {"quality": 90}, 3),
        ("lossy-alpha.webp", Image.fromarray(rgba), {"quality": 90, "exact": True}, 3),
        ("lossless.webp", Image.fromarray(rgba), {"lossless": True, "exact": True}, 1),
        ("frames.webp", Image.fromarray(rgb), {"lossless": True, **frames}, 1),
        ("turned.webp", Image.fromarray(rgb), {"lossless": True, "exif": turned}, 1),
        ("palette.gif", Image.fromarray(rgb).quantize(32), {}, 1),
        ("transparent.gif", Image.fromarray(rgb).quantize(8), {"transparency": 2}, 1),
        ("frames.gif", Image.fromarray(rgb).quantize(32), {"save_all": True, "append_images": [others[0].quantize(32)]}, 1),
        ("grey.gif", Image.fromarray(grey), {"interlace": 1}, 1),
        ("rgb.bmp", Image.fromarray(rgb), {}, 1),
        ("rgba.bmp", Image.fromarray(rgba), {}, 1),
        ("palette.bmp", Image.fromarray(rgb).quantize(16), {}, 1),
        ("bits.bmp", Image.fromarray(grey > 127), {}, 1),
        ("grey.bmp", Image.fromarray(grey), {}, 1),
        ("rgb.tiff", Image.fromarray(rgb), {}, 1),
        ("rgba.tiff", Image.fromarray(rgba), {"compression": "tiff_adobe_deflate"}, 1),
        ("lzw.tiff", Image.fromarray(rgb), {"compression": "tiff_lzw"}, 1),
        ("packbits.tiff", Image.fromarray(grey), {"compression": "packbits"}, 1),
        ("jpeg.tiff", Image.fromarray(rgb), {"compression": "jpeg", "quality": 92}, 3),
        ("cmyk.tiff", Image.fromarray(rgb).convert("CMYK"), {}, 1),
        ("bits.tiff", Image.fromarray(grey > 127), {"compression": "group4"}, 1),
        ("grey16.tiff", deep, {}, 1),
        ("pages.tiff", Image.fromarray(rgb), frames, 1),
        ("turned.tiff", Image.fromarray(rgb), {"tiffinfo": {274: 6}}, 1),
    ]:
        image.save(OUT / name, **options)
        image = ImageOps.exif_transpose(Image.open(OUT / name))
        pixels = to_eight(np.asarray(image)) if image.mode.startswith("I") else np.asarray(image.convert("RGB"))
        add(name, pixels, tolerance)
    # JPEGs of every coding, for what is cut off them; odd sizes, so that blocks stand over the edge.
    for name, mode, options in [
        ("restart.jpg", "RGB", {"subsampling": 2, "restart_marker_blocks": 2}),
        ("optimal.jpg", "RGB", {"subsampling": 1, "optimize": True, "comment": b"\xff\xd9 is no end here"}),
        ("progressive-420.jpg", "RGB", {"subsampling": 2, "progressive": True, "restart_marker_rows": 1}),
        ("progressive-grey.jpg", "L", {"progressive": True, "optimize": True}),
        ("cmyk.jpg", "CMYK", {}),
    ]:
        Image.fromarray(picture(37, 43, 3)).convert(mode).save(OUT / name, quality=92, **options)
        add(name, np.asarray(Image.open(OUT / name).convert("L" if mode == "L" else "RGB")), 3)
    (OUT / "expected.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
