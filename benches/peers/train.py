#!/usr/bin/env python3
"""Training steps of the decoder in PyTorch and here, turn by turn in one run: `just bench-peers`.

usage: train.py TRAIN_PROGRAM [--turns N] [--steps N] [--vocab N ...] [--threads N]   (needs torch, safetensors)

Both train on the same made-up captions, as long as Flickr8k's: batches of 128, E = H = 512, dropout 0.5, Adam, the
gradient's norm clipped. PyTorch has nn.Embedding, nn.LSTM and F.cross_entropy on padded batches, as everyone has.
A turn is one process of each with a warm-up of its own; what counts is the ratio within a turn, and of these the median.
"""

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BATCH, DIM, FEATURES = 128, 512, 4096
# how many of 100 captions have 1, 2, 3 ... words: Flickr8k's, cut at 20
LENGTHS = [0, 0, 1, 1, 3, 6, 8, 10, 12, 12, 11, 9, 7, 6, 4, 3, 2, 2, 1, 2]


def captions(count, vocab):
    """Word numbers; the first captions hold every word once, so that both sides have the same vocabulary."""
    rng = random.Random(1)
    words = list(range(vocab))
    rng.shuffle(words)
    lengths = rng.choices(range(1, 21), LENGTHS, k=count)
    return [[words.pop() if words else rng.randrange(vocab) for _ in range(length)] for length in lengths]


def peer(arguments):
    """A turn of PyTorch in a process of its own: prints words a second."""
    import numpy as np
    import torch
    import torch.nn.functional as F
    from torch import nn

    torch.manual_seed(1)
    torch.set_num_threads(arguments.threads)
    vocab = arguments.vocab[0] + 4
    data = captions((arguments.steps + 2) * BATCH, arguments.vocab[0])
    features = torch.from_numpy(np.random.default_rng(1).random((len(data), FEATURES), dtype=np.float32))
    image, embedding = nn.Linear(FEATURES, DIM), nn.Embedding(vocab, DIM, padding_idx=0)
    lstm, output, drop = nn.LSTM(DIM, DIM, batch_first=True), nn.Linear(DIM, vocab), nn.Dropout(0.5)
    parameters = [p for module in (image, embedding, lstm, output) for p in module.parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3)
    words, start = 0, 0.0
    for step in range(arguments.steps + 2):
        if step == 2:
            words, start = 0, time.perf_counter()
        part = data[step * BATCH : (step + 1) * BATCH]
        longest = max(map(len, part)) + 1
        inputs, targets = np.zeros((BATCH, longest), np.int64), np.zeros((BATCH, longest), np.int64)
        for row, caption in enumerate(part):
            ids = [word + 4 for word in caption]
            inputs[row, : len(ids) + 1], targets[row, : len(ids) + 1] = [1] + ids, ids + [2]
        x = image(features[step * BATCH : (step + 1) * BATCH]).unsqueeze(1)
        x = torch.cat([x, embedding(torch.from_numpy(inputs))], 1)
        hidden = drop(lstm(drop(x))[0][:, 1:])
        loss = F.cross_entropy(output(hidden).flatten(0, 1), torch.from_numpy(targets).flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 5.0)
        optimizer.step()
        words += sum(map(len, part)) + BATCH
    print(words / (time.perf_counter() - start))


def world(directory, steps, vocab, epochs=1):
    """The same captions as a dataset with features, and a configuration."""
    import numpy as np
    from safetensors.numpy import save_file

    data = captions((steps + 2) * BATCH, vocab)
    sentences = [" ".join(f"w{word}" for word in caption) for caption in data]
    images = [
        {"filename": f"{i + 1}.jpg", "split": "train", "sentences": [{"raw": sentence, "tokens": sentence.split()}]}
        for i, sentence in enumerate(sentences)
    ]
    images.append({**images[0], "filename": f"{len(images) + 1}.jpg", "split": "val"})
    (directory / "data.json").write_text(json.dumps({"images": images, "dataset": "peers"}))
    (directory / "data.toml").write_text('name = "peers"\nformat = "karpathy"\ncaptions = ["data.json"]\n')
    ids = np.arange(1, len(images) + 1, dtype=np.int64)
    values = np.random.default_rng(1).random((len(images), FEATURES), dtype=np.float32).astype(np.float16)
    save_file({"features": values, "image_id": ids}, directory / "features.safetensors")
    (directory / "run.toml").write_text(
        'data = { dataset = "data.toml", features = "features.safetensors", min_count = 1 }\n'
        f"model = {{ embed_dim = {DIM}, hidden_dim = {DIM}, dropout = 0.5 }}\n"
        f'train = {{ batch_size = {BATCH}, epochs = {epochs}, schedule = "constant" }}\n'
        'output = { dir = "run", save_steps = 1000000 }\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="target/release/train")
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--vocab", type=int, nargs="+", default=[2_537, 9_996], help="words besides the four special ones")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        return peer(arguments)
    for vocab in arguments.vocab:
        turns = []
        for turn in range(arguments.turns):
            with tempfile.TemporaryDirectory() as directory:
                directory = Path(directory)
                world(directory, arguments.steps, vocab)
                ours = [os.path.abspath(arguments.program), "run.toml", "--device", "cpu"]
                environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}
                subprocess.run(ours, cwd=directory, env=environment, check=True, capture_output=True)
                row = json.loads((directory / "run/metrics.jsonl").read_text())
            theirs = [sys.executable, __file__, "none", "--peer", "--vocab", str(vocab)]
            theirs += ["--steps", str(arguments.steps), "--threads", str(arguments.threads)]
            peers = float(subprocess.run(theirs, check=True, capture_output=True, text=True).stdout)
            turns.append((row["tokens_per_second"], peers))
            print(f"V={vocab + 4} turn {turn + 1}: {turns[-1][0]:.0f} words/s, PyTorch {peers:.0f}, ratio {turns[-1][0] / peers:.2f}", flush=True)
        ratio = statistics.median(a / b for a, b in turns)
        ours, theirs = (statistics.median(side) for side in zip(*turns))
        print(f"V={vocab + 4}: median {ours:.0f} words/s, PyTorch {theirs:.0f}, median ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
