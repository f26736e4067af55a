// The circuit on a canvas, by Cytoscape. Every position comes from the data; nothing is laid out here.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const [HIGH, CLOSEST, ROOM, NAMES] = [26, 1.5, 22, 90];
  const DASHES = { q: [8, 4], k: [2, 3] };

  // "a", "b" -> the point of a box where an edge ends, from its middle.
  const point = ([x, y]) => `${x}px ${y}px`;

  function nodes(view) {
    return view.nodes.map((node) => ({
      group: "nodes", data: node, position: { x: node.x, y: node.y }, classes: node.dot ? "dot" : node.kind,
    }));
  }

  function edges(view) {
    return view.edges.map((edge) => ({
      group: "edges", data: { ...edge, from: point(edge.start), to: point(edge.end) }, classes: edge.sign,
    }));
  }

  // From the keys and values that heads share to these heads: not an edge of the circuit.
  function joins(view) {
    return view.joins.map((join) => ({ group: "edges", data: { ...join, sign: "plain" }, classes: "join" }));
  }

  // Strips behind the layers with their names; they take no part in anything, and stretch with what is shown.
  function strips(view) {
    return view.rows.flatMap((row, i) => [
      { group: "nodes", classes: i % 2 ? "strip" : "strip even", data: { id: `s${i}`, label: "", width: 1, high: view.row }, position: { x: 0, y: row.y } },
      { group: "nodes", classes: "row-name", data: { id: `r${i}`, label: row.label, width: NAMES }, position: { x: 0, y: row.y } },
    ]);
  }

  function nodeStyle(c) {
    return [
      { selector: "node", style: {
        shape: "round-rectangle", width: "data(width)", height: HIGH, label: "data(label)", "font-size": 12.5,
        "font-family": "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, DejaVu Sans, sans-serif",
        "text-valign": "center", color: (e) => (e.data("sign") === "plain" ? c.text : c.onCell),
        "background-color": (e) => c.fill(e.data("sign") ?? "plain", 0.12 + 0.88 * (e.data("share") ?? 0)),
        "border-width": (e) => (e.data("chosen") ? 2 : 1), "border-color": (e) => (e.data("chosen") ? c.text : c.soft),
        "z-index": 10, "overlay-opacity": 0, "transition-duration": 0 } },
      { selector: ".mlp", style: { "corner-radius": 13 } },
      { selector: ".embed, .logits", style: { shape: "rectangle" } },
      { selector: ".kv", style: { "border-style": "dashed" } },
      { selector: ".dot", style: { shape: "ellipse", height: "data(width)", "border-width": 1 } },
      { selector: ".strip", style: { shape: "rectangle", height: "data(high)", "background-color": c.back, "border-width": 0,
        events: "no", "z-compound-depth": "bottom" } },
      { selector: ".even", style: { "background-color": c.panel } },
      { selector: ".row-name", style: { "background-opacity": 0, "border-width": 0, events: "no", color: c.soft, "z-compound-depth": "bottom",
        "z-index": 11 } },
    ];
  }

  function edgeStyle(c) {
    return [
      { selector: "edge[name]", style: {
        "curve-style": "unbundled-bezier", "edge-distances": "endpoints", "source-endpoint": "data(from)",
        "target-endpoint": "data(to)", "control-point-distances": (e) => e.data("off"),
        "control-point-weights": (e) => e.data("along"), width: (e) => 1 + 5 * e.data("share"),
        "line-color": c.soft, "line-opacity": (e) => 0.35 + 0.6 * Math.sqrt(e.data("share")), "line-style": (e) => (DASHES[e.data("channel")] ? "dashed" : "solid"),
        "line-dash-pattern": (e) => DASHES[e.data("channel")] ?? [1, 0], "target-arrow-color": c.soft,
        "arrow-scale": (e) => 0.7 + 0.35 * e.data("share"), "z-index": 5, "overlay-opacity": 0 } },
      { selector: "edge.join", style: {
        "curve-style": "straight", "source-endpoint": `0px ${-HIGH / 2}px`, "target-endpoint": `0px ${HIGH / 2}px`, width: 1.5,
        "line-color": c.soft, "line-opacity": 0.8, "line-style": "solid", "target-arrow-shape": "none", events: "no", "z-index": 4 } },
      { selector: "edge.pos", style: { "line-color": c.posEdge, "target-arrow-color": c.posEdge, "target-arrow-shape": "triangle" } },
      { selector: "edge.neg", style: { "line-color": c.negEdge, "target-arrow-color": c.negEdge, "target-arrow-shape": "tee" } },
    ];
  }

  function stateStyle(c) {
    return [
      { selector: ".hidden", style: { display: "none" } },
      { selector: ".faded", style: { opacity: 0.13 } },
      { selector: "node.match", style: { "border-width": 4, "border-color": c.link } },
      { selector: "node.near", style: { "border-width": 3, "border-color": c.text } },
      { selector: "node.selected", style: { "border-width": 4, "border-color": c.link, "border-style": "solid" } },
      { selector: "edge.selected, edge.near, edge.match", style: { "line-opacity": 1, "underlay-color": c.link, "underlay-opacity": 0.3, "underlay-padding": 4 } },
    ];
  }

  const style = (c) => [...nodeStyle(c), ...edgeStyle(c), ...stateStyle(c)];

  // As tall as the drawing asks for at this width, within what one screen shows.
  function size(container, view) {
    const first = view.nodes.filter((node) => node.at <= view.stops[view.start].size);
    const ys = first.map((node) => node.y), xs = first.map((node) => node.x);
    const [wide, high] = [Math.max(...xs) - Math.min(...xs) + 220, Math.max(...ys) - Math.min(...ys) + 90];
    const wanted = Math.min(container.clientWidth / wide, 1.15) * high + 2 * ROOM;
    // A page of its own, as in the frame of a notebook, has the drawing whole with its count below it.
    const left = innerHeight - container.getBoundingClientRect().top - scrollY - 70;
    const most = container.hasAttribute("data-alone") ? left : 0.8 * Math.max(innerHeight, 500);
    container.style.height = `${Math.round(Math.max(470, Math.min(wanted, 680, most)))}px`;
  }

  report.drawing = (container, view) => {
    size(container, view);
    const cy = cytoscape({
      container, elements: [...strips(view), ...nodes(view), ...joins(view), ...edges(view)], layout: { name: "preset" },
      style: style(report.colours()), autoungrabify: true, autounselectify: true, boxSelectionEnabled: false,
      userZoomingEnabled: false, minZoom: 0.1, maxZoom: 4,
    });
    report.onScheme(() => cy.style(style(report.colours())));
    return wrapped(cy, container, view);
  };

  // Rows are shown from the lowest to the highest that has something in it, as wide as what is shown.
  function showRows(cy, view) {
    const shown = cy.elements("[sign]").not(".hidden");
    const ys = shown.nodes().map((node) => node.position("y"));
    const [top, bottom] = [Math.min(...ys) - view.row / 2, Math.max(...ys) + view.row / 2];
    const { x1, x2 } = shown.boundingBox({ includeLabels: false });
    const [left, right] = [x1 - NAMES - 20, x2 + 20];
    view.rows.forEach((row, i) => {
      const [strip, name] = [cy.$id(`s${i}`), cy.$id(`r${i}`)];
      strip.data("width", right - left).position("x", (left + right) / 2);
      name.position("x", left + NAMES / 2 + 6);
      strip.union(name).toggleClass("hidden", !shown.length || row.y + view.row / 2 < top || row.y - view.row / 2 > bottom);
    });
  }

  function wrapped(cy, container, view) {
    const fit = () => {
      cy.resize();
      cy.fit(cy.elements().not(".hidden"), 10);
      if (cy.zoom() > CLOSEST) cy.zoom(CLOSEST);
      cy.center(cy.elements().not(".hidden"));
    };
    const mark = (name, ids) => cy.batch(() => cy.elements().forEach((e) => void e.toggleClass(name, ids.has(e.id()))));
    return {
      cy, fit, mark,
      zoom: (by) => cy.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } }),
      show: (ids) => {
        cy.batch(() => cy.elements("[sign]").forEach((e) => void e.toggleClass("hidden", !ids.has(e.id()))));
        cy.batch(() => showRows(cy, view));
      },
      fade: (kept) => cy.batch(() => {
        cy.elements("[sign]").forEach((e) => void e.toggleClass("faded", kept !== null && !kept.has(e.id())));
      }),
      reveal: (id) => {
        const box = cy.$id(id).renderedBoundingBox();
        const inside = box.x1 >= 0 && box.y1 >= 0 && box.x2 <= cy.width() && box.y2 <= cy.height();
        if (!inside) cy.center(cy.$id(id));
      },
      again: () => { size(container, view); fit(); },
    };
  }
})();
