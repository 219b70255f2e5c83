// From counted operations to a bill. Pure, and without imports, so that the report, the tests, the bench and the page in the browser run
// this very file. Money is in US dollars; a bill's lines are rounded to cents, as an invoice's are.

const DAYS = 30;
const SECONDS_PER_HOUR = 3600;
const KIB_PER_GB = 1_000_000_000 / 1024;
/** What the protocol, the defaults and sign-in services set, with what it is. */
export const FIXED = {
  preflight_hours: [2, "how long a browser remembers that a preflight was allowed, in hours (`Access-Control-Max-Age`)"],
  grant_s: [600, "how long a grant for a shared space is good, in seconds"],
  token_s: [3600, "how long a token is good, as sign-in services commonly give it"],
  ping_s: [55, "how often a socket pings, in seconds"],
  publish_after_pulls: [50, "a space is published early when the coordinator has answered so many pulls (`PUBLISH_AFTER_PULLS`) …"],
  publish_interval_s: [30, "… and at most once in so many seconds (`PUBLISH_INTERVAL_MS`)"],
  confirm_s: [600, "how often a location asks the coordinator of a shared space whether KV has the newest: in the bills such a look is a `pull.fallback.lag`"],
};
const fixed = (name) => FIXED[name][0];
/** Sockets that a space has at most, as in the contract. */
export const SOCKETS_MAX = 10_000;

export const cents = (dollars) => Math.round(dollars * 100 + 1e-6) / 100;

const add = (total, more, times = 1) => {
  for (const [name, count] of Object.entries(more)) total[name] = (total[name] ?? 0) + count * times;
  return total;
};

/** What a path uses once. `a-b` is what doing a uses beyond b. */
export function each(path, counts) {
  const [whole, ...less] = path.split(" - ").map((name) => {
    const counted = counts[name];
    if (!counted) throw new Error(`${name} is not counted`);
    return add({}, counted.used, 1 / counted.n);
  });
  for (const one of less) add(whole, one, -1);
  return whole;
}

/** What the meters show for these operations, with the time that they are assumed to take. */
export function metered(operations, prices, { time = true } = {}) {
  const { worker_cpu_ms, object_ms, object_gb } = prices.assumptions;
  const meters = {};
  for (const [name, count] of Object.entries(operations)) {
    const shown = prices.operations[name];
    if (!shown) throw new Error(`no meter shows ${name}`);
    add(meters, shown, count);
    if (!time) continue;
    if (worker_cpu_ms.value[name]) add(meters, { worker_cpu_ms: worker_cpu_ms.value[name] }, count);
    if (object_ms.value[name]) add(meters, { object_gb_s: (object_ms.value[name] / 1000) * object_gb.value }, count);
  }
  return meters;
}

/** Dollars for a million of these operations beyond what a plan includes. */
export function perMillion(operations, prices, options) {
  const meters = Object.entries(metered(operations, prices, options));
  return meters.reduce((sum, [name, used]) => sum + (used * 1_000_000 * prices.meters[name].price) / prices.meters[name].unit, 0);
}

/** The bill of the paid plan for a month in which the meters show this. */
export function bill(meters, prices) {
  const lines = Object.entries(prices.meters).map(([meter, { price, unit, included, rounding }]) => {
    const used = meters[meter] ?? 0;
    // A trillionth of a unit is what adding up in binary may leave over.
    const units = Math.max(0, used - included.paid) / unit;
    const billed = rounding === "unit" ? Math.ceil(units - 1e-12) : units;
    return { meter, used, included: included.paid, dollars: cents(billed * price) };
  });
  const { base } = prices.plans.paid;
  return { base, lines, total: cents(lines.reduce((sum, { dollars }) => sum + dollars, base)) };
}

/** Whether a month fits the free plan: how much of a day's amount each meter takes, the fullest first. */
export function freePlan(meters, prices) {
  const limited = Object.entries(prices.meters).filter(([, { included }]) => included.free !== null);
  const shares = limited.map(([meter, { included, is_stored }]) => ({ meter, share: (meters[meter] ?? 0) / (is_stored ? 1 : DAYS) / included.free }));
  shares.sort((one, other) => other.share - one.share);
  return { fits: shares[0].share <= 1, shares };
}

