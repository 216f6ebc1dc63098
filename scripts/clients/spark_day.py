"""Spark over S3A: a partitioned table written and read, and an older commit read. The committer is the first argument.

`s3a://master.REPO` needs nothing but the endpoint, path style and a pair of keys.
"""

import os
import sys

from pyspark.sql import SparkSession

E = os.environ
committer = sys.argv[1]
builder = (
    SparkSession.builder.master("local[2]")
    .config("spark.ui.enabled", "false")
    .config("spark.jars.packages", E["PACKAGES"])
    .config("spark.jars.ivy", E["IVY"])
    .config("spark.hadoop.fs.s3a.endpoint", E["ENDPOINT"])
    .config("spark.hadoop.fs.s3a.endpoint.region", "us-east-1")
    .config("spark.hadoop.fs.s3a.path.style.access", "true")
    .config("spark.hadoop.fs.s3a.access.key", E["KEY"])
    .config("spark.hadoop.fs.s3a.secret.key", E["KEY"])
    .config("spark.hadoop.fs.s3a.connection.ssl.enabled", "false")
)
if committer == "magic":
    builder = (
        builder.config("spark.hadoop.fs.s3a.committer.name", "magic")
        .config("spark.hadoop.fs.s3a.committer.magic.enabled", "true")
        .config(
            "spark.hadoop.mapreduce.outputcommitter.factory.scheme.s3a",
            "org.apache.hadoop.fs.s3a.commit.S3ACommitterFactory",
        )
        .config("spark.sql.sources.commitProtocolClass", "org.apache.spark.internal.io.cloud.PathOutputCommitProtocol")
        .config(
            "spark.sql.parquet.output.committer.class", "org.apache.spark.internal.io.cloud.BindingParquetOutputCommitter"
        )
    )
spark = builder.getOrCreate()
spark.sparkContext.setLogLevel("ERROR")
match sys.argv[2]:
    case "write":
        frame = spark.range(2000).selectExpr("id as n", "id % 4 as part")
        frame.write.mode("overwrite").partitionBy("part").parquet(f"s3a://{E['BUCKET']}/table")
    case "more":
        frame = spark.range(2000, 3000).selectExpr("id as n", "9 as part")
        frame.write.mode("append").partitionBy("part").parquet(f"s3a://{E['BUCKET']}/table")
    case _:
        bucket = E["OLD"] if sys.argv[2] == "old" else E["BUCKET"]
        print(spark.read.parquet(f"s3a://{bucket}/table").groupBy().sum("n").collect()[0][0])
spark.stop()
