// Opens a database that syncs by `dexie-cloud-addon`, as an app would. Runs in the processes and in the pages that play devices.

import { Dexie } from "dexie";
import dexieCloud from "dexie-cloud-addon";
import { STORES } from "./stores.mjs";

/** The ten lines that an app needs: the token of its own issuer becomes what the addon wants. */
async function exchange(url, token, publicKey) {
  const body = {
    grant_type: "urn:ietf:params:oauth:grant-type:token-exchange",
    subject_token: token,
    subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
    public_key: publicKey,
  };
  const headers = { "Content-Type": "application/json" };
  const answer = await fetch(`${url}/token`, { method: "POST", headers, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`the token was not exchanged: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

/**
 * `token` of the app's issuer, or a `demo` user, or nobody. By default nothing is synced before somebody asks for it: the tests choose
 * the moment. `live` is how the addon is when nobody configures it.
 */
export async function openCloud({ name = "app", url, stores = STORES, token, demo, live = false, addons = [], ...options }) {
  const db = new Dexie(name, { addons: [...addons, dexieCloud] });
  db.version(1).stores(stores);
  db.cloud.configure({
    databaseUrl: url,
    requireAuth: demo ? { email: demo, grant_type: "demo" } : token !== undefined,
    ...(token && { fetchTokens: ({ public_key }) => exchange(url, token, public_key) }),
    customLoginGui: true,
    disableEagerSync: !live,
    disableWebSocket: !live,
    ...options,
  });
  await db.open();
  return db;
}
