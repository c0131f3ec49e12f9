"""Writes scores.json: small corpora of our own, tokenised, with the scores that pycocoevalcap gives them.

    pip install pycocoevalcap==1.2 && python3 scores.py

Plain CIDEr, and CIDEr with the document frequencies of another corpus, are not in pycocoevalcap: its CIDEr-D is changed
in those lines while it is loaded.
"""

import contextlib
import inspect
import io
import json
import math
import pathlib
import random

import numpy as np
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider import cider_scorer
from pycocoevalcap.rouge.rouge import Rouge

HERE = pathlib.Path(__file__).parent


def variant(*changes):
    """CiderScorer with lines changed."""
    source = inspect.getsource(cider_scorer)
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    module = {}
    exec(source, module)
    return module["CiderScorer"]


OWN_LENGTH = ("self.ref_len = np.log(float(len(self.crefs)))", "")
NO_CLIP = ("min(vec_hyp[n][ngram], vec_ref[n][ngram])", "vec_hyp[n][ngram]")
NO_GAUSSIAN = ("val[n] *= np.e**(-(delta**2)/(2*self.sigma**2))", "")
CIDER_D = variant(OWN_LENGTH)
CIDER = variant(OWN_LENGTH, NO_CLIP, NO_GAUSSIAN)


def cider(scorer_class, images, others):
    scorer = scorer_class()
    for image in images:
        scorer += (image["candidate"], image["references"])
    frequencies = scorer_class()
    for references in others:
        frequencies += (None, references)
    frequencies.compute_doc_freq()
    scorer.document_frequency = frequencies.document_frequency
    scorer.ref_len = np.log(float(len(others)))
    scores = scorer.compute_cider()
    return float(np.mean(scores)), [float(score) for score in scores]


def scores(images, others):
    gts = {number: image["references"] for number, image in enumerate(images)}
    res = {number: [image["candidate"]] for number, image in enumerate(images)}
    with contextlib.redirect_stdout(io.StringIO()):
        bleu = Bleu(4).compute_score(gts, res)
    rouge = Rouge().compute_score(gts, res)
    own = [image["references"] for image in images]
    found = {f"bleu_{k + 1}": (bleu[0][k], bleu[1][k]) for k in range(4)}
    found["rouge_l"] = (float(rouge[0]), rouge[1].tolist())
    found["cider_d"] = cider(CIDER_D, images, others or own)
    found["cider"] = cider(CIDER, images, others or own)
    if not others and any("".join(references).strip() for references in own):
        # the change above changed nothing but where the frequencies come from
        assert math.isclose(cider_scorer_score(images), found["cider_d"][0], abs_tol=1e-12)
    return {name: {"corpus": corpus, "images": each} for name, (corpus, each) in found.items()}


def cider_scorer_score(images):
    scorer = cider_scorer.CiderScorer()
    for image in images:
        scorer += (image["candidate"], image["references"])
    return float(scorer.compute_score()[0])


def image(candidate, *references):
    return {"candidate": candidate, "references": list(references)}


ORDINARY = [
    image("a brown dog runs over the wet sand", "a dog runs along the beach", "the brown dog is running on wet sand",
          "a wet dog on the sand", "brown dog running", "an animal that runs over sand by the sea"),
    image("two girls sit on a bench", "two girls are sitting on a wooden bench", "girls on a bench in the park",
          "two children sit side by side", "a pair of girls rest on a bench", "two girls sit on a bench"),
    image("a man with a red hat", "a man in a red hat holds a map", "man with map and red hat", "someone reads a map",
          "the man 's hat is red", "a tourist looks at a map"),
    image("a train", "an old steam train crosses a bridge", "a train on a high bridge", "steam rises from a train",
          "the train is on the bridge", "a black engine pulls four carriages over a stone bridge"),
]

CORPORA = {
    "ordinary": ORDINARY,
    "one image": ORDINARY[:1],
    "one reference each": [image(i["candidate"], i["references"][0]) for i in ORDINARY],
    "references in different numbers": [image(i["candidate"], *i["references"][:n + 1]) for n, i in enumerate(ORDINARY)],
    "repeated words": [
        image("the the the the the the the", "the cat is on the mat", "there is a cat on the mat"),
        image("a a a b b a a a b b", "a a b", "b b a a a a b"),
        image("cat cat", "cat", "cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat cat"),
    ],
    "empty captions": [
        image("", "a kite in the sky", "a kite"),
        image("a kite", "", "a kite in the sky"),
        image("a kite flies", "", ""),
        image("", ""),
        image("", "", "kite"),
    ],
    "nothing but empty captions": [image("", ""), image("", "", "")],
    "short captions": [
        image("dog", "dog"), image("dog", "a dog"), image("a dog", "dog"), image("a dog runs", "a dog runs"),
        image("cat", "a very small dog"), image("one two three four", "one two three four"),
    ],
    "lengths as near on both sides": [
        image("a b c d", "a b c", "a b c d e"), image("a b c d", "a b c d e", "a b c"), image("a b c d", "a b", "a"),
    ],
    "the same references everywhere": [image("a bus", "a bus stops"), image("a bus stops here", "a bus stops")],
    "whitespace inside tokens": [
        image("cut 1\u00a01/2 inches", "cut 1 1/2 inches", "1\u00a01/2 inches"),
        image("a\x1fb c\u3000d", "a b c d", "c\u3000d a\x1fb"),
        image("\u00a0", "a", "\u00a0"),
    ],
    "no word in common": [image("x y z x", "a b c"), image("p q", "r s t u v w", "t")],
    "other letters": [image("el niño señala el avión ✈", "un niño señala un avión ✈", "el niño y el avión"),
                      image("NIÑO", "niño"), image("犬 が 走る", "犬 が 海辺 を 走る")],
}


def random_corpus(rng):
    """Few words, so that n-grams meet often."""
    words = [chr(ord("a") + k) for k in range(rng.randint(1, 12))]
    longest = rng.choice([3, 8, 25])
    sentence = lambda: " ".join(rng.choice(words) for _ in range(rng.randint(0, longest)))
    return [image(sentence(), *(sentence() for _ in range(rng.randint(1, 6)))) for _ in range(rng.randint(1, 8))]


def main():
    rng = random.Random(8)
    cases = [{"name": name, "images": images} for name, images in CORPORA.items()]
    cases += [{"name": f"random {n}", "images": random_corpus(rng)} for n in range(24)]
    other = [i["references"] for i in ORDINARY]
    cases.append({"name": "frequencies of another corpus", "images": CORPORA["short captions"], "others": other})
    cases.append({"name": "frequencies of a smaller corpus", "images": ORDINARY, "others": other[:2]})
    for n in range(6):
        others = [i["references"] for i in random_corpus(rng)]
        cases.append({"name": f"random frequencies {n}", "images": random_corpus(rng), "others": others})
    for case in cases:
        case["scores"] = scores(case["images"], case.get("others"))
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "scores.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
