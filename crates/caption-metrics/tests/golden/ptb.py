"""Writes ptb.json: what pycocoevalcap's PTBTokenizer makes of lines of ours, and digests of what it
makes of real captions.

    pip install pycocoevalcap==1.2  # and Java
    python3 ptb.py TEST_DATA        # the directory that NIC_TEST_DATA names

`ptb.txt` is the corpus that the tokeniser was made with, `untuned` below one that it was not.
"""

import hashlib
import json
import random
import sys
from pathlib import Path

from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

HERE = Path(__file__).parent


def as_file(captions):
    """The words of each caption, all of them in one file as a scoring run has it."""
    tokenized = PTBTokenizer().tokenize({i: [{"caption": c}] for i, c in enumerate(captions)})
    return [line.split(" ") if line else [] for (line,) in tokenized.values()]


def alone(captions):
    """The words of each caption, none of which sees the next."""
    return as_file([line for caption in captions for line in (caption, "x")])[::2]


FRAMES = [
    "A {} on a {} next to the {}.", "two {}'s and one {} ({})", "The {} said \"{}\" - {}!", "{}, {}; {}: {}",
    "'{}' vs. ‘{}’ or “{}”", "{}/{} {}-{}", "{}{}{}", "{} {}{} {}", "{}.{}", "{}. The {}", "{}'{}", "{}-{}", "it's {}, isn't {}?",
    "<{}> {} [{}] {{{}}}", "{} & {} @ {} # {}", "{}...{}…{}", "No. {} {} St.", "${} or {}% {}", "{}\t{}\u00a0{}", "{}:{}", "@{} #{}",
    "http://{}.{}/{}", "{}@{}.{}", "www.{}.{}", "{}_{}", "{}&{}", "({}) {}", "{},{}", "{}–{}—{}", "{}n't {}'ll {}’s",
]
WORDS = (
    "giraffe kite t-bone X-ray Dr Prof Gov Sgt Dec Sept Tues Wed Calif Wash wash Ore Pty Ltd etc al ca fig op sq rev gen hon "
    "i.e e.g U.N u.k P.S a.k.a Ph.D B.Sc q z A I O'Hara d'oeuvre l'eau D'Angelo ma'am o'er 'tis 'twas n'est Qu'Appelle "
    "she'd we've they'll he'll who's 'cause 'til y'know cap'n li'l ol' goin' hafta gonna wanna gotta cannot gimme lemme dunno "
    "7 42 1,234 3.14 .75 1/8 2 3/4 10:15 10:15pm 6'2\" 5ft 9th '69 '70s 1990's 2000-2001 12/25/99 4-5-06 867-5309 (212)555-0100 "
    "212.555.0100 +49 30 1234567 1e6 0x1F 50's 3D 2-by-4 4x4 -7 +3 ±2 99¢ £9 €8.50 ¥700 US$3 NZ$4 #1 100% 45° 20°C "
    "sun@moon.net bob.smith@mail.co.uk https://t.co/Ab1?x=1&y=2 ftp://f.g www.site.org/page moon.com/x/y pic.jpeg notes.doc tool.exe "
    ":-) :( ;P =D >:[ :'( ^_^ (-_-) <3 xD B) :/ &amp; &lt; &quot; &apos; &nbsp; &#169; &eacute; &ndash; &hellip; <br> </div> <img src='a.png'> "
    "<!-- x --> naïve façade Ünal Ærø łódź čaj œuf москва ελληνικά δρόμος שלום سلام नमस्ते 東京 서울 ﬁn ½ ¾ ⅓ ⅞ ² ™ © • · … – — ‐ ‑ ‒ ― "
    "‘ ’ “ ” « » ‹ › „ ‚ ′ ″ \u00ad \u200b \u200d \ufeff \u0301 🐶 👩‍🚀 🇫🇷 ♥ ★ → × ÷ √ ~ ^ | \\ \\/ // -- --- ---- ------ .. ... .... ..... "
    "!! ?! ?? ** __ @@ ## $$ %% && == ++ << >> <= => -> ' '' ''' ` `` \" \"\" ( ) [ ] { } < > . , ; : ! ? - _ / & * + ="
).split(" ")


def untuned(seed, count):
    """Lines made of words, of pieces of words and of noise."""
    rng = random.Random(seed)
    alphabet = "aeiostnrdlmAEISTNDLUM0123456789.,-'’/&;:!?\"$%()<>@#_ é½\u00ad日"

    def word():
        kind = rng.random()
        if kind < 0.6:
            return rng.choice(WORDS)
        if kind < 0.7:
            return rng.choice(WORDS).upper()
        if kind < 0.8:
            return rng.choice(WORDS) + rng.choice(WORDS)
        if kind < 0.9:
            whole = rng.choice(WORDS)
            cut = rng.randrange(len(whole) + 1)
            return whole[:cut] + rng.choice(alphabet) + whole[cut:]
        return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 8)))

    def line():
        frame = rng.choice(FRAMES)
        return frame.format(*[word() for _ in range(frame.count("{}"))])

    return [line() for _ in range(count)]


def captions(path):
    data = json.loads(path.read_text())
    if "annotations" in data:
        return [annotation["caption"] for annotation in data["annotations"]]
    return [sentence["raw"] for image in data["images"] for sentence in image["sentences"]]


def digest(lines):
    """SHA-256 of a line of words for each caption."""
    return hashlib.sha256("".join(" ".join(words) + "\n" for words in lines).encode()).hexdigest()


def main():
    test_data = Path(sys.argv[1])
    tuned = (HERE / "ptb.txt").read_text().splitlines()
    fresh = untuned(seed=20, count=1000)
    corpora = [
        "coco-mini/annotations/captions_val2017.json",
        "coco-mini/annotations/captions_train2017.json",
        "flickr8k/dataset_flickr8k_trainval.json",
    ]
    golden = {
        "tuned": [[line, " ".join(words)] for line, words in zip(tuned, alone(tuned))],
        "tuned_file": [" ".join(words) for words in as_file(tuned)],
        "untuned": [[line, " ".join(words)] for line, words in zip(fresh, alone(fresh))],
        "corpora": {path: digest(as_file(captions(test_data / path))) for path in corpora},
    }
    (HERE / "ptb.json").write_text(json.dumps(golden, ensure_ascii=False, indent=0) + "\n")


if __name__ == "__main__":
    main()