/** What happens in a month, in all spaces of a profile: how often, but for `open_s`, the seconds that one device is open. */
export function traffic(profile) {
  const { spaces, users, hours, days, poll_s, edits, edits_per_push, opens, loads, cross_origin } = profile;
  const devices = users * profile.devices;
  const open_s = hours * SECONDS_PER_HOUR * days;
  const pulls = (devices * open_s) / poll_s;
  const pushes = (users * edits * days) / edits_per_push;
  const all = {
    devices, pulls, pushes,
    // A poll finds something new at most once for each push of another device.
    told: Math.min(pulls, pushes * Math.max(0, devices - 1)),
    opens: devices * opens * days,
    loads: devices * loads,
    preflights: cross_origin ? devices * days * Math.ceil(hours / fixed("preflight_hours")) : 0,
  };
  return { open_s, ...Object.fromEntries(Object.entries(all).map(([name, count]) => [name, count * spaces])) };
}

/** Of so many polls, those that find their location's copy too old, if copies are good for so many seconds and devices poll independently. */
function refreshed({ devices, poll_s, locations }, pulls, fresh_s) {
  const others = Math.max(0, devices / locations - 1);
  // A location looks at most once in that time, however often one device polls.
  const own = Math.max(0, fresh_s / poll_s - 1);
  return pulls / (1 + (others * fresh_s) / poll_s + own);
}

const SIZES = [[20, "20_kib"], [1024, "1_mib"], [4096, "4_mib"]];

/** A first load of so many KiB, between the sizes that are counted, as `[path, share]`. */
export function load(kib, prefix = "") {
  const at = Math.max(1, SIZES.findIndex(([size]) => kib <= size));
  const [[low, one], [high, other]] = kib > 4096 ? SIZES.slice(1) : SIZES.slice(at - 1, at + 1);
  const share = Math.max(0, (kib - low) / (high - low));
  return [[`${prefix}load.${one}`, 1 - share], [`${prefix}load.${other}`, share]];
}

/** A push of so many edits, from those that are counted, as `[path, share]`: each further edit uses the same. */
export function push(edits, prefix) {
  const share = (edits - 1) / 2;
  return [[prefix, 1 - share], [`${prefix}.of_three_edits`, share]];
}

const times = (count, shares) => shares.map(([path, share]) => [path, share * count]);

export const PUBLICATION = "push.and_publication - push";

/** Publications in a month: of each space one in each window in which something was written. */
function publications({ spaces, publish_s, hours, days }, { pushes, open_s }, asked) {
  const perSecond = asked / spaces / open_s;
  const demanded = perSecond > 0 ? fixed("publish_after_pulls") / perSecond : Infinity;
  const window = Math.max(fixed("publish_interval_s"), Math.min(publish_s, demanded));
  // A window that is longer than the day's work is over before the next day's.
  return Math.min(pushes, spaces * days * Math.max(1, (hours * SECONDS_PER_HOUR) / window));
}

function kvFirst(profile, month, { fresh_s, lag_share }) {
  const { pulls, pushes } = month;
  const size = { ...profile, devices: month.devices / profile.spaces };
  const refreshes = refreshed(size, pulls, fresh_s);
  const written = Math.min(pushes, pulls - refreshes);
  const known = pulls - refreshes - written;
  const rest = [...times(pushes, push(profile.edits_per_push, "push")), ...times(month.loads, load(profile.kib)), ["preflight", 2 * month.preflights]];
  if (!profile.shared) {
    const changed = Math.min(refreshes, pushes * profile.locations);
    const parts = [["pull.nothing.coordinator", refreshes - changed], ["pull.change.coordinator", changed]];
    return [...parts, ["pull.change.after_write", written], ["pull.nothing.cache", known], [PUBLICATION, publications(profile, month, refreshes + written)], ...rest];
  }
  const confirmed = Math.min(refreshes, (profile.spaces * profile.locations * month.open_s) / fixed("confirm_s"));
  const lagging = confirmed + (refreshes - confirmed) * lag_share;
  return [
    ["pull.shared.kv", refreshes - lagging],
    ["pull.fallback.lag", lagging],
    ["pull.change.after_write", written],
    ["pull.shared.cache", known],
    ["grant", (month.devices * month.open_s) / fixed("grant_s")],
    [PUBLICATION, publications(profile, month, written + lagging)],
    ...rest,
  ];
}

