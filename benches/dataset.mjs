// Real records: US postal codes from the npm package vega-datasets, about 200 bytes each on the wire.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "../scripts/setup.mjs";

export function places(count) {
  const file = join(root, "node_modules/vega-datasets/data/zipcodes.csv");
  const lines = readFileSync(file, "utf8").trim().split("\n");
  const names = lines[0].split(",");
  return lines.slice(1, count + 1).map((line) => {
    const cells = line.split(",");
    const value = Object.fromEntries(names.map((name, at) => [name, cells[at]]));
    value.latitude = Number(value.latitude);
    value.longitude = Number(value.longitude);
    return { id: value.zip_code, value };
  });
}
