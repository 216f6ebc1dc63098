"""pandas over s3fs: it finds the endpoint and the keys of the job in the environment."""

import json
import sys

import pandas
import s3fs

source, target = sys.argv[1:]
s3 = s3fs.S3FileSystem(use_listings_cache=False)
if target == "-":
    totals = pandas.read_parquet(f"s3://{source}/totals.parquet")
    print(json.dumps(dict(zip(totals["sensor"], totals["value"].tolist(), strict=True))))
else:
    readings = pandas.concat(pandas.read_csv(f"s3://{key}") for key in s3.glob(f"{source}/*.csv"))
    totals = readings.groupby("sensor", as_index=False)["value"].sum()
    totals.to_parquet(f"s3://{target}/totals.parquet")
    assert s3.exists(f"{target}/totals.parquet")
    assert pandas.read_parquet(f"s3://{target}/totals.parquet").equals(totals)
