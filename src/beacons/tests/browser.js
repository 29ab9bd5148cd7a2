// Runs the beacon script as a browser would, on a page of this test's making. Takes the script and the world as JSON from
// its input; says what was fetched, as JSON.
"use strict";
const vm = require("vm");
const { script, world } = JSON.parse(require("fs").readFileSync(0, "utf8"));
const fetched = [];
const listeners = { visibilitychange: [], load: [] };
let clock = 0;

async function fetch(url, options) {
  const { signal, ...told } = options;
  fetched.push({ url: String(url), at: clock, ...told });
  const target = new URL(url);
  if (target.pathname === "/v1/beacons/session") {
    return { status: world.status, json: async () => world.session };
  }
  clock += (world.takes[target.host] || [5]).shift() || 5;
  if (world.hides_at && clock >= world.hides_at) {
    document.hidden = true;
    listeners.visibilitychange.forEach((listener) => listener());
  }
  if (signal && signal.aborted) throw new Error("aborted");
  if (target.host === world.broken) throw new TypeError("it does not answer");
  return { status: 0 };
}

const document = {
  currentScript: { src: "https://beacons.shop.example/v1/beacon.js", dataset: world.dataset },
  readyState: "interactive",
  hidden: false,
  addEventListener: (name, listener) => listeners[name].push(listener),
};
const window = {
  requestIdleCallback: (f) => setTimeout(f, 0),
  addEventListener: (name, listener) => listeners[name].push(listener),
};
const navigator = { connection: { saveData: world.saves } };
const page = {
  document, window, navigator, fetch, URL, AbortController, setTimeout, clearTimeout, Request: class { get keepalive() {} },
  requestIdleCallback: window.requestIdleCallback, location: { hostname: "page.shop.example" },
  performance: { now: () => clock },
  Math: Object.assign(Object.create(null), { random: () => world.random, max: Math.max, min: Math.min, round: Math.round }),
  JSON, encodeURIComponent,
};
vm.runInNewContext(script, page);
listeners.load.forEach((listener) => listener());
process.on("exit", () => process.stdout.write(JSON.stringify(fetched)));
