// Reads what stands in KV by kv-schema/README.md alone, without the code under test.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";

const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

function lengthPrefixed(parts) {
  const hash = createHash("sha256");
  for (const part of parts) {
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(Buffer.byteLength(part)));
    hash.update(length).update(part);
  }
  return hash.digest("hex");
}

/** Under which name a shared space's object stands; its keys in KV begin with it and the incarnation. */
export const sharedHash = (id) => lengthPrefixed(["shared space", id]);

/** As which a user stands in the records of `$members`. */
export const userHash = (issuer, subject) => lengthPrefixed(["user", issuer, subject]);

/** Under which name the private space of a user stands in KV. */
export const scopeOf = (issuer, subject) => lengthPrefixed(["private space", issuer, subject]);

/** Under what a user's directory is called. */
export const directoryHash = (issuer, subject) => lengthPrefixed(["directory", issuer, subject]);

/** Positions are ordered by epoch in byte order, then by version. */
export function comparePositions(a, b) {
  const [[epochA, versionA], [epochB, versionB]] = [a, b].map((position) => position.split("."));
  if (epochA !== epochB) return epochA < epochB ? -1 : 1;
  return Number(versionA) - Number(versionB);
}

/** Splits record lines, and checks that nothing stands between or after them. */
export function readLines(bytes) {
  const text = Buffer.from(bytes).toString("utf8");
  if (text === "") return [];
  assert.ok(text.endsWith("\n"), "the last record line ends with a line feed");
  return text.slice(0, -1).split("\n").map((line) => JSON.parse(line));
}

/** The head under a scope with everything kv-schema says about it checked, or null. */
export async function readHead(namespace, scope) {
  const key = `v1/${scope}/head`;
  const { value, metadata } = await namespace.getWithMetadata(key, "arrayBuffer");
  if (value === null) return null;
  const bytes = Buffer.from(value);
  const lineBytes = bytes.indexOf(10) + 1;
  assert.ok(lineBytes > 0 && lineBytes <= 65536, `the first line has at most 64 KiB, not ${lineBytes}`);
  const line = JSON.parse(bytes.subarray(0, lineBytes).toString("utf8"));
  const tail = bytes.subarray(lineBytes);
  assert.ok(tail.length <= 262144, `the tail has at most 256 KiB, not ${tail.length}`);
  assert.equal(line.format, 1);
  assert.equal(line.scope, scope);
  assert.equal(line.tail.bytes, tail.length);
  assert.equal(line.tail.sha256, sha256(tail));
  const meta = { f: 1, e: line.epoch, v: line.version, p: line.published_at, x: line.expires };
  assert.deepEqual(metadata, { ...meta, z: line.horizon, t: line.tail.from, h: lineBytes, b: tail.length });
  const runs = [line.delta, line.base].filter((run) => run);
  let to = line.version;
  for (const run of [{ from: line.tail.from, to: line.version }, ...runs]) {
    assert.equal(run.to, to, "each run begins where the older one ends");
    to = run.from;
  }
  assert.equal(to, 0, "the oldest run begins at 0");
  const lines = readLines(tail);
  checkRun("tail", lines, { from: line.tail.from, to: line.version });
  const versions = lines.map((record) => record.version);
  assert.deepEqual(versions, versions.toSorted((a, b) => b - a), "the tail is newest first");
  return { ...line, key, lines, metadata, position: `${line.epoch}.${line.version}`, size: bytes.length };
}

function checkRun(name, lines, { from, to }) {
  for (const line of lines) {
    assert.ok(line.version > from && line.version <= to, `${name} (${from}, ${to}] has version ${line.version}`);
  }
}

/** The bytes of one object, checked against its name, or null if it is gone. */
export async function readObject(namespace, scope, name) {
  const value = await namespace.get(`v1/${scope}/o/${name}`, "arrayBuffer");
  if (value === null) return null;
  assert.equal(sha256(Buffer.from(value)), name, "I6: the bytes of an object hash to its name");
  return Buffer.from(value);
}

/** All records of a head and its runs: `collection id` → line, deletions left out. */
export async function readRuns(namespace, head) {
  const records = new Map();
  const bytes = {};
  for (const name of ["base", "delta"]) {
    const run = head[name];
    if (!run) continue;
    const parts = await Promise.all(run.parts.map((part) => readObject(namespace, head.scope, part.sha256)));
    parts.forEach((part, at) => assert.equal(part?.length, run.parts[at].bytes, `${name} part ${at} is there`));
    const lines = readLines(Buffer.concat(parts));
    checkRun(name, lines, run);
    const place = ({ version, collection, id }) => [name === "base" ? 0 : version, Buffer.from(`${collection}\0${id}`)];
    const places = lines.map(place);
    for (let at = 1; at < places.length; at += 1) {
      const [[before, last], [version, key]] = [places[at - 1], places[at]];
      const follows = before < version || (before === version && Buffer.compare(last, key) < 0);
      assert.ok(follows, `${name} is in the order of kv-schema/README.md`);
    }
    bytes[name] = parts.reduce((sum, part) => sum + part.length, 0);
    for (const line of lines) records.set(`${line.collection} ${line.id}`, line);
  }
  for (const line of head.lines.toReversed()) records.set(`${line.collection} ${line.id}`, line);
  for (const [key, line] of records) if (line.deleted) records.delete(key);
  return { records, bytes };
}
