// How the reports write numbers and tables.

const grouped = (text) => text.replace(/\B(?=(\d{3})+(?!\d))/g, ",");

/** Dollars with two decimals, or three below ten cents: `1,234.50`. */
export function money(dollars) {
  const [whole, part] = dollars.toFixed(Math.abs(dollars) < 0.1 && dollars !== 0 ? 3 : 2).split(".");
  return `${grouped(whole)}.${part}`;
}

/** A count: at most one decimal, `–` for none. */
export function amount(count) {
  const rounded = Math.round(count * 10) / 10;
  if (rounded === 0) return count === 0 ? "–" : "< 0.1";
  return grouped(String(rounded));
}

export const whole = (count) => grouped(String(Math.round(count)));

export const percent = (share) => `${whole(share * 100)} %`;

/** Lines of a Markdown table whose first column is text and whose others are numbers. */
export function table(head, rows, { numbers = true } = {}) {
  const line = (cells) => `| ${cells.join(" | ")} |`;
  return [line(head), `|${head.map((_, at) => (at > 0 && numbers ? "---:" : "---")).join("|")}|`, ...rows.map(line)];
}

/** `a`, `a and b`, `a, b and c`. */
export const listed = (words) => (words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
