// Charts as SVG text: bars and lines, in light and dark, without anything that runs. The report writes them into files, and the page of
// the calculator into itself, so both draw the same. Numbers come in; what is written beside them comes in too.

const INK = "#1c2733";
const STYLE = `
  .chart { font: 13px system-ui, sans-serif; fill: ${INK} }
  .chart .quiet { fill: #5b6b7a } .chart .grid { stroke: #d8dfe6 } .chart .ours { fill: #0b7a75; stroke: #0b7a75 }
  .chart .other { fill: #9aa9b8; stroke: #9aa9b8 } .chart .back { fill: #ffffff } .chart .title { font-weight: 600; font-size: 15px }
  .chart path { fill: none; stroke-width: 2.5 }
  @media (prefers-color-scheme: dark) {
    .chart { fill: #e6edf3 } .chart .quiet { fill: #9fb0c0 } .chart .grid { stroke: #33414f } .chart .ours { fill: #4fd1c5; stroke: #4fd1c5 }
    .chart .other { fill: #66788a; stroke: #66788a } .chart .back { fill: #0f1720 }
  }`;
// Each is seen on white and on the dark card.
const COLOURS = ["#12958c", "#c2571a", "#7c68dd", "#3a7bd5", "#c2487f", "#8b9a2a", "#7b8794", "#a0703c"];

const escape = (text) => String(text).replace(/[&<>"]/g, (char) => `&#${char.charCodeAt(0)};`);
const round = (number) => Math.round(number * 10) / 10;
const text = (x, y, words, more = "") => `<text x="${round(x)}" y="${round(y)}" ${more}>${escape(words)}</text>`;

function frame(width, height, title, body) {
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" aria-label="${escape(title)}" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
    `<style>${STYLE}\n</style>`,
    `<rect class="back" width="${width}" height="${height}" rx="8"/>`,
    text(16, 28, title, 'class="title"'),
    ...body,
    "</svg>\n",
  ].join("\n");
}

const WIDTH = 720;
const isNarrow = (width) => width < 560;
const BAR = { figure: 90, row: 26, gap: 34 };

/** Groups of bars, one below the other: `groups` are `{title, bars: [{label, value, figure, isOurs}]}`. Each group has a scale of its own. */
export function bars(title, groups, { width = WIDTH } = {}) {
  const { figure, row, gap } = BAR;
  const label = isNarrow(width) ? 160 : 240;
  const body = [];
  let y = 44;
  for (const group of groups) {
    const most = Math.max(...group.bars.map(({ value }) => value), 1e-9);
    y += gap - 14;
    body.push(text(16, y, group.title, 'class="quiet"'));
    y += 10;
    for (const { label: name, value, figure: words, isOurs } of group.bars) {
      const length = ((width - label - figure - 24) * value) / most;
      body.push(text(label - 8, y + 16, name, 'text-anchor="end"'));
      body.push(`<rect class="${isOurs ? "ours" : "other"}" x="${label}" y="${y + 3}" width="${round(Math.max(length, 1))}" height="${row - 8}" rx="3"/>`);
      body.push(text(label + Math.max(length, 1) + 8, y + 16, words));
      y += row;
    }
  }
  return frame(width, y + 14, title, body);
}

const LINE = { height: 360, left: 64, top: 66, bottom: 52 };

/** Labels where their lines end, but a line of text apart, and none below the axis. */
function apart(series, lowest) {
  const sorted = series.toSorted((one, other) => one.end - other.end).map((one) => ({ ...one, y: one.end }));
  for (let at = 1; at < sorted.length; at += 1) sorted[at].y = Math.max(sorted[at].y, sorted[at - 1].y + 16);
  let limit = lowest;
  for (const one of sorted.toReversed()) {
    one.y = Math.min(one.y, limit);
    limit = one.y - 16;
  }
  return sorted;
}

/** Lines over one axis: `series` are `{label, points: [[x, y]]}`. `ticks` are `{x: [[value, words]], y: […]}`; both axes begin at 0. */
export function lines(title, { series, ticks, x, y, width = WIDTH }) {
  const { height, left, top, bottom } = LINE;
  const right = isNarrow(width) ? 166 : 190;
  const most = { x: Math.max(...ticks.x.map(([value]) => value)), y: Math.max(...ticks.y.map(([value]) => value)) };
  const atX = (value) => left + ((width - left - right) * value) / most.x;
  const atY = (value) => height - bottom - ((height - top - bottom) * value) / most.y;
  const body = [];
  for (const [value, words] of ticks.y) {
    body.push(`<line class="grid" x1="${left}" x2="${width - right}" y1="${round(atY(value))}" y2="${round(atY(value))}"/>`);
    body.push(text(left - 8, atY(value) + 4, words, 'class="quiet" text-anchor="end"'));
  }
  for (const [value, words] of ticks.x) body.push(text(atX(value), height - bottom + 20, words, 'class="quiet" text-anchor="middle"'));
  body.push(text((left + width - right) / 2, height - 12, x, 'class="quiet" text-anchor="middle"'), text(16, top - 16, y, 'class="quiet"'));
  const coloured = series.map((one, at) => ({ ...one, colour: COLOURS[at % COLOURS.length], end: atY(one.points.at(-1)[1]) }));
  for (const { points, colour } of coloured) {
    body.push(`<path stroke="${colour}" d="M${points.map(([px, py]) => `${round(atX(px))} ${round(atY(py))}`).join("L")}"/>`);
  }
  for (const { label, colour, y: labelled } of apart(coloured, height - bottom)) {
    body.push(`<circle cx="${width - right + 10}" cy="${round(labelled)}" r="4" fill="${colour}"/>`, text(width - right + 20, labelled + 4, label));
  }
  return frame(width, height, title, body);
}

/** Five steps from 0 to a round number at or above the greatest, with their words; whole steps where there are no parts of what is counted. */
export function steps(greatest, words, { isWhole = false } = {}) {
  const power = 10 ** Math.floor(Math.log10(greatest / 4));
  const step = [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((factor) => factor * power).find((size) => size * 4 >= greatest && (!isWhole || Number.isInteger(size)));
  return [0, 1, 2, 3, 4].map((at) => [at * step, words(at * step)]);
}
