"""Writes coco.json: pycocoevalcap's scores on COCO's captions_val2017.json, tokenised by its Java tokeniser.

    pip install pycocoevalcap==1.2 && python3 coco.py .../captions_val2017.json

Every image's candidate is the first caption of the next image, and all its own captions are its references; of the
single images' scores every 50th is kept.
"""

import json
import pathlib
import sys

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

from scores import scores

HERE = pathlib.Path(__file__).parent
EVERY = 50


def main(captions):
    coco = json.loads(pathlib.Path(captions).read_text())
    references = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        references[annotation["image_id"]].append({"caption": annotation["caption"]})
    images = list(references)
    results = {image: [references[other][0]] for image, other in zip(images, images[1:] + images[:1])}
    references = PTBTokenizer().tokenize(references)
    results = PTBTokenizer().tokenize(results)
    found = scores([{"references": references[i], "candidate": results[i][0]} for i in images], None)
    for score in found.values():
        score["images"] = score["images"][::EVERY]
    (HERE / "coco.json").write_text(json.dumps({"every": EVERY, "scores": found}, indent=0) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
