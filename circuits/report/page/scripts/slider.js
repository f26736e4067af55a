// The slider of circuit size: its stops are the sizes that were measured, and beside it is what was found there.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const [LEFT, WIDE, LOW, HIGH] = [8, 244, -0.1, 1.1];

  const x = (value) => LEFT + ((Math.max(LOW, Math.min(HIGH, value)) - LOW) / (HIGH - LOW)) * WIDE;
  const bar = (from, to, kind, y, height) =>
    report.svg("rect", { x: x(from), y, width: Math.max(1, x(to) - x(from)), height, class: kind, rx: 2 });

  // Faithfulness as a point with its interval, above the range of the random circuits, on a scale from 0 to 100 %.
  function gauge(place, [value, low, high, from, to]) {
    const parts = [0, 0.5, 1].flatMap((at) => [
      report.svg("line", { x1: x(at), x2: x(at), y1: 4, y2: 32, class: "grid" }),
      report.svg("text", { x: x(at), y: 44, class: "middle" }, `${100 * at} %`),
    ]);
    if (from !== null) parts.push(bar(from, to, "random-band", 18, 10));
    if (low !== null) parts.push(bar(low, high, "interval-band", 7, 12));
    if (value !== null) parts.push(report.svg("circle", { cx: x(value), cy: 13, r: 5, class: "own-line-dot" }));
    place.replaceChildren(...parts);
  }

  const spoken = (stop) => `${stop.words}; faithfulness ${stop.faithful}; random circuits of that size ${stop.random}`;

  report.slider = (stops, start, onStop) => {
    const input = report.byId("view-size");
    const go = (i) => {
      const stop = stops[i];
      input.value = i;
      input.setAttribute("aria-valuetext", spoken(stop));
      report.byId("view-size-words").textContent = stop.words;
      report.byId("view-faithful").textContent = stop.faithful;
      report.byId("view-random").textContent = stop.random;
      report.byId("view-note").textContent = stop.note;
      report.byId("view-chosen").disabled = stop.chosen;
      gauge(report.byId("view-gauge"), stop.gauge);
      onStop(stop);
    };
    input.max = stops.length - 1;
    input.disabled = stops.length < 2;
    input.addEventListener("input", () => go(Number(input.value)));
    report.byId("view-chosen").addEventListener("click", () => go(start));
    go(start);
    const reach = (size) => go(Math.max(Number(input.value), stops.findIndex((stop) => stop.size >= size)));
    return { go, reach, reset: () => go(start) };
  };

  // How many of the circuit's parts are drawn, where not all can be read at once: at first as many as can.
  report.cut = (view, onCut) => {
    const [part, input, words] = ["view-drawn", "view-cut", "view-cut-words"].map(report.byId);
    let wished = null, size = 1;
    part.hidden = view.layouts.length === 1;
    const at = () => (part.hidden ? size : Math.min(size, wished ?? view.first));
    const show = () => {
      const n = at().toLocaleString("en"), of = size.toLocaleString("en");
      words.textContent = at() < size ? `the ${n} ${view.order} of ${of} ${view.parts}` : `all ${of} ${view.parts}`;
      [input.min, input.max, input.value] = [1, size, at()];
      input.disabled = size < 2;
      input.setAttribute("aria-valuetext", words.textContent);
      report.byId("view-first").disabled = at() === Math.min(size, view.first);
    };
    const wish = (n) => { wished = n; show(); onCut(); };
    input.addEventListener("input", () => wish(Number(input.value)));
    report.byId("view-first").addEventListener("click", () => wish(null));
    return { at, wish, of: (n) => { size = n; show(); }, forget: () => { wished = null; show(); } };
  };
})();