/** Devices that hear of changes over sockets; first loads take the paths that begin so. */
const listening = (loads) => (profile, month) => [
  ["socket.open", month.opens],
  ["socket.pull", month.opens],
  ["socket.token", (month.devices * month.open_s) / fixed("token_s")],
  ...times(month.pushes, push(profile.edits_per_push, "push.socket")),
  ["socket_sends", (month.pushes * month.devices) / profile.spaces],
  ["pings", (month.devices * month.open_s) / fixed("ping_s")],
  ...times(month.loads, load(profile.kib, loads)),
  ["preflight", profile.cross_origin ? month.loads : 0],
];

const sockets = (profile, month) => [...listening("")(profile, month), [PUBLICATION, publications(profile, month, 0)]];

/** Designs that ask the same layer at every poll. */
const plain = (name) => (profile, month) => [
  [`${name}.pull.nothing`, month.pulls - month.told],
  [`${name}.pull.change`, month.told],
  ...times(month.pushes, push(profile.edits_per_push, `${name}.push`)),
  ...times(month.loads, load(profile.kib, `${name}.`)),
  ["preflight", 2 * month.preflights],
];

function objectCache(profile, month, { fresh_s }) {
  const asked = refreshed({ ...profile, devices: month.devices / profile.spaces }, month.pulls, fresh_s);
  const changed = Math.min(asked, month.pushes * profile.locations);
  const [, , ...rest] = plain("object_cache")(profile, month);
  return [["object_cache.pull.nothing", asked - changed], ["object_cache.pull.change", changed], ["object_cache.pull.cache", month.pulls - asked], ...rest];
}

function r2Cdn(profile, month, { fresh_s, cdn_hit_ratio }) {
  const asked = Math.max(refreshed({ ...profile, devices: month.devices / profile.spaces }, month.pulls, fresh_s), month.pulls * (1 - cdn_hit_ratio));
  const pushed = times(month.pushes, push(profile.edits_per_push, "r2_cdn.push"));
  return [["r2_cdn.pull.nothing", asked], ...pushed, ...times(month.loads * (1 - cdn_hit_ratio), load(profile.kib, "r2_cdn.")), ["preflight", month.preflights]];
}

/** Where a design keeps a space's bytes. */
export const DESIGNS = {
  kv_first: { title: "KV-first, polling", parts: kvFirst, stored: ["object_gb", "kv_gb"], ours: true },
  sockets: { title: "KV-first with sockets", parts: sockets, stored: ["object_gb", "kv_gb"], ours: true, listens: true },
  kv_naive: { title: "KV-naive", parts: plain("kv_naive"), stored: ["kv_gb"] },
  object_only: { title: "Object only", parts: plain("object_only"), stored: ["object_gb"] },
  object_sockets: { title: "Object with sockets", parts: listening("object_only."), stored: ["object_gb"], listens: true },
  object_cache: { title: "Object + cache", parts: objectCache, stored: ["object_gb"] },
  d1: { title: "D1", parts: plain("d1"), stored: ["d1_gb"] },
  r2_cdn: { title: "R2 behind a CDN", parts: r2Cdn, stored: ["r2_gb"] },
};

/** What a design does in a month of a profile, as `[path, times]`. */
export function parts(design, profile, prices) {
  const assumed = Object.fromEntries(Object.entries(prices.assumptions).map(([name, { value }]) => [name, value]));
  return DESIGNS[design].parts(profile, traffic(profile), assumed);
}

/** What the meters show after a month of a profile under a design. */
export function month(design, profile, { prices, counts }) {
  const operations = {};
  for (const [path, count] of parts(design, profile, prices)) {
    if (path in prices.operations) add(operations, { [path]: count });
    else add(operations, each(path, counts), count);
  }
  const meters = metered(operations, prices);
  for (const meter of DESIGNS[design].stored) add(meters, { [meter]: (profile.spaces * profile.kib) / KIB_PER_GB });
  return meters;
}
