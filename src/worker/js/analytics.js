// Points in Analytics Engine, which are sent when the event is over: nobody waits for them, and none fails a request.

export function hasAnalytics({ ANALYTICS }) {
  return typeof ANALYTICS?.writeDataPoint === "function";
}

export function writePoint({ ANALYTICS }, index, blobs, doubles) {
  try {
    ANALYTICS.writeDataPoint({ indexes: [index], blobs: blobs.split("\n"), doubles: [...doubles] });
  } catch {
    // More points than an event may write, or a dataset that is gone.
  }
}
