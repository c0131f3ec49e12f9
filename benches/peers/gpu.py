#!/usr/bin/env python3
"""One look at a GPU: is nic right on it, and as fast as PyTorch? `just gpu-check`, or without Rust

usage: gpu.py GPU_CHECK [--device cuda:N] [--out FILE]      (GPU_CHECK: the program that `just build-cuda` leaves)

Prints one table, writes one JSON file, takes less than 8 minutes. Exits with 1 where a number is out of its bounds or a
part fails, with 3 where no card can be opened. Needs torch and torchvision with CUDA, numpy and safetensors, and
train.py beside it.

Each part is a process of its own, ours and PyTorch's turn by turn on the same card. PyTorch computes in channels_last
with cudnn.benchmark on and, in f32, TF32 off. `--device cpu --quick` goes through every part on small sizes without any
bound on speed and with wider ones on what 16 bits may lose, to see that the check itself works.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import train

BUDGET = 480.0
TYPES = ["f32", "f16", "bf16"]
STEPS, VOCAB = 200, 9_996
SIXTEEN_BITS = 1e-2  # what they may take from fc7, relative to it


def torch_for(device):
    import torch

    torch.manual_seed(1)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    wait = (lambda: torch.cuda.synchronize(device)) if device.startswith("cuda") else lambda: None
    return torch, wait


def peer_versions(device, quick):
    torch, _ = torch_for(device)
    if device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("PyTorch sees no CUDA device")
    return {"torch": torch.__version__, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}


def peer_vgg(device, quick):
    """torchvision's VGG16 up to fc7: images a second by type and batch."""
    torch, wait = torch_for(device)
    import torchvision

    network = torchvision.models.vgg16(weights=None).eval()
    network.classifier = network.classifier[:5]
    rates = {}
    for name in TYPES[:1] if quick else TYPES:
        dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[name]
        network = network.to(device=device, dtype=dtype, memory_format=torch.channels_last)
        for batch in [1, 3] if quick else [1, 32, 256]:
            images = torch.randn(batch, 3, 224, 224).to(device=device, dtype=dtype, memory_format=torch.channels_last)
            with torch.inference_mode():
                for _ in range(1 if quick else 3):
                    network(images)
                wait()
                start, passes = time.perf_counter(), 0
                while passes == 0 or time.perf_counter() - start < (0.05 if quick else 1.0):
                    for _ in range(1 if quick else 4):
                        network(images)
                        passes += 1
                    wait()
                rates.setdefault(name, {})[str(batch)] = passes * batch / (time.perf_counter() - start)
    return rates


def peer_train(device, quick):
    """nn.LSTM on padded batches as in train.py, but with all features and batches on the device before the clock runs."""
    torch, wait = torch_for(device)
    import torch.nn.functional as F
    from torch import nn

    steps, words = sizes(quick)
    vocab = words + 4
    data = train.captions((steps + 2) * train.BATCH, words)
    features = torch.rand(len(data), train.FEATURES, dtype=torch.float16 if device.startswith("cuda") else torch.float32).to(device)
    batches = []
    for start in range(0, len(data), train.BATCH):
        part = [[word + 4 for word in caption] for caption in data[start : start + train.BATCH]]
        longest = max(map(len, part)) + 1
        inputs, targets = torch.zeros(len(part), longest, dtype=torch.long), torch.zeros(len(part), longest, dtype=torch.long)
        for row, ids in enumerate(part):
            inputs[row, : len(ids) + 1], targets[row, : len(ids) + 1] = torch.tensor([1] + ids), torch.tensor(ids + [2])
        batches.append((start, inputs.to(device), targets.to(device), sum(map(len, part)) + len(part)))
    image, embedding = nn.Linear(train.FEATURES, train.DIM), nn.Embedding(vocab, train.DIM, padding_idx=0)
    lstm, output, drop = nn.LSTM(train.DIM, train.DIM, batch_first=True), nn.Linear(train.DIM, vocab), nn.Dropout(0.5)
    parameters = [p for module in (image, embedding, lstm, output) for p in module.to(device).parameters()]
    optimizer = torch.optim.Adam(parameters, 1e-3, fused=device.startswith("cuda"))
    count, begun = 0, 0.0
    for epoch in range(2):  # as ours, whose second is measured
        wait()
        count, begun = 0, time.perf_counter()
        for start, inputs, targets, tokens in batches:
            x = image(features[start : start + len(inputs)].float()).unsqueeze(1)
            hidden = drop(lstm(drop(torch.cat([x, embedding(inputs)], 1)))[0][:, 1:])
            loss = F.cross_entropy(output(hidden).flatten(0, 1), targets.flatten(), ignore_index=0)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 5.0)
            optimizer.step()
            count += tokens
        wait()
    return {"words_per_second": count / (time.perf_counter() - begun)}


