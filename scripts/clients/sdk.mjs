// The JavaScript SDK, version 3.
import { createReadStream, createWriteStream, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { pipeline } from "node:stream/promises";

const require = createRequire(join(process.env.PLACE, "node_modules", "x.js"));
const sdk = require("@aws-sdk/client-s3");
const { Upload } = require("@aws-sdk/lib-storage");
const { ENDPOINT, KEY, BUCKET, UP, DOWN, BIG, NEW, OLD } = process.env;
const credentials = { accessKeyId: KEY, secretAccessKey: KEY };
const s3 = new sdk.S3Client({ endpoint: ENDPOINT, region: "us-east-1", credentials, forcePathStyle: true });

async function keys() {
  const found = [];
  for await (const page of sdk.paginateListObjectsV2({ client: s3 }, { Bucket: BUCKET, Prefix: "data/" })) {
    found.push(...(page.Contents ?? []).map((item) => item.Key));
  }
  return found;
}

async function fetchTo(bucket, key, target) {
  mkdirSync(dirname(target), { recursive: true });
  const { Body } = await s3.send(new sdk.GetObjectCommand({ Bucket: bucket, Key: key }));
  await pipeline(Body, createWriteStream(target));
}

async function each(items, work) {
  const queue = [...items];
  await Promise.all(Array.from({ length: 8 }, async () => { while (queue.length) await work(queue.pop()); }));
}

const files = () => readdirSync(UP, { recursive: true }).filter((name) => statSync(join(UP, name)).isFile());
const put = (key, file) => s3.send(new sdk.PutObjectCommand({ Bucket: BUCKET, Key: key, Body: readFileSync(file) }));
const steps = {
  make: () => s3.send(new sdk.CreateBucketCommand({ Bucket: BUCKET })),
  up: () => each(files(), (name) => put(`data/${name}`, join(UP, name))),
  down: async () => each(await keys(), (key) => fetchTo(BUCKET, key, join(DOWN, key))),
  big: async () => {
    await new Upload({ client: s3, params: { Bucket: BUCKET, Key: "big", Body: createReadStream(BIG) } }).done();
    await fetchTo(BUCKET, "big", join(DOWN, "big"));
  },
  overwrite: () => put("data/d00/f0000.txt", NEW),
  list: async () => console.log((await keys()).length),
  old: () => fetchTo(OLD, "data/d00/f0000.txt", join(DOWN, "old")),
  delete: async () => {
    const found = await keys();
    for (let start = 0; start < found.length; start += 1000) {
      const Objects = found.slice(start, start + 1000).map((Key) => ({ Key }));
      const answer = await s3.send(new sdk.DeleteObjectsCommand({ Bucket: BUCKET, Delete: { Objects } }));
      if (answer.Errors?.length) throw new Error(JSON.stringify(answer.Errors));
    }
  },
  remove: async () => {
    await s3.send(new sdk.DeleteObjectCommand({ Bucket: BUCKET, Key: "big" }));
    await s3.send(new sdk.DeleteBucketCommand({ Bucket: BUCKET }));
  },
};
await steps[process.argv[2]]();
