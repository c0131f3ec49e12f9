"""Writes meteor.json: what METEOR 1.5 makes of sentences of our own, and meteor_coco.json: of COCO's captions.

    pip install pycocoevalcap==1.2 && python3 meteor.py [.../captions_val2017.json]

METEOR runs under Java, as pycocoevalcap runs it; the sentences reach it as they are. In meteor_coco.json every image's
candidate is the first caption of the next image, and all its own captions are its references: `ptb` as the Java
tokeniser cuts them, `split` in lower case and cut at spaces, which leaves METEOR's own tokenisation the more to do; of
the single images' scores every 5th is kept.
"""

import json
import pathlib
import random
import sys

from pycocoevalcap.meteor.meteor import Meteor
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

HERE = pathlib.Path(__file__).parent
EVERY = 5

# a candidate, then its references
WRITTEN = [
    # the same, reordered, repeated, nothing in common
    ["a brown dog runs", "a brown dog runs"],
    ["dog", "dog"],
    ["the", "the"],
    ["runs dog brown a", "a brown dog runs"],
    ["a dog runs brown", "a brown dog runs"],
    ["a brown dog runs a brown dog runs", "a brown dog runs"],
    ["a brown dog runs", "a brown dog runs a brown dog runs"],
    ["the the the the the the", "the cat the mat the rat"],
    ["seven clocks tick", "two cats sleep"],
    ["a dog and a cat and a bird and a fish", "a fish and a bird and a cat and a dog", "a dog and a bird"],
    # empty
    ["", "a brown dog runs"],
    ["a brown dog runs", ""],
    ["", ""],
    ["a brown dog runs", "", "a brown dog"],
    [" ", " a  brown dog "],
    ["a  brown   dog", "a brown dog"],
    # stems
    ["dogs running quickly", "a dog runs quick"],
    ["the cats were sleeping on the beds", "a cat sleeps on a bed", "cats that sleep"],
    ["he hopefully nationalized the generously relational operators", "hope nation generous relate operate"],
    ["skies dying lying tying news innings", "sky die lie tie new inning"],
    # synonyms, by the word itself, by a regular and by an irregular base form
    ["a big automobile", "a large car"],
    ["two autos on the street", "a car in the road"],
    ["the mice gnaw", "a mouse nibbles"],
    ["women and children", "a lady and a child", "a woman and a kid"],
    ["geese flew over the oxen", "a goose flies above an ox"],
    ["the glass broke", "the drinking glasses are breaking"],
    ["a tiny infant laughs", "a small baby giggles", "a little kid laughs"],
    ["he is quicker and the bigger of the boxes", "fast and large crates"],
    ["firemen with torches and axes", "a fireman holds a torch and an axe"],
    # paraphrases
    ["a man in front of a house", "a man before a house", "a man outside a house"],
    ["a number of people are waiting", "several people wait", "many persons wait", "a lot of folks waiting"],
    ["she sits next to him", "she sits beside him", "she is sitting close to him"],
    ["because of the rain", "due to the rain", "owing to the rain", "as a result of rain"],
    ["at the same time as the bus", "while the bus", "simultaneously with the bus"],
    ["he has to go in order to see it", "he must go to see it", "he needs to leave so that he can see it"],
    ["a large number of birds take part", "a great many birds participate", "lots of birds are involved"],
    ["a couple of men are about to eat", "two men will eat", "a pair of guys ready to eat"],
    # punctuation and quotes
    ["A Dog, a cat; and (perhaps) a bird!", "a dog , a cat ; and ( perhaps ) a bird !"],
    ["'stop' said the sign", "`stop' said the sign", "\u2018stop\u2019 said the sign", '"stop" said the sign'],
    ["the \u201cbig\u201d one", "the ''big'' one", 'the "big" one'],
    ["a man 's dog does n't bark", "a man's dog doesn't bark", "a mans' dog doesnt bark"],
    ["rock'n'roll at five o'clock", "rock 'n' roll at 5 o'clock"],
    ["the '90s and the 1990's", "the 90 's and the 1990s"],
    ["a black-and-white photo", "a black and white photo", "a black\u2013and\u2013white photo", "black--and--white"],
    ["one-two-three-four", "one two three four"],
    ["a-b-c-d e-f", "a b c d e f"],
    ["well... maybe..no", "well ... maybe .. no", "well. . . maybe no"],
    ["red,green,blue,and,white", "red , green , blue , and , white", "red green blue and white"],
    ["a dog | a cat || a bird", "a dog a cat a bird"],
    ["a dog ||| a cat", "a dog a cat"],
    ["a dog a cat", "a bird ||| a cat", "a dog|||a cat a dog"],
    ["cats & dogs @ home #1 100% $5 *new* <b> [x] {y} ~ ^ = + _ \\ /", "cats and dogs at home 1 100 5 new b x y"],
    [". . .", "."],
    ["' '' ' \" `", "' \" '"],
    ["`  `-", "`  `-", "` `-"],
    ["' ' '  '  'x'  'y' z", "'  '  ' ' 'x' 'y' z"],
    # numbers and full stops
    ["1,000 people at 3.5 km", "1000 people at 3.5 km", "1 , 000 people at 3 . 5 km", "1.000 people at 3,5 km"],
    ["bus no. 5 stops here.", "bus no 5 stops here", "bus No. 5 stops here", "bus number 5 stops here ."],
    ["say No. he left", "say no . he left", "say No.5 he left"],
    ["mr. and mrs. fox met Dr. Hen", "Mr. and Mrs. Fox met dr. hen", "mr and mrs fox met dr hen"],
    ["from the u.s. to the U.K. at 5 p.m.", "from the us to the uk at 5 pm", "from the u . s . to the u . k ."],
    ["it ends. Then it begins. and goes on.", "it ends . then it begins . and goes on ."],
    ["e.g. this vs. that", "eg this vs that", "e.g this vs . that"],
    ["version 1.2.3. is out", "version 1.2.3 is out", "version 1.2.3 . is out"],
    # other alphabets, spaces and symbols
    ["un caf\u00e9 na\u00efve", "un cafe naive", "un CAF\u00c9 NA\u00cfVE"],
    ["\u0421\u041e\u0411\u0410\u041a\u0410 \u0431\u0435\u0436\u0438\u0442", "\u0441\u043e\u0431\u0430\u043a\u0430 \u0431\u0435\u0436\u0438\u0442"],
    ["\u72ac\u304c\u8d70\u308b", "\u72ac \u304c \u8d70 \u308b", "\u72ac\u304c\u8d70\u308b"],
    ["a dog \U0001f600 runs", "a dog\U0001f600runs", "a dog runs"],
    ["cut 1\u00a01/2 inches", "cut 1 1/2 inches", "cut\u30001\u20031\u2044 2 inches"],
    ["\u039f\u0394\u039f\u03a3 \u0130stanbul Stra\u00dfe", "\u03bf\u03b4\u03bf\u03c2 i\u0307stanbul strasse"],
    ["a\tdog\x0bruns\x0cfast", "a dog runs fast", "a dog\x0bruns fast"],
    ["\x01 a dog \x02 runs \x03", "a dog runs", "a dog \x02 runs"],
    # words that METEOR takes for one another: Java's hash codes are equal
    ["a lugavohum", "a mimihummi"],
    ["the lutronarten of lugavohum", "the humdelkori of mimihummi"],
    # long, with words that come again: more paths than the beam holds
    ["the dog " * 20, "the dog and the cat " * 8],
    ["a man and a woman and a boy and a girl and a dog and a cat and a bird on a bench in a park by a lake",
     "on a bench in a park by a lake a bird and a cat and a dog and a girl and a boy and a woman and a man"],
    ["one two three one two three one two three one two three", "three two one three two one three two one"],
    ["big large huge big large huge big large huge", "huge big large huge big large", "large large large big"],
    ["run runs running ran run runs running ran", "running run ran runs running run"],
    ["close to next to beside near close to next to", "next to near close to by beside near to close"],
]

