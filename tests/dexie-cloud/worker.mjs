// The service worker of these tests' pages: the line that the addon wants of an app, and what the tests ask it.

import "dexie-cloud-addon/service-worker";

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.sent = [];
const { fetch } = self;
self.fetch = (url, options) => {
  self.sent.push({ url: String(url), body: String(options?.body) });
  return fetch(url, options);
};
