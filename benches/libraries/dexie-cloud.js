// The addon of Dexie Cloud. A login makes a pair of RSA keys first, which is subtracted.
import { Dexie } from "dexie";
import dexieCloud from "dexie-cloud-addon";

const END = 4_000_000_000_000;

export async function load(url) {
  let keys = 0;
  const { subtle } = crypto;
  const generate = subtle.generateKey.bind(subtle);
  subtle.generateKey = async (...how) => {
    const from = performance.now();
    const pair = await generate(...how);
    keys += performance.now() - from;
    return pair;
  };
  const from = performance.now();
  const db = new Dexie(`cloud-${Math.random()}`, { addons: [dexieCloud] });
  db.version(1).stores({ todos: "id, done" });
  const claims = { sub: "alice", name: "Alice", email: "alice@example.com" };
  const fetchTokens = async () => ({ type: "tokens", accessToken: "a.b.c", accessTokenExpiration: END, refreshToken: "r", claims, userType: "prod" });
  db.cloud.configure({ databaseUrl: `${url}/dexie-cloud`, requireAuth: true, fetchTokens, disableWebSocket: true, tryUseServiceWorker: false, socialAuth: false });
  // With `requireAuth` the database is open when its first load is complete.
  await new Promise((resolve, reject) => db.open().then(resolve, reject));
  const ms = performance.now() - from - keys;
  const rows = await db.table("todos").count();
  db.close();
  return { ms, rows };
}