SUBJECTS = [["a man", "a guy", "the gentleman", "a male person", "one man"],
            ["two women", "a couple of ladies", "a pair of women", "2 females", "the women"],
            ["a little boy", "a small child", "a young kid", "the boy", "a toddler"],
            ["several people", "a group of people", "a number of persons", "a crowd", "many folks"],
            ["a brown dog", "a dog with brown fur", "the tan puppy", "a big brown dog", "dogs"],
            ["the cat", "a kitten", "a gray cat", "one of the cats", "a cat's kitten"]]
VERBS = [["is running", "runs", "ran", "jogs", "was sprinting"],
         ["sits", "is sitting", "is seated", "sat down", "rests"],
         ["is looking", "looks", "gazes", "stares", "is watching"],
         ["jumps", "is jumping", "leaps", "hops up", "jumped"],
         ["eats", "is eating a meal", "has dinner", "dines", "is having something to eat"]]
PLACES = [["on the street", "in the road", "along a street", "on the side of the road", "down the path"],
          ["next to a couch", "beside the sofa", "near a couch", "close to the sofa", "by the couch"],
          ["in front of a car", "before an automobile", "ahead of the car", "at the front of a vehicle", "by cars"],
          ["in a big field", "on a large meadow", "across the grassy field", "in fields of grass", "outdoors"],
          ["at the beach", "on the shore", "by the sea", "near the ocean", "on a sandy beach"]]
