#!/usr/bin/env python3
"""Small images of many kinds, with what torchvision and Pillow make of them, for tests/preprocess.rs.

    python preprocess.py [DIR]      (needs torchvision, safetensors, numpy, pillow; writes beside itself)

preprocess/*             the images, drawn here
preprocess.safetensors   by file name, Resize(resize) + CenterCrop(crop) of convert("RGB"): [crop, crop, 3]; the names
                         end in the sizes, as in "name.png 32 27"; with " upright" after ImageOps.exif_transpose
odd.json                 (where DIR, a folder of odd images, is given) by file name, SHA-256 and mean of the default crop
"""
import hashlib
import json
import pathlib
import sys

import numpy as np
import torchvision.transforms as T
from PIL import Image, ImageOps
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
DRAWN = HERE / "preprocess"
rng = np.random.default_rng(1)


def noise(width, height, channels=3):
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8)


def scene(width, height):
    """Smooth colours with an edge: what JPEG is made for."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [128 + 100 * np.sin(x / 9), 128 + 100 * np.cos(y / 7), np.where(x + y < 60, 40, 210)]
    return np.stack(planes, -1).astype(np.uint8)


def draw():
    save = lambda image, name, **how: image.save(DRAWN / name, **how)
    save(Image.fromarray(noise(97, 61)), "down.png")
    save(Image.fromarray(noise(20, 17)), "up.png")
    save(Image.fromarray(noise(32, 51)), "tall.png")
    save(Image.fromarray(noise(33, 32)), "wide.png")
    save(Image.fromarray(noise(1, 40)), "line.png")
    save(Image.fromarray(noise(40, 41, 1)[..., 0]), "grey.png")
    save(Image.fromarray(noise(40, 41, 1)[..., 0]).convert("1"), "bits.png")
    save(Image.fromarray(noise(38, 35, 4)), "alpha.png")
    save(Image.fromarray(noise(38, 35, 2), "LA"), "grey-alpha.png")
    palette = Image.fromarray(noise(38, 35)).quantize(16)
    save(palette, "palette.png")
    save(palette, "palette-transparent.png", transparency=3)
    save(Image.fromarray(rng.integers(0, 65536, (35, 38), dtype=np.uint16)), "grey16.png")
    save(palette, "still.gif")
    save(Image.fromarray(noise(38, 35)), "plain.bmp")
    save(Image.fromarray(noise(38, 35)), "lossless.webp", lossless=True)
    photo = Image.fromarray(scene(90, 70))
    save(photo, "photo.webp", quality=90)
    save(photo, "420.jpg", quality=90, subsampling="4:2:0")
    save(photo, "444.jpg", quality=90, subsampling="4:4:4")
    save(photo, "progressive.jpg", quality=90, progressive=True)
    save(photo.convert("L"), "grey.jpg", quality=90)
    save(photo.convert("CMYK"), "cmyk.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(photo, "turned.jpg", quality=90, exif=exif)
    save(Image.fromarray(noise(38, 35)), "turned.png", exif=exif)


def rgb(image):
    if image.mode.startswith("I;16"):
        # Pillow clips 16-bit grey at 255, which leaves a white image; the upper 8 bits are meant.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    return image.convert("RGB")


def crop(image, size, side):
    return np.asarray(T.Compose([T.Resize(size), T.CenterCrop(side)])(image))


draw()
golden = {}
for path in sorted(DRAWN.iterdir()):
    image = Image.open(path)
    golden[f"{path.name} 32 27"] = crop(rgb(image), 32, 27)
    if path.stem == "turned":
        golden[f"{path.name} 32 27 upright"] = crop(rgb(ImageOps.exif_transpose(image)), 32, 27)
for name, size, side in [("down.png", 40, 33), ("down.png", 25, 25), ("up.png", 45, 16), ("tall.png", 32, 32)]:
    golden[f"{name} {size} {side}"] = crop(Image.open(DRAWN / name).convert("RGB"), size, side)
save_file(golden, HERE / "preprocess.safetensors")

if len(sys.argv) > 1:
    odd = {}
    for path in sorted(pathlib.Path(sys.argv[1]).iterdir()):
        pixels = crop(Image.open(path).convert("RGB"), 256, 224)
        mean = [round(float(m), 3) for m in pixels.mean((0, 1))]
        odd[path.name] = {"sha256": hashlib.sha256(pixels.tobytes()).hexdigest(), "mean": mean}
    text = ",\n".join(f"{json.dumps(name)}: {json.dumps(facts)}" for name, facts in odd.items())
    (HERE / "odd.json").write_text("{\n" + text + "\n}\n")
