#!/usr/bin/env python3
"""fc7 of VGG16 on the CPU in PyTorch and here, turn by turn in one run: `just bench-peers`.

usage: vgg.py [--turns N] [--batch N ...] [--threads N]   (needs torch, torchvision; runs `cargo bench`)

Both take random images through random weights, in f32. PyTorch has torchvision's vgg16 up to fc7, plain and
channels_last (oneDNN), of which the faster counts. A turn is one process of each with a warm-up of its own; what counts is
the ratio within a turn, and of these the median.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def peer(batch, threads):
    """A turn of PyTorch in a process of its own: prints images a second."""
    import torch
    import torchvision

    torch.manual_seed(1)
    torch.set_num_threads(threads)
    vgg = torchvision.models.vgg16(weights=None).eval()
    vgg.classifier = vgg.classifier[:5]
    images = torch.randn(batch, 3, 224, 224)
    best = 0.0
    for layout in (torch.contiguous_format, torch.channels_last):
        vgg, images = vgg.to(memory_format=layout), images.to(memory_format=layout)
        with torch.inference_mode():
            vgg(images)
            done, start = 0, time.perf_counter()
            while time.perf_counter() - start < 5:
                vgg(images)
                done += batch
            best = max(best, done / (time.perf_counter() - start))
    print(best)


def ours(batch, threads):
    """A turn of the benchmark `network`: images a second."""
    with tempfile.TemporaryDirectory() as directory:
        command = ["cargo", "bench", "--quiet", "--workspace", "--bench", "vgg", "--", "--exact", f"network/{batch}"]
        command += ["--noplot", "--warm-up-time", "1", "--measurement-time", "5"]
        environment = {**os.environ, "CRITERION_HOME": directory, "RAYON_NUM_THREADS": str(threads)}
        subprocess.run(command, env=environment, check=True, capture_output=True)
        estimates = json.loads((Path(directory) / f"network/{batch}/new/estimates.json").read_text())
    return batch * 1e9 / estimates["mean"]["point_estimate"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--batch", type=int, nargs="+", default=[16, 1], help="that the benchmark knows")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(arguments.batch[0], arguments.threads)
    for batch in arguments.batch:
        turns = []
        for turn in range(arguments.turns):
            here = ours(batch, arguments.threads)
            theirs = [sys.executable, __file__, "--peer", "--batch", str(batch), "--threads", str(arguments.threads)]
            there = float(subprocess.run(theirs, check=True, capture_output=True, text=True).stdout)
            turns.append((here, there))
            print(f"batch {batch} turn {turn + 1}: {here:.2f} images/s, PyTorch {there:.2f}, ratio {here / there:.2f}", flush=True)
        ratios = [a / b for a, b in turns]
        here, there = (statistics.median(side) for side in zip(*turns))
        print(
            f"batch {batch}: median {here:.2f} images/s, PyTorch {there:.2f}, median ratio "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
