#!/usr/bin/env python3
"""Makes the files beside it: weights of a narrow VGG16 in timm's names, three images, and fc7 as PyTorch computes it.

    pip install torch torchvision safetensors pillow numpy && ./make.py
"""
import pathlib

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn
from torchvision import transforms as T

HERE = pathlib.Path(__file__).parent
CHANNELS = [4, 4, "M", 4, 4, "M", 6, 6, 6, "M", 6, 6, 6, "M", 8, 8, 8, "M"]
HIDDEN, CLASSES = 16, 4

torch.manual_seed(0)
layers, width = [], 3
for c in CHANNELS:
    if c == "M":
        layers += [nn.MaxPool2d(2, 2)]
    else:
        layers += [nn.Conv2d(width, c, 3, padding=1), nn.ReLU()]
        width = c
features = nn.Sequential(*layers)
fc1, fc2, head = nn.Conv2d(width, HIDDEN, 7), nn.Conv2d(HIDDEN, HIDDEN, 1), nn.Linear(HIDDEN, CLASSES)
state = {f"features.{k}": v for k, v in features.state_dict().items()}
for name, layer in [("pre_logits.fc1", fc1), ("pre_logits.fc2", fc2), ("head.fc", head)]:
    state |= {f"{name}.{k}": v for k, v in layer.state_dict().items()}
for name, tensor in state.items():
    if name.endswith("weight"):
        nn.init.kaiming_normal_(tensor, nonlinearity="relu")
    else:
        nn.init.uniform_(tensor, -0.05, 0.05)
save_file({k: v.contiguous() for k, v in state.items()}, HERE / "vgg.safetensors")


def picture(height, width, seed):
    """Waves in three colours: smooth, so that the files are small, and different everywhere."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width] / 40
    waves = [np.sin(a * x + b * y + c) for a, b, c in rng.uniform(0.2, 1.5, (3, 3))]
    return Image.fromarray((127.5 + 127 * np.stack(waves, -1)).round().astype(np.uint8))


FILES = [(1, "000000000001.png", 224, 224), (2, "000000000002.png", 250, 330), (3, "000000000003.jpg", 410, 270)]
transform = T.Compose([
    T.Resize(256), T.CenterCrop(224), T.ToTensor(), T.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
])
(HERE / "images").mkdir(exist_ok=True)
rows = []
for seed, name, height, width in FILES:
    picture(height, width, seed).save(HERE / "images" / name)
    with torch.inference_mode():
        x = features(transform(Image.open(HERE / "images" / name).convert("RGB"))[None])
        rows.append(torch.relu(fc2(torch.relu(fc1(x)))).flatten(1))
expected = {"features": torch.cat(rows), "image_id": torch.tensor([seed for seed, *_ in FILES])}
print(expected["features"])
save_file(expected, HERE / "fc7.safetensors")
