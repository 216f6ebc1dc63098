"""Spark through S3A, with the committer that it has by default: it renames, which in S3 is copying and deleting.

PACKAGES names hadoop-aws as it fits this Spark, IVY is where it is kept. The keys it finds in the environment.
"""

import json
import os
import sys

from pyspark.sql import SparkSession

source, target = sys.argv[1:]
settings = {
    "spark.jars.packages": os.environ["PACKAGES"],
    "spark.jars.ivy": os.environ["IVY"],
    "spark.ui.enabled": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "700m",
    "spark.sql.shuffle.partitions": "4",
    "spark.hadoop.fs.s3a.endpoint": os.environ["S3_ENDPOINT"],
    "spark.hadoop.fs.s3a.endpoint.region": "us-east-1",
    "spark.hadoop.fs.s3a.path.style.access": "true",
    "spark.hadoop.fs.s3a.connection.ssl.enabled": "false",
}
builder = SparkSession.builder.master("local[2]").appName("totals")
for name, value in settings.items():
    builder = builder.config(name, value)
spark = builder.getOrCreate()
if target == "-":
    found = spark.read.parquet(f"s3a://{source}/totals").collect()
    print(json.dumps({row["sensor"]: row["value"] for row in found}))
else:
    readings = spark.read.option("header", True).csv(f"s3a://{source}/", schema="sensor STRING, value LONG")
    totals = readings.groupBy("sensor").sum("value").withColumnRenamed("sum(value)", "value")
    totals.write.parquet(f"s3a://{target}/totals")
    totals.write.mode("overwrite").partitionBy("sensor").csv(f"s3a://{target}/partitioned")
spark.stop()
