"""Times `caption score` against pycocoevalcap, turn by turn, and compares their scores.

    pip install pycocoevalcap==1.2
    python3 benches/peers/score.py captions_val2017.json target/release/caption [ROUNDS]

Every image's candidate is the first caption of the next image, and all its own captions are
its references. pycocoevalcap is timed from the captions as Python has them to the scores: its tokeniser (with Java's
start), BLEU, ROUGE-L and CIDEr-D. `caption score` is timed as a process, reading the two files included.
"""

import contextlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer


def peer(references, results):
    with contextlib.redirect_stdout(io.StringIO()):
        references = PTBTokenizer().tokenize(references)
        results = PTBTokenizer().tokenize(results)
        bleu, _ = Bleu(4).compute_score(references, results)
        rouge, _ = Rouge().compute_score(references, results)
        cider, _ = Cider().compute_score(references, results)
    scores = {f"bleu_{k + 1}": score for k, score in enumerate(bleu)}
    return {**scores, "rouge_l": rouge, "cider_d": cider}


def timed(run):
    """Seconds by the clock, seconds of all processors, and what `run` gives."""
    start, before = time.perf_counter(), sum(os.times()[:4])
    found = run()
    return time.perf_counter() - start, sum(os.times()[:4]) - before, found


def main(captions, program, rounds=5):
    coco = json.loads(pathlib.Path(captions).read_text())
    references = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        references[annotation["image_id"]].append({"caption": annotation["caption"]})
    images = list(references)
    results = {image: [references[other][0]] for image, other in zip(images, images[1:] + images[:1])}
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump([{"image_id": image, **captions[0]} for image, captions in results.items()], file)
        file.flush()
        command = [program, "score", "--references", captions, "--results", file.name, "--json"]
        command += ["--metrics", "bleu,rouge_l,cider"]
        ours = lambda: json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        print("pycocoevalcap (processors)   caption (processors)   ratio (processors)")
        ratios = []
        for _ in range(int(rounds)):
            slow, slow_all, expected = timed(lambda: peer(references, results))
            fast, fast_all, found = timed(ours)
            ratios.append((slow / fast, slow_all / fast_all))
            print(f"{slow:11.2f} s {slow_all:9.2f} s {fast:9.3f} s {fast_all:8.3f} s", "{:7.1f} {:9.1f}".format(*ratios[-1]))
    print("medians {:.1f} and {:.1f}".format(*(sorted(each)[len(ratios) // 2] for each in zip(*ratios))))
    for name, score in expected.items():
        print(f"{name:8} {score:.12f} {found[name]:.12f} difference {abs(score - found[name]):.1e}")


if __name__ == "__main__":
    main(*sys.argv[1:])
