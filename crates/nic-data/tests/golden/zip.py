"""Writes the archives of this folder with Python's zipfile. An image is a few bytes of text here.

    python zip.py
"""

import pathlib
import zipfile

here = pathlib.Path(__file__).parent


def write(name, entries, compression=zipfile.ZIP_STORED, zip64=False):
    with zipfile.ZipFile(here / name, "w", compression) as archive:
        for entry, content in entries:
            info = zipfile.ZipInfo(entry, (2014, 9, 1, 0, 0, 0))
            info.compress_type = compression
            with archive.open(info, "w", force_zip64=zip64) as file:
                file.write(content)


# the form of the official COCO archives
write("stored.zip", [("val2014/", b""), ("val2014/1.jpg", b"stored 1"), ("val2014/2.jpg", b"stored 2")])
write("deflated.zip", [("3.jpg", b"deflated " * 100), ("a/b/4.jpg", b"")], zipfile.ZIP_DEFLATED)
write("zip64.zip", [("val2014/5.jpg", b"zip64")], zip64=True)
write("twice.zip", [("a/6.jpg", b"first"), ("b/6.jpg", b"second"), ("7.jpg", b"seventh")])
write("bad_crc.zip", [("1.jpg", b"fine"), ("2.jpg", b"damaged"), ("3.jpg", b"fine too")])
bytes_ = (here / "bad_crc.zip").read_bytes()
(here / "bad_crc.zip").write_bytes(bytes_.replace(b"damaged", b"damagEd"))
write("bzip2.zip", [("1.jpg", b"a method that is not built in")], zipfile.ZIP_BZIP2)
