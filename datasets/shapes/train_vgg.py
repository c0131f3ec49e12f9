#!/usr/bin/env python3
"""Trains the narrow VGG16 of the demo: vgg16.safetensors, in torchvision's names.

    cargo run --release -p shapes -- generate --out /tmp/scenes --seed 100 --count 12000
    python datasets/shapes/train_vgg.py /tmp/scenes datasets/shapes/vgg16.safetensors

The scenes are others than the dataset's (another seed) and never show the held-out pairs of colour and shape. First the
convolutions learn to see: to say of each cell of the 3x3 grid that scenes are laid out on whether an object is there,
and its colour, shape and size, each apart from the others. Then fc6 and fc7 learn to tell what they see in the order
in which a caption does: whether there is a first, second and third object, as one reads, and what and where it is.
Batch normalisation helps sixteen plain layers to train; at the end it is folded into the convolutions, which leaves
a plain VGG16. A third argument, a file of weights, gives convolutions that can see already.
Needs: pip install torch safetensors pillow
"""
import io
import json
import sys
import time
import zipfile

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

CHANNELS = [8, 8, 16, 16, 24, 24, 24, 32, 32, 32, 32, 32, 32]
POOLED = {1, 3, 6, 9, 12}
HIDDEN = 192
# torchvision's numbers of the convolutions in `features`
NAMES = [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
COLOURS = ["red", "orange", "yellow", "green", "blue", "purple"]
SHAPES = ["circle", "square", "triangle", "star", "cross"]
SIZES = ["small", "large"]
LINES = [0, 1, 2]
IN_A_CELL = [COLOURS, SHAPES, SIZES]
IN_A_CAPTION = [COLOURS, SHAPES, SIZES, LINES, LINES]
SIDE, MARGIN = 160, 10
HELD = 500  # scenes for the report only


def load(folder):
    """Pictures [N, 224, 224, 3] as nic's `extract` crops them; per cell of the grid [N, 9, 3] colour, shape and size;
    per object, as one reads, [N, 3, 5] also its row and column; -1 where there is none."""
    scenes = json.load(open(f"{folder}/scenes.json"))
    archive = zipfile.ZipFile(f"{folder}/images.zip")
    pictures = np.empty((len(scenes), 224, 224, 3), np.uint8)
    cells, objects = np.full((len(scenes), 9, 3), -1), np.full((len(scenes), 3, 5), -1)
    for i, entry in enumerate(scenes):
        picture = Image.open(io.BytesIO(archive.read(f"{entry['id']:04}.png"))).convert("RGB")
        pictures[i] = np.asarray(picture.resize((256, 256), Image.BILINEAR).crop((16, 16, 240, 240)))
        for k, o in enumerate(entry["scene"]["objects"]):
            row, column = (int((o[axis] - MARGIN) / ((SIDE - 2 * MARGIN) / 3)) for axis in "yx")
            looks = COLOURS.index(o["colour"]), SHAPES.index(o["shape"]), SIZES.index(o["size"])
            cells[i, row * 3 + column] = looks
            objects[i, k] = *looks, row, column
    return tuple(map(torch.from_numpy, (pictures, cells, objects)))


def convolutions(weights=None):
    """VGG16's, with batch normalisation, or plain ones with these weights."""
    layers, inputs = [], 3
    for i, (name, outputs) in enumerate(zip(NAMES, CHANNELS)):
        layer = nn.Conv2d(inputs, outputs, 3, padding=1)
        if weights is not None:
            layer.load_state_dict({kind: weights[f"features.{name}.{kind}"] for kind in ("weight", "bias")})
        layers += [layer] + ([nn.BatchNorm2d(outputs)] if weights is None else []) + [nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if i in POOLED else []
        inputs = outputs
    return nn.Sequential(*layers, nn.Flatten()).to(memory_format=torch.channels_last)


def dense(outputs, dropout=(0.0, 0.0)):
    """fc6 and fc7, and a last layer in the place of ImageNet's classes."""
    return nn.Sequential(
        *(nn.Dropout(dropout[0]), nn.Linear(CHANNELS[-1] * 49, HIDDEN), nn.ReLU()),
        *(nn.Dropout(dropout[1]), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()),
        nn.Linear(HIDDEN, outputs),
    )


def logits_of(groups):
    """How many there are for a place: one for whether an object is there, and one for each value of each fact."""
    return 1 + sum(map(len, groups))


def batch(pictures):
    x = pictures.permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


def loss_and_right(logits, facts, groups):
    """The loss, and for how many pictures all facts [N, places, groups] are right."""
    logits = logits.view(len(facts), -1, logits_of(groups))
    there = facts[..., 0] >= 0
    loss = binary_cross_entropy_with_logits(logits[..., 0], there.float())
    right = (logits[..., 0] > 0) == there
    start = 1
    for k, values in enumerate(groups):
        part = logits[..., start : start + len(values)]
        loss = loss + cross_entropy(part[there], facts[..., k][there])
        right &= ~there | (part.argmax(-1) == facts[..., k])
        start += len(values)
    return loss, right.all(1).sum().item()


def fit(net, inputs, facts, groups, epochs, size, rate, stop_early=0):
    """Adam with one cycle of the learning rate, of which the last `stop_early` epochs are left out."""
    count = len(inputs) - HELD
    steps = count // size
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, (epochs + stop_early) * steps)
    for epoch in range(epochs):
        net.train()
        start, total = time.time(), 0.0
        for i in (HELD + torch.randperm(count)).split(size)[:steps]:
            loss, _ = loss_and_right(net(inputs[i]), facts[i], groups)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        net.eval()
        with torch.inference_mode():
            parts = zip(inputs[:HELD].split(100), facts[:HELD].split(100))
            right = sum(loss_and_right(net(x), y, groups)[1] for x, y in parts)
        seconds = time.time() - start
        print(f"epoch {epoch + 1}: loss {total / steps:.3f}, {right} of {HELD} other scenes wholly right, {seconds:.0f} s", flush=True)


class Seeing(nn.Module):
    """Convolutions under a head that is thrown away."""

    def __init__(self):
        super().__init__()
        self.convolutions, self.head = convolutions(), dense(9 * logits_of(IN_A_CELL))

    def forward(self, pictures):
        with torch.autocast("cpu", torch.bfloat16):
            return self.head(self.convolutions(batch(pictures))).float()


def see(pictures, cells):
    """Convolutions, trained; batch normalisation folded into them."""
    net = Seeing()
    # Ends a fifth before the rate reaches zero: by then nearly every scene is right.
    fit(net, pictures, cells, IN_A_CELL, epochs=4, size=64, rate=4e-3, stop_early=1)
    tensors, modules = {}, list(net.convolutions)
    for name, i in zip(NAMES, [i for i, m in enumerate(modules) if isinstance(m, nn.Conv2d)]):
        convolution, norm = modules[i], modules[i + 1]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        tensors[f"features.{name}.weight"] = convolution.weight * scale.view(-1, 1, 1, 1)
        tensors[f"features.{name}.bias"] = (convolution.bias - norm.running_mean) * scale + norm.bias
    return tensors


def tell(tensors, pictures, objects):
    """Weights of fc6, fc7 and the last layer above these convolutions."""
    net = convolutions(tensors)
    with torch.inference_mode():
        seen = torch.cat([net(batch(part)) for part in pictures.split(32)])
    net = dense(3 * logits_of(IN_A_CAPTION), dropout=(0.3, 0.1))
    fit(net, seen.clone(), objects, IN_A_CAPTION, epochs=50, size=128, rate=3e-3)
    linears = [m for m in net if isinstance(m, nn.Linear)]
    # The same function with fc7 of order one, which is what a decoder's fresh weights expect.
    with torch.inference_mode():
        scale = net[:-1](seen[:HELD]).square().mean().sqrt()
    linears[1].weight.data /= scale
    linears[1].bias.data /= scale
    linears[2].weight.data *= scale
    return {f"classifier.{n}.{kind}": getattr(m, kind) for n, m in zip((0, 3, 6), linears) for kind in ("weight", "bias")}


def main(folder, out, weights=None):
    torch.manual_seed(1)
    pictures, cells, objects = load(folder)
    tensors = load_file(weights) if weights else see(pictures, cells)
    tensors = {name: t for name, t in tensors.items() if name.startswith("features.")}
    tensors |= tell(tensors, pictures, objects)
    save_file({name: t.detach().contiguous() for name, t in tensors.items()}, out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
