"""What somebody else's client sees of a bucket: s3.py put|get|list|delete s3://BUCKET/PREFIX [FILE or DIRECTORY]."""

import os
import sys
from pathlib import Path
from urllib.parse import urlparse

import boto3

verb, url, *path = sys.argv[1:]
bucket, prefix = urlparse(url).netloc, urlparse(url).path.strip("/")
s3 = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"])


def below():
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix + "/")
    return [item["Key"] for page in pages for item in page.get("Contents", [])]


match verb:
    case "put":
        here = Path(path[0])
        for file in [here] if here.is_file() else sorted(here.iterdir()):
            key = prefix if here.is_file() else f"{prefix}/{file.name}"
            s3.put_object(Bucket=bucket, Key=key, Body=file.read_bytes())
    case "get":
        Path(path[0]).mkdir()
        for key in below():
            body = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            (Path(path[0]) / key.rsplit("/", 1)[1]).write_bytes(body)
    case "list":
        print("\n".join(key.removeprefix(prefix + "/") for key in below()))
    case "delete":
        s3.delete_object(Bucket=bucket, Key=prefix)
