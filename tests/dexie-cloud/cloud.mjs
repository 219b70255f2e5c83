// The built Worker with what these tests need of it, and the devices that belong to a test.

import { after, before } from "node:test";
import { startRuntime } from "../runtime/harness.mjs";
import { Addon } from "./addon.mjs";

export { STORES } from "./stores.mjs";

/** Users that sign in without an issuer, if the deployment lets them. */
export const DEMO_USERS = ["foo@demo.local", "bar@demo.local", "issue2228@demo.local"];

/** The Worker, which somebody has to stop. */
export async function startCloud(options = {}) {
  const cloud = new Cloud();
  await cloud.start(options);
  return cloud;
}

/** Starts the Worker before the tests of a file and ends it, with all devices, behind them. */
export function useCloud(options = {}) {
  const cloud = new Cloud();
  before(() => cloud.start(options));
  after(() => cloud.stop());
  return cloud;
}

class Cloud {
  #devices = [];

  async start({ variables = {}, ...options }) {
    this.runtime = await startRuntime({ variables: { DEXIE_DEMO_USERS: DEMO_USERS.join(","), ...variables }, ...options });
    this.origin = await this.runtime.url("home");
  }

  async stop() {
    for (const device of this.#devices) device.stop();
    await this.runtime?.stop();
  }

  /** A user nobody else in this run has, by the name that the issuer gives. */
  user(name = "alice") {
    return this.runtime.subject(name);
  }

  /** A device of a user, which is not open yet. */
  async closed(user, settings = {}) {
    const device = await Addon.start(this.origin, { ...(user && { token: this.runtime.token(user) }), ...settings });
    this.#devices.push(device);
    return device;
  }

  /** A device of a user, open, which has synced once. */
  async device(user, settings = {}) {
    const device = await this.closed(user, settings);
    await device.open();
    return user || settings.demo ? device.signedIn() : device;
  }

  /** So many devices of one user. */
  devices(count, user = this.user(), settings = {}) {
    return Promise.all(Array.from({ length: count }, () => this.device(user, settings)));
  }

  /** A client of the native protocol. */
  native(user, options) {
    return this.runtime.device(user, options);
  }
}
