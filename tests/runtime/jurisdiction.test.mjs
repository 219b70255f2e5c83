// Where objects are made. The local runtime has no jurisdictions (workerd: "Jurisdiction restrictions are not implemented in
// workerd."), so what the shell asks of the platform is tested on a namespace of the test, and on the local runtime only that no
// space is reached outside of one that is set. That an object then lives there is for the platform to show.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { callObject, configureCalls, passOn } from "../../src/worker/js/calls.js";
import { eventually, startRuntime } from "./harness.mjs";

/** A namespace that notes of which object something is asked. */
function namespace(asked, where = "anywhere") {
  return {
    jurisdiction: (name) => namespace(asked, name),
    idFromName: (name) => `${where}/${name}`,
    get: (id) => ({ fetch: async (url) => (asked.push(`${id} ${new URL(url).pathname}`), new Response("{}")) }),
  };
}

describe("a jurisdiction", () => {
  for (const [setting, where] of [["eu", "eu"], ["fedramp", "fedramp"], ["", "anywhere"]]) {
    test(`"${setting}": every call reaches the object of that name in it`, async () => {
      configureCalls(setting);
      const asked = [];
      for (const call of [callObject, passOn]) await call({ COORDINATOR: namespace(asked) }, "abc", "pull", "", "{}", 1000);
      assert.deepEqual(asked, [`${where}/abc /pull`, `${where}/abc /pull`]);
    });
  }

  test("that is not understood, or not yet known: nothing is reached, least of all an object elsewhere", async () => {
    configureCalls(undefined);
    const asked = [];
    for (const call of [callObject, passOn]) {
      await assert.rejects(call({ COORDINATOR: namespace(asked) }, "abc", "pull", "", "{}", 1000), /JURISDICTION/);
    }
    assert.deepEqual(asked, []);
  });

  for (const [setting, isTold] of [["eu", false], ["europe", true]]) {
    test(`"${setting}" where the platform has none: 503, and no object is made`, async () => {
      const runtime = await startRuntime({ variables: { JURISDICTION: setting } });
      try {
        const device = runtime.device(runtime.subject());
        const pushed = await device.pushMutations([{ changes: [{ op: "put", collection: "c", id: "a", value: {} }] }]);
        assert.deepEqual([pushed.status, pushed.body.code], [503, "upstream"]);
        assert.equal((await runtime.object(device.sub)).calls, 0);
        const says = () => runtime.logs.join("").includes("JURISDICTION is none of");
        if (isTold) await eventually("the log says why", says);
        else assert.equal(says(), false);
      } finally {
        await runtime.stop();
      }
    });
  }
});
