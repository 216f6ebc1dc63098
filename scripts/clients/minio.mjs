// minio-js.
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(join(process.env.PLACE, "node_modules", "x.js"));
const { Client } = require("minio");
const { ENDPOINT, KEY, BUCKET, UP, DOWN, BIG, NEW, OLD } = process.env;
const url = new URL(ENDPOINT);
const s3 = new Client({
  endPoint: url.hostname, port: Number(url.port), useSSL: url.protocol === "https:", accessKey: KEY, secretKey: KEY, region: "us-east-1",
});

async function keys() {
  const found = [];
  for await (const item of s3.listObjectsV2(BUCKET, "data/", true)) found.push(item.name);
  return found;
}

async function fetchTo(bucket, key, target) {
  mkdirSync(dirname(target), { recursive: true });
  await s3.fGetObject(bucket, key, target);
}

async function each(items, work) {
  const queue = [...items];
  await Promise.all(Array.from({ length: 8 }, async () => { while (queue.length) await work(queue.pop()); }));
}

const files = () => readdirSync(UP, { recursive: true }).filter((name) => statSync(join(UP, name)).isFile());
const steps = {
  make: () => s3.makeBucket(BUCKET),
  up: () => each(files(), (name) => s3.fPutObject(BUCKET, `data/${name}`, join(UP, name), {})),
  down: async () => each(await keys(), (key) => fetchTo(BUCKET, key, join(DOWN, key))),
  big: async () => {
    await s3.fPutObject(BUCKET, "big", BIG, {});
    await fetchTo(BUCKET, "big", join(DOWN, "big"));
  },
  overwrite: () => s3.fPutObject(BUCKET, "data/d00/f0000.txt", NEW, {}),
  list: async () => console.log((await keys()).length),
  old: () => fetchTo(OLD, "data/d00/f0000.txt", join(DOWN, "old")),
  delete: async () => s3.removeObjects(BUCKET, await keys()),
  remove: async () => {
    await s3.removeObject(BUCKET, "big");
    await s3.removeBucket(BUCKET);
  },
};
await steps[process.argv[2]]();
