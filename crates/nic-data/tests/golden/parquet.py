"""Writes the Parquet files of this folder with pyarrow, and what is in them to parquet.json.

    pip install pyarrow pillow && python parquet.py
"""

import io
import json
import pathlib

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

here = pathlib.Path(__file__).parent


def png(number):
    out = io.BytesIO()
    Image.new("RGB", (2, 1), (number * 20, 255 - number * 20, 7)).save(out, "png")
    return out.getvalue()


# What a reader should find: file -> [id, captions, image in hexadecimal or null]
expected = {}

# As COCO_captions_* on the hub: a struct with the image, a list of captions; null and empty lists, null captions, a
# row without an image. Everything that Parquet offers, in one file each.
ids = [391895, 522418, 184613, 318219, 554625, 574769, 60623]
captions = [
    ["A paper kite shaped like a fish hangs over an empty harbour. ", "Blue kite above boats", "ein Mädchen, 日本"],
    ["Two gardeners argue about where the pear tree should go. "] * 2,
    None,
    [],
    ["one", None, "three"],
    ["An unlit lantern stands on crates."],
    [f"caption {i}" for i in range(50)],
]
images = [None if i == 3 else {"bytes": png(i), "path": f"{i:012}.png"} for i in range(7)]
images[5] = {"bytes": None, "path": "elsewhere.png"}
coco = pa.table(
    {
        "image": pa.array(images, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "filepath": ["val2014"] * 7,
        "sentids": [[i, i + 1] for i in range(7)],
        "cocoid": pa.array(ids, pa.int64()),
        "sentences_raw": pa.array(captions, pa.list_(pa.string())),
    }
)
rows = [
    [i, [c for c in cs or [] if c is not None], im["bytes"].hex() if im and im["bytes"] else None]
    for i, cs, im in zip(ids, captions, images)
]
for name, options in {
    "plain": dict(compression="none", use_dictionary=False),
    "snappy": dict(compression="snappy", row_group_size=3),
    "gzip": dict(compression="gzip", data_page_version="2.0", row_group_size=1),
    "zstd": dict(compression="zstd", data_page_version="2.0"),
    "lz4": dict(compression="lz4", use_dictionary=["sentences_raw", "image.bytes"]),
    "pages": dict(compression="snappy", use_dictionary=False, data_page_size=64, write_batch_size=1),
    "pages2": dict(compression="zstd", data_page_version="2.0", data_page_size=64, write_batch_size=1),
    "index": dict(compression="snappy", data_page_size=64, write_batch_size=1, write_page_index=True),
}.items():
    pq.write_table(coco, here / f"coco-{name}.parquet", **options)
    expected[f"coco-{name}.parquet"] = rows

# As jxie/flickr8k: no id, the path leads with it; five columns of captions.
names = ["1000268201_693b08cb0e.jpg", "1001773457_577c3a7d70.jpg", "1002674143_1b742ab4b8.jpg"]
table = {
    "image": pa.array(
        [{"bytes": png(i), "path": name} for i, name in enumerate(names)],
        pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    )
}
for k in range(5):
    table[f"caption_{k}"] = pa.array([None if (i, k) == (1, 3) else f"image {i}, caption {k}" for i in range(3)])
pq.write_table(pa.table(table), here / "flickr8k.parquet")
expected["flickr8k.parquet"] = [
    [int(name.split("_")[0]), [f"image {i}, caption {k}" for k in range(5) if (i, k) != (1, 3)], png(i).hex()]
    for i, name in enumerate(names)
]

# The same without paths: the rows' numbers are the ids; the image is plain bytes.
table["image"] = pa.array([png(i) for i in range(3)], pa.large_binary())
pq.write_table(pa.table(table), here / "nameless.parquet")
expected["nameless.parquet"] = [[i, row[1], row[2]] for i, row in enumerate(expected["flickr8k.parquet"])]

# One row a caption, the split in a column, names that have to be set; ids as text.
rows = [(k // 2, k % 2) for k in range(8)]
pq.write_table(
    pa.table(
        {
            "key": [f"{i + 100:012}" for i, _ in rows],
            "jpg": pa.array([png(i) for i, _ in rows], pa.binary()),
            "text": [f"image {i}, caption {k}" for i, k in rows],
            "part": [["train", "restval", "validation", "test"][i] for i, _ in rows],
            "file": [f"{i + 100}.jpg" for i, _ in rows],
        }
    ),
    here / "captions.parquet",
    row_group_size=3,
)
expected["captions.parquet"] = [
    [i + 100, [f"image {i}, caption {k}" for k in range(2)], png(i).hex()] for i in range(4)
]

(here / "parquet.json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n")
