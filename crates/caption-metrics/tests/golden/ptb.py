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
    "The {} near {}'s {} reads \"{} {}\".", "a {}-{} {} (with {})", "{}; {} -- {}", "“{}” or ‘{}’?", "{}/{} at {}:{}", "{}{}", "{}{}{}",
    "{} {} {}", "{}.{}.{}", "{}. It {}", "{}, A {}", "{}' {}", "{}’s {}`s", "{}-{}-{}", "<{} {}='{}'>{}</{}>", "[{}] {{{}}}", "{}&{}+{}",
    "#{} @{} ${}", "{}…{} . . . {}", "art. {} cf. {}", "{}% of {}", "{}\t{}\u00a0{}", "({}) {}-{}", "https://{}.com/{}?{}={}", "{}@{}.org",
    "www.{}.net/{}", "{}_{}.{}", "{},{};{}", "{}—{}–{}-{}", "{}n't {}'d've", "{}!?{}", "\\{}\\{}", "{}*{}~{}^{}", "{} {}/{} {}", "&{};{}",
]
WORDS = (
    "zebra skate-park B-52 T.G.I.F m.p.h R&D Lt Hon Mlle Bros Esq Aug Thurs Ariz Miss miss Ark Tex tex Az pte PTY ppty mtg figs Nos pp seq ibid "
    "a.s.a.p. N.Y. D.C d.j e.g viz St Ste Mt Ft rt Rte rd vs V.S J K i You The But so I'm O'Neil o'neil d'Ivoire l'Oreal j'ai n'a N'Sync m'lady "
    "he's she'll you'd we're I've 'd 'LL that'll ain't mustn't amn't n't 'n' 'N 'em 'til 'tis 'Twas 'cause 'bout '66 '20s '7 s' x' ol' dunkin' "
    "runnin' c'est Cap'n ne'er li'l Pe'a ya'll Y'all gimme Lemme GONNA gottas wanna cannot can't've y'uns whatcha whaddya d'ya more'n "
    "0 3 88 2,500 10,00 6.02 .5 5. 1/4 11/12 7 5/8 3-1/2 23:59 8:05am 5'4 5'4\" 2nd 21ST '99 '80's 1880s 1914-18 31/12/1999 7-4-76 555-0199 "
    "(303)555-0123 303-555-0123 303.555.0123 +1-303-555-0123 +44 020 1e-9 0xFF 4WD 7up 10x10 1:1 -1 +5 ±0.1 7¢ £1,000 €2 ¥3 C$8 $1.2m #9 9# 7% 90° -4°F "
    "ann@zoo.org a.b@c-d.co.uk <jo@go.gov> http://zoo.org https://a.b.c/d_e(f) ftp://x www.zoo.com www.go zoo.org/map zoo.net cat.gif a.b.zip run.py x.tar.gz x.c "
    ":D ;-) =( :-P >:D :'-) <:) ^.^ (^_^) (>_<) (^-^) o_O T_T <33 :3 c: &amp; &lt;b&gt; &quot;x&quot; &apos;s &nbsp; &#8212; &uuml; &ntilde; &mdash; &MD; "
    "<p> </p> <br/> <a href=\"x\"> <3 <-- --> <!doctype> <?php naïve Zoë Ångström żubr ĳs œil ǆ жук ΑΒΓ σίγμα ירוק أحمر २४ ตลาด 寿司 キス 김치 ﬂy "
    "¼ ⅓ ⅝ ½x 5½ ¹ ₃ ª º ™ ® § ¶ † ‡ • · ‥ … ‰ – — ‐ ‑ ― − ‘ ’ ‚ “ ” „ « » ‹ › ′ ″ ´ ¨ ¸ \u00ad \u200b \u200d \u2009 \u3000 \ufeff \u0301 \u0327 "
    "🦒 👨‍👩‍👧 🏳️‍🌈 ☂ ♫ ✔ ← ⇒ ∑ ∞ ≈ ≠ ¬ ¦ ~ ^ | \\ / // --- -- - ----- . .. ... .... ...... ! !! ?! ? * ** *** _ __ @ @@ # ## $ $$ % & && + ++ = == < << > >> "
    "' '' ''' ` `` \" \"\" ( ) (( )) [ ] { } , ,, ; : :: C# C++ F# .NET A+ S&P-500 S&Ls C.D.s pro- anti- -LRB- -rsb- AC/DC he/she w/o n/a km/h Jr Ph.D Ed.D"
).split(" ")


def untuned(seed, count):
    """Lines made of words, of pieces of words and of noise."""
    rng = random.Random(seed)
    alphabet = "aeiouhstnrdlmkAEISTNDLUM0123456789.,-'’/&;:!?\"$%()<>@#_ ü¼\u00ad字"

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
    fresh = untuned(seed=1, count=1000)
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