MORE = [["", " in the morning", " .", ", happily", " at the same time"],
        [" because of the rain", " due to rain", " as it rains", "", " in the rain"],
        [" with a red ball", " holding a ball", " and a ball", " with 2 balls", ""]]


def scene(rng):
    """A candidate and one to five references that say much the same."""
    parts = [rng.choice(group) for group in (SUBJECTS, VERBS, PLACES, MORE)]

    def say():
        subject, verb, place, more = (rng.choice(part) for part in parts)
        order = rng.random()
        if order < 0.7:
            return f"{subject} {verb} {place}{more}"
        if order < 0.85:
            return f"{place} {subject} {verb}{more}"
        return f"There is {subject} that {verb} {place}{more}."

    def disturb(sentence):
        words = sentence.split(" ")
        match rng.randrange(8):
            case 0:
                rng.shuffle(words)
            case 1:
                del words[rng.randrange(len(words))]
            case 2:
                words += words[rng.randrange(len(words)):]
            case 3:
                at = rng.randrange(len(words))
                words = words[at:] + words[:at]
            case 4:
                words = [word.capitalize() for word in words]
        return " ".join(words)

    return [disturb(say())] + [say() for _ in range(rng.randint(1, 5))]


def score(cases):
    """The corpus' score and every case's."""
    numbered = range(len(cases))
    return Meteor().compute_score({i: cases[i][1:] for i in numbered}, {i: cases[i][:1] for i in numbered})


def own():
    rng = random.Random(1)
    cases = WRITTEN + [scene(rng) for _ in range(300)]
    corpus, images = score(cases)
    found = [{"candidate": c, "references": r, "score": s} for (c, *r), s in zip(cases, images)]
    lines = ",\n".join(json.dumps(case) for case in found)
    (HERE / "meteor.json").write_text(f'{{"corpus": {corpus}, "cases": [\n{lines}\n]}}\n')


def coco(captions):
    coco = json.loads(pathlib.Path(captions).read_text())
    images = {image["id"]: [] for image in coco["images"]}
    for annotation in coco["annotations"]:
        images[annotation["image_id"]].append({"caption": annotation["caption"]})
    ptb = list(PTBTokenizer().tokenize(images).values())
    split = [[" ".join(c["caption"].lower().split()) for c in captions] for captions in images.values()]
    golden = {"every": EVERY}
    for name, references in ("ptb", ptb), ("split", split):
        corpus, scores = score([[b[0], *a] for a, b in zip(references, references[1:] + references[:1])])
        golden[name] = {"corpus": corpus, "images": scores[::EVERY]}
    (HERE / "meteor_coco.json").write_text(json.dumps(golden, indent=0) + "\n")


if __name__ == "__main__":
    own()
    for captions in sys.argv[1:]:
        coco(captions)
