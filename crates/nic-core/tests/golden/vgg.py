#!/usr/bin/env python3
"""torchvision's VGG16 on weights and images from a counter-based generator, for tests/vgg.rs.

    python vgg.py        (needs torch, torchvision, safetensors, numpy; writes beside itself)

narrow.torchvision.safetensors, narrow.timm.safetensors   a narrow VGG16's weights in both namings
narrow.safetensors   its fc7 and logits for three images
full.safetensors     fc7 of the full width for two images; the test generates the weights again
"""
import math
import pathlib

import numpy as np
import torch
import torchvision
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
VGG16 = [64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M"]
NARROW = [4, 5, "M", 6, 7, "M", 8, 6, 8, "M", 7, 8, 5, "M", 8, 7, 6, "M"]
TIMM = {"classifier.0": "pre_logits.fc1", "classifier.3": "pre_logits.fc2", "classifier.6": "head.fc"}


def uniform(stream, shape, bound):
    """Values in [-bound, bound): splitmix64 of the counters stream * 2^40 + 0, 1, 2 ..., upper 24 bits."""
    with np.errstate(over="ignore"):
        z = np.arange(math.prod(shape), dtype=np.uint64) + np.uint64(stream << 40)
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    unit = (z >> np.uint64(40)).astype(np.float32) / np.float32(1 << 23) - np.float32(1)
    return (unit * np.float32(bound)).reshape(shape)


def model(layers, hidden, classes, side):
    vgg = torchvision.models.VGG(torchvision.models.vgg.make_layers(layers), num_classes=classes)
    vgg.avgpool = torch.nn.Identity()
    flat = layers[-2] * (side // 32) ** 2
    for index, (rows, columns) in {0: (hidden[0], flat), 3: (hidden[1], hidden[0]), 6: (classes, hidden[1])}.items():
        vgg.classifier[index] = torch.nn.Linear(columns, rows)
    for stream, (name, tensor) in enumerate(vgg.state_dict().items()):
        shape = tuple(tensor.shape)
        bound = math.sqrt(6 / math.prod(shape[1:])) if name.endswith("weight") else 0.05
        tensor.copy_(torch.from_numpy(uniform(stream, shape, bound)))
    return vgg.eval()


def run(vgg, images):
    """In f64, rounded to f32 at the end."""
    vgg = vgg.double()
    with torch.inference_mode():
        features = vgg.features(torch.from_numpy(images).double()).flatten(1)
        fc7 = vgg.classifier[:5](features)
        return {"fc7": fc7.float().numpy(), "logits": vgg.classifier[6](fc7).float().numpy()}


narrow = model(NARROW, (16, 12), 5, 64)
state = {name: tensor.numpy() for name, tensor in narrow.state_dict().items()}
save_file(state, HERE / "narrow.torchvision.safetensors")
timm = {}
for name, array in state.items():
    layer, _, kind = name.rpartition(".")
    if layer in ("classifier.0", "classifier.3") and kind == "weight":
        side = 2 if layer == "classifier.0" else 1
        array = array.reshape(len(array), -1, side, side)
    timm[f"{TIMM.get(layer, layer)}.{kind}"] = array
save_file(timm, HERE / "narrow.timm.safetensors")
save_file(run(narrow, uniform(1000, (3, 3, 64, 64), 2.0)), HERE / "narrow.safetensors")

full = model(VGG16, (4096, 4096), 1000, 224)
result = run(full, uniform(1000, (2, 3, 224, 224), 2.0))
print("fc7", np.abs(result["fc7"]).mean(), (result["fc7"] > 0).mean(), "logits above 0", (result["logits"] > 0).mean())
save_file({"fc7": result["fc7"]}, HERE / "full.safetensors")