PEERS = {"versions": peer_versions, "vgg": peer_vgg, "train": peer_train}


def sizes(quick):
    """Batches an epoch and words besides the four special ones."""
    return (2, 60) if quick else (STEPS, VOCAB)


def libraries():
    """Where pip put NVIDIA's libraries."""
    places = (Path(place) / "nvidia" / part / "lib" for place in sys.path for part in ("cu13", "cublas", "curand", "cudnn"))
    return [str(place) for place in places if place.is_dir()]


class Check:
    """Runs the parts, collects what they say and judges it."""

    def __init__(self, arguments):
        self.program, self.device, self.quick = os.path.abspath(arguments.program), arguments.device, arguments.quick
        self.start = time.monotonic()
        path = ":".join([*filter(None, [os.environ.get("LD_LIBRARY_PATH")]), *libraries()])
        self.environment = {**os.environ, "LD_LIBRARY_PATH": path} if path else dict(os.environ)
        self.result, self.rows, self.failures = {}, [], []
        self.network = None  # VGG16's images a second at best

    def run(self, name, command):
        """The JSON object on the last line of a part's output; none where it failed."""
        if name != "device":
            print(f"gpu-check: {name} ...", file=sys.stderr, flush=True)
        left = max(1.0, BUDGET - (time.monotonic() - self.start))
        try:
            done = subprocess.run(command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=left)
        except OSError as error:
            print(f"gpu-check: {error}", file=sys.stderr)
            sys.exit(2)
        except subprocess.TimeoutExpired:
            self.failures.append(f"{name}: not done after {BUDGET:.0f} s in all")
            return None
        if done.returncode == 3 and name == "device":
            print(done.stderr.strip().splitlines()[-1], file=sys.stderr)
            sys.exit(3)
        if done.returncode != 0:
            last = (done.stderr.strip() or f"exit {done.returncode}").splitlines()[-1]
            self.failures.append(f"{name}: {last}")
            return None
        try:
            said = json.loads(done.stdout.strip().splitlines()[-1])
        except (IndexError, ValueError):
            said = None
        if not isinstance(said, dict):
            self.failures.append(f"{name}: its last line is no JSON object")
            return None
        self.result[name] = said
        return said

    def ours(self, part, *more):
        options = ["--device", self.device, *(["--quick"] if self.quick else [])]
        return self.run(part, [self.program, part, *more, *options])

    def peer(self, part):
        options = ["--device", self.device, *(["--quick"] if self.quick else [])]
        return self.run(f"pytorch {part}", [sys.executable, __file__, "none", "--peer", part, *options])

    def row(self, what, ours, peer=None, bound="", within=None):
        """`within`: whether the number is in its bounds; none where it has none."""
        if within is False:
            self.failures.append(f"{what}: {ours} is out of bounds ({bound})")
        verdict = {None: "", True: "ok", False: "FAIL"}[within]
        show = lambda value: "" if value is None else value if isinstance(value, str) else f"{value:.4g}" if value < 1 else f"{value:,.1f}"
        ratio = f"{ours / peer:.2f}" if peer and not self.quick else ""  # quick sizes are not PyTorch's
        self.rows.append([what, show(ours), show(peer), ratio, bound, verdict])

    def speed(self, what, ours, peer, least=None, bound=""):
        within = None if least is None or self.quick else ours >= least
        self.row(what, ours, peer, bound if least is not None else "", within)

    def difference(self, what, difference, most):
        relative, cosine, least = difference["relative_l2"], difference["cosine"], 0.9999
        if self.quick and most == SIXTEEN_BITS:  # the rounding of few channels is averaged less
            most, least = 3 * most, 0.999
        self.row(f"{what}, relative L2 to the CPU", relative, bound=f"<= {most:g}", within=relative <= most)
        self.row(f"{what}, cosine", f"{cosine:.6f}", bound=f">= {least}", within=cosine >= least)

    def fc7(self):
        for name, difference in (self.ours("fc7") or {}).items():
            if name in TYPES:
                self.difference(f"fc7 {name}", difference, 1e-4 if name == "f32" else SIXTEEN_BITS)

    def step(self):
        if step := self.ours("step"):
            for key, what in ("relative_loss", "loss"), ("relative_gradient", f"gradients (worst: {step['worst_gradient']})"):
                self.row(f"training step, {what}", step[key], bound="<= 0.001", within=step[key] <= 1e-3)
            for key, what in ("relative_norm", "their norm"), ("relative_update", f"weights (worst: {step['worst_update']})"):
                self.row(f"training step, {what}", step[key], bound="<= 0.0001", within=step[key] <= 1e-4)

    def beam(self):
        if beam := self.ours("beam"):
            difference = beam["relative_log_prob"]
            self.row("beam 3, log probability", difference, bound="<= 0.001", within=difference <= 1e-3)
            self.speed("beam 3, captions/s", beam["captions_per_second"], None)

    def vgg(self):
        ours, peers = self.ours("vgg") or {}, self.peer("vgg") or {}
        for name in TYPES:
            for batch, rate in ours.get(name, {}).items():
                peer = peers.get(name, {}).get(batch)
                least = peer if (name, batch) == ("bf16", "256") else None
                self.speed(f"VGG16 {name}, batch {batch}, images/s", rate, peer, least, ">= PyTorch")
        self.network = max(ours["bf16"].values()) if ours else None

    def extract(self):
        if run := self.ours("extract"):
            stages = {stage: run[stage]["images_per_second"] for stage in ("read", "decode", "encode", "write")}
            least = 0.9 * min(self.network, stages["decode"]) if self.network else None
            bound = f">= {least:,.1f}, 0.9 of VGG16 or decoding" if least else ""
            self.speed("extract, images/s", run["images_per_second"], None, least, bound)
            for stage, rate in stages.items():
                self.row(f"  {stage} alone, images/s", rate)
            self.difference("  fc7 as written", run["fc7"], SIXTEEN_BITS)
            self.row("  images that failed", str(run["failed"]), bound="0", within=run["failed"] == 0)

    def training(self):
        with tempfile.TemporaryDirectory() as directory:
            train.world(Path(directory), *sizes(self.quick), epochs=2)
            ours = self.ours("train", str(Path(directory) / "run.toml"))
        peer = self.peer("train")
        if ours:
            rate = peer["words_per_second"] if peer else None
            self.speed("training, words/s", ours["words_per_second"], rate, rate, ">= PyTorch")

    def everything(self):
        card = self.ours("device") or {}
        self.peer("versions")
        for part in self.fc7, self.step, self.beam, self.vgg, self.extract, self.training:
            try:
                part()
            except Exception as error:  # a number that is none, say: the other parts are still wanted
                self.failures.append(f"{part.__name__}: {error!r}")
        peak = max((part.get("memory") or 0 for part in self.result.values()), default=0)
        self.row("peak device memory, GiB", peak / 2**30)
        seconds = time.monotonic() - self.start
        self.row("this check, s", seconds, bound=f"< {BUDGET:.0f}", within=seconds < BUDGET)
        return card


