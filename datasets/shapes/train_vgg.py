#!/usr/bin/env python3
"""Trains the narrow VGG16 of the demo: vgg16.safetensors, in torchvision's names.

    cargo run --release -p shapes -- generate --out /tmp/scenes --seed 100 --count 12000
    python datasets/shapes/train_vgg.py /tmp/scenes datasets/shapes/vgg16.safetensors

The scenes are others than the dataset's (another seed) and never show the held-out pairs of colour and shape. The
network learns to say of each cell of the 3x3 grid that scenes are laid out on whether an object is there, and its
colour, shape and size, each apart from the others, so that fc7 can also tell pairs that it never saw together.
Batch normalisation helps sixteen plain layers to train; at the end it is folded into the convolutions, which leaves
a plain VGG16. Needs: pip install torch safetensors pillow
"""
import io
import json
import sys
import time
import zipfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

CHANNELS = [8, 8, 16, 16, 24, 24, 24, 32, 32, 32, 32, 32, 32]
POOLED = {1, 3, 6, 9, 12}
HIDDEN = 192
FC7_SCALE = 8
# torchvision's numbers of the convolutions in `features`
NAMES = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple"]
SHAPES = ["circle", "square", "triangle", "star", "cross"]
SIZES = ["small", "large"]
CELL = 1 + len(COLOURS) + len(SHAPES) + len(SIZES)
SIDE, MARGIN = 160, 10


def load(folder):
    """Pictures [N, 224, 224, 3] as nic's `extract` crops them, and per cell: there or not, colour, shape, size."""
    scenes = json.load(open(f"{folder}/scenes.json"))
    archive = zipfile.ZipFile(f"{folder}/images.zip")
    pictures = np.empty((len(scenes), 224, 224, 3), np.uint8)
    cells = np.full((len(scenes), 9, 3), -1)
    for i, entry in enumerate(scenes):
        picture = Image.open(io.BytesIO(archive.read(f"{entry['id']:04}.png"))).convert("RGB")
        pictures[i] = np.asarray(picture.resize((256, 256), Image.BILINEAR).crop((16, 16, 240, 240)))
        for o in entry["scene"]["objects"]:
            column, row = (int((o[axis] - MARGIN) / ((SIDE - 2 * MARGIN) / 3)) for axis in "xy")
            cells[i, row * 3 + column] = [COLOURS.index(o["colour"]), SHAPES.index(o["shape"]), SIZES.index(o["size"])]
    return torch.from_numpy(pictures), torch.from_numpy(cells)


def network():
    layers, inputs = [], 3
    for i, outputs in enumerate(CHANNELS):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in POOLED else []
        inputs = outputs
    layers += [nn.Flatten(), nn.Linear(inputs * 49, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(HIDDEN, 9 * CELL)).to(memory_format=torch.channels_last)


def batch(pictures):
    x = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def loss_and_right(logits, cells):
    """The loss, and for how many pictures all cells are right."""
    logits = logits.view(-1, 9, CELL)
    there = cells[..., 0] >= 0
    loss = nn.functional.binary_cross_entropy_with_logits(logits[..., 0], there.float())
    right = (logits[..., 0] > 0) == there
    start = 1
    for k, names in enumerate([COLOURS, SHAPES, SIZES]):
        part = logits[..., start : start + len(names)]
        loss = loss + nn.functional.cross_entropy(part[there], cells[..., k][there])
        right &= ~there | (part.argmax(-1) == cells[..., k])
        start += len(names)
    return loss, right.all(1).sum().item()


def plain(net):
    """The weights as a plain VGG16's, batch normalisation folded into the convolutions."""
    tensors, modules = {}, list(net)
    convolutions = [i for i, m in enumerate(modules) if isinstance(m, nn.Conv2d)]
    for name, i in zip(NAMES, convolutions):
        convolution, norm = modules[i], modules[i + 1]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        tensors[f"features.{name}.weight"] = convolution.weight * scale.view(-1, 1, 1, 1)
        tensors[f"features.{name}.bias"] = (convolution.bias - norm.running_mean) * scale + norm.bias
    for name, linear in zip((0, 3, 6), [m for m in modules if isinstance(m, nn.Linear)]):
        tensors[f"classifier.{name}.weight"] = linear.weight
        tensors[f"classifier.{name}.bias"] = linear.bias
    # The same function with fc7 of order one, which is what a decoder's fresh weights expect.
    tensors["classifier.3.weight"], tensors["classifier.3.bias"] = (
        tensors[f"classifier.3.{kind}"] / FC7_SCALE for kind in ("weight", "bias")
    )
    tensors["classifier.6.weight"] = tensors["classifier.6.weight"] * FC7_SCALE
    return {name: t.detach().contiguous() for name, t in tensors.items()}


def main(folder, out, epochs=4, size=64):
    torch.manual_seed(1)
    pictures, cells = load(folder)
    held = 500  # for the report only
    net, steps = network(), (len(pictures) - held) // size
    optimizer = torch.optim.Adam(net.parameters(), weight_decay=1e-5)
    # Ends a fifth before the rate reaches zero: by then nearly every scene is right.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, (epochs + 1) * steps)
    for epoch in range(epochs):
        net.train()
        start, total = time.time(), 0.0
        for step, i in enumerate(torch.randperm(len(pictures) - held).split(size)[:steps]):
            with torch.autocast("cpu", torch.bfloat16):
                logits = net(batch(pictures[held:][i]))
            loss, _ = loss_and_right(logits.float(), cells[held:][i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            if step % 20 == 0:
                print(f"  {step}/{steps} {loss.item():.3f} {(step + 1) * size / (time.time() - start):.0f}/s", flush=True)
        net.eval()
        with torch.inference_mode():
            parts = zip(pictures[:held].split(100), cells[:held].split(100))
            right = sum(loss_and_right(net(batch(x)), y)[1] for x, y in parts)
        print(f"epoch {epoch + 1}: loss {total / steps:.3f}, {right} of {held} other scenes wholly right", flush=True)
        save_file(plain(net), out)


if __name__ == "__main__":
    main(*sys.argv[1:3])
