// Meridian's beacon: for a few page loads, once the page has loaded and has nothing to do, it times the way to some
// endpoints and reports it. It keeps nothing, sends no credentials, and a fault of its own ends it in silence.
//   <script async src="https://beacons.shop.example/v1/beacon.js" data-service="www.shop.example"></script>
(function () {
  "use strict";
  const explore = EXPLORE; // page loads of a thousand that measure
  const rounds = 3; // how often each candidate is timed
  const patience = 3000; // what one may take in all, in ms
  const quiet = { credentials: "omit", cache: "no-store", referrerPolicy: "no-referrer" };
  let stopped = false;
  let current = null;

  // The fastest of some fetches on a warm connection, in ms; null: it failed, or did not answer in time.
  async function measure(url) {
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), patience);
    current = abort;
    let best = null;
    try {
      for (let round = 0; round <= rounds && !stopped; round++) {
        const begun = performance.now();
        await fetch(url, { ...quiet, mode: "no-cors", signal: abort.signal });
        const taken = performance.now() - begun;
        // The first one looks the name up and connects. A clock may be coarse, and may jump.
        if (round > 0 && taken <= patience) best = Math.max(0.1, Math.min(best === null ? taken : best, taken));
      }
    } catch (_) {
      // As it stands: where none came back, null.
    }
    clearTimeout(timer);
    return best;
  }

  async function run(source, service) {
    document.addEventListener("visibilitychange", () => {
      stopped = stopped || document.hidden;
      if (stopped && current) current.abort();
    });
    stopped = document.hidden;
    if (stopped) return;
    const reply = await fetch(new URL("beacons/session?service=" + encodeURIComponent(service), source), quiet);
    if (reply.status !== 200) return;
    const session = await reply.json();
    const samples = [];
    for (const candidate of session.candidates) {
      const rtt = await measure(candidate.url);
      if (stopped) break; // what was cut short tells nothing
      samples.push({ site: candidate.site, rtt_ms: rtt === null ? null : Math.round(rtt * 10) / 10 });
    }
    if (samples.length === 0) return;
    const body = JSON.stringify({ id: session.id, samples: samples });
    const target = new URL("beacons", source);
    // Where `keepalive` is not known the report may be lost with the page; sendBeacon would bring the visitor's cookies.
    await fetch(target, { ...quiet, method: "POST", body: body, keepalive: true });
  }

  try {
    const script = document.currentScript;
    const saves = navigator.connection && navigator.connection.saveData;
    if (!script || saves || Math.random() * 1000 >= explore) return;
    const source = script.src;
    const service = script.dataset.service || location.hostname;
    const begin = () => run(source, service).catch(() => {});
    const rest = () => ("requestIdleCallback" in window ? requestIdleCallback(begin) : setTimeout(begin, 1000));
    if (document.readyState === "complete") rest();
    else window.addEventListener("load", rest, { once: true });
  } catch (_) {
    // The page has its own troubles.
  }
})();
