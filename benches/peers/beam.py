#!/usr/bin/env python3
"""Beam search in PyTorch over a checkpoint of `train`: what `caption generate` is compared with.

One image at a time, its beam as the batch, the LSTM step by `nn.LSTM`: the usual way to write it. The search is that
of `BeamSearch::new(WIDTH)` with the best sentence kept, so that both must find the same sentences, up to ties within
rounding. `--program` runs the two in turns and prints the ratio of their speeds.

    pip install torch safetensors numpy
    python3 benches/peers/beam.py runs/flickr8k/best features/flickr8k dataset_flickr8k.json --split val \
        --program target/release/caption --dataset datasets/flickr8k.toml
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

PAD, START, END, UNK = range(4)


class Decoder(nn.Module):
    """The decoder of a checkpoint; the members' names are those of its tensors."""

    def __init__(self, checkpoint):
        super().__init__()
        config = json.loads((checkpoint / "config.json").read_text())["decoder"]
        if config["cell"] != "lstm" or not config["cell_tanh"] or not config["lstm_bias"]:
            raise SystemExit("nn.LSTM has a tanh and biases; this checkpoint's decoder is another")
        if config["num_layers"] != 1:
            raise SystemExit("one layer is compared; this checkpoint's decoder has more")
        self.image = nn.Linear(config["feature_dim"], config["embed_dim"])
        self.embedding = nn.Embedding(config["vocab_size"], config["embed_dim"])
        self.lstm = nn.LSTM(config["embed_dim"], config["hidden_dim"], batch_first=True)
        self.output = nn.Linear(config["hidden_dim"], config["vocab_size"])
        weights = load_file(checkpoint / "model.safetensors")
        if config["tie_embeddings"]:
            weights["output.weight"] = weights["embedding.weight"]
        self.load_state_dict(weights)


@torch.inference_mode()
def search(decoder, features, width, max_len):
    """The best sentence of one image `[D]` and its log probability."""
    _, state = decoder.lstm(decoder.image(features)[None, None])
    live, finished = [(0.0, [])], []
    for _ in range(max_len):
        last = torch.tensor([[words[-1] if words else START] for _, words in live])
        hidden, state = decoder.lstm(decoder.embedding(last), state)
        log_probs = decoder.output(hidden[:, 0]).log_softmax(-1)
        log_probs[:, [PAD, START, UNK]] = -torch.inf
        log_probs += torch.tensor([score for score, _ in live])[:, None]
        scores, places = log_probs.flatten().topk(width)
        longer, parents = [], []
        for score, place in zip(scores.tolist(), places.tolist()):
            parent, word = divmod(place, log_probs.shape[1])
            if word == END:
                finished.append((score, live[parent][1]))
            else:
                longer.append((score, live[parent][1] + [word]))
                parents.append(parent)
        live = longer
        # log probabilities only fall
        if not live or (finished and max(finished)[0] >= live[0][0]):
            break
        state = tuple(part[:, parents] for part in state)
    return max(finished + live, key=lambda sentence: sentence[0])


def sentences(args, decoder, words, images, features):
    """Captions a second by the clock and by processor time, and the captions."""
    clock, processor = time.perf_counter(), time.process_time()
    found = [search(decoder, features[image], args.beam, args.max_len) for image in images]
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    texts = [" ".join(words[word] for word in sentence) for _, sentence in found]
    return len(images) / clock, len(images) / processor, texts


def program(args, images):
    """The same of `caption generate`, which captions the whole split."""

    def children():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "results.json"
        command = [args.program, "generate", "--dataset", args.dataset, "--features", args.features]
        command += ["--split", args.split, "--checkpoint", args.checkpoint, "--out", out]
        command += ["--beam", str(args.beam), "--max-len", str(args.max_len), "--device", "cpu"]
        processor = children()
        done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        processor = children() - processor
        found = {row["image_id"]: row["caption"] for row in json.loads(out.read_text())}
    clock = float(re.search(r"([\d.]+) captions/s", done.stderr)[1])
    return clock, len(found) / processor, [found[image] for image in images]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("features", type=Path, help="a safetensors file, or a directory of them")
    parser.add_argument("captions", type=Path, help="Karpathy's JSON: which images a split has")
    parser.add_argument("--split", default="val")
    parser.add_argument("--beam", type=int, default=3)
    parser.add_argument("--max-len", type=int, default=20)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="of each of the two")
    parser.add_argument("--images", type=int, help="PyTorch's are the first so many of the split")
    parser.add_argument("--program", help="target/release/caption")
    parser.add_argument("--dataset", help="the descriptor that --program reads")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    os.environ["RAYON_NUM_THREADS"] = str(args.threads)

    decoder = Decoder(args.checkpoint).eval()
    words = json.loads((args.checkpoint / "vocab.json").read_text())["words"]
    shards = [args.features] if args.features.is_file() else args.features.glob("*.safetensors")
    features = {}
    for shard in map(load_file, shards):
        features |= dict(zip(shard["image_id"].tolist(), shard["features"].float()))
    rows = json.loads(args.captions.read_text())["images"]
    # Flickr8k's ids are the digits that its file names begin with; COCO's stand by themselves
    number = lambda row: row["cocoid"] if "cocoid" in row else int(re.match(r"\d+", row["filename"]).group())
    images = [number(row) for row in rows if row["split"] == args.split][: args.images]

    ratios = []
    for _ in range(args.turns):
        *peer, expected = sentences(args, decoder, words, images, features)
        print(f"PyTorch {peer[0]:.1f} captions/s, {peer[1]:.1f} a processor second", end="")
        if args.program:
            *ours, found = program(args, images)
            ratios.append([a / b for a, b in zip(ours, peer)])
            same = sum(a == b for a, b in zip(found, expected))
            print(f"; caption {ours[0]:.1f}, {ours[1]:.1f}", end="")
            print(f"; {same} of {len(images)} sentences the same", end="")
        print(flush=True)
    if ratios:
        clock, processor = map(statistics.median, zip(*ratios))
        print(f"medians: {clock:.1f} times by the clock, {processor:.1f} by processor time")


if __name__ == "__main__":
    main()