def command(*words):
    """What a program prints; none where it is not there or fails."""
    try:
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def commit():
    """What the programs were built from: `just build-cuda` leaves it beside its copy of this script."""
    here = Path(__file__).parent
    file = here / "commit"
    return file.read_text().strip() if file.exists() else command("git", "-C", str(here), "describe", "--always", "--dirty")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="gpu-check")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or, to see that this check works, cpu")
    parser.add_argument("--quick", action="store_true", help="small sizes, no bounds on speed, wider ones on accuracy")
    parser.add_argument("--out", default="gpu-check.json")
    parser.add_argument("--peer", choices=PEERS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        print(json.dumps(PEERS[arguments.peer](arguments.device, arguments.quick)))
        return
    check = Check(arguments)
    card = check.everything()
    result = {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "driver": command("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"),
        "cores": len(os.sched_getaffinity(0)),
        "parts": check.result,
        "table": check.rows,
        "failures": check.failures,
    }
    peers = check.result.get("pytorch versions") or {}
    print(", ".join(f"{key} {value}" for key, value in {**card, "driver": result["driver"], "torch": peers.get("torch")}.items() if value))
    rows = [["", "nic", "PyTorch", "ratio", "bound", ""], *check.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:4], widths[1:4])), row[4].ljust(widths[4]), row[5]]
        print("  ".join(cells).rstrip())
    for failure in check.failures:
        print(f"FAIL {failure}")
    Path(arguments.out).write_text(json.dumps(result, indent=1) + "\n")
    print(f"written to {arguments.out}")
    sys.exit(1 if check.failures else 0)


if __name__ == "__main__":
    main()
