// What the pages of all benches in Chromium hold.

export * from "./capture-page.ts";
export * from "./live-page.ts";
export * from "./todos.ts";
