// The circuit on a canvas, by Cytoscape. Every position comes from the data; nothing is laid out here.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  // READABLE: the least scale at which names are read, 11 pixels high.
  const [HIGH, CLOSEST, READABLE, ROOM] = [26, 1.5, 0.9, 10];
  const DASHES = { q: [8, 4], k: [2, 3] };

  function nodes(view) {
    return view.nodes.map((node) => ({ group: "nodes", data: { ...node, text: node.label, wide: 1 }, position: { x: 0, y: 0 }, classes: `hidden ${node.kind}` }));
  }

  function edges(view) {
    return view.edges.map((edge) => ({ group: "edges", data: { ...edge, from: "0px 0px", to: "0px 0px", along: [0.5], off: [0], alike: [] }, classes: `hidden ${edge.sign}` }));
  }

  // From the keys and values that heads share to these heads: not an edge of the circuit.
  function joins(view) {
    return view.joins.map((join) => ({ group: "edges", data: { ...join, sign: "plain" }, classes: "join hidden" }));
  }

  function nodeStyle(c) {
    return [
      { selector: "node", style: {
        shape: "round-rectangle", width: "data(wide)", height: HIGH, label: "data(text)", "font-size": 12.5,
        "font-family": "system-ui, -apple-system, Segoe UI, Roboto, Noto Sans, DejaVu Sans, sans-serif",
        "text-valign": "center", color: (e) => (e.data("sign") === "plain" ? c.text : c.onCell),
        "background-color": (e) => c.fill(e.data("sign") ?? "plain", 0.12 + 0.88 * (e.data("share") ?? 0)),
        "border-width": (e) => (e.data("chosen") ? 2 : 1), "border-color": (e) => (e.data("chosen") ? c.text : c.soft),
        "z-index": 10, "overlay-opacity": 0, "transition-duration": 0 } },
      { selector: ".mlp", style: { "corner-radius": 13 } },
      { selector: ".embed, .logits", style: { shape: "rectangle" } },
      { selector: ".kv", style: { "border-style": "dashed" } },
      { selector: ".dot", style: { shape: "ellipse", height: "data(wide)", "border-width": 1 } },
      { selector: ".strip", style: { shape: "rectangle", height: "data(high)", label: "", "background-color": c.back, "border-width": 0,
        events: "no", "z-compound-depth": "bottom" } },
      { selector: ".even", style: { "background-color": c.panel } },
      { selector: ".folded", style: { "background-color": c.line, "background-opacity": 0.55 } },
      { selector: ".row-name", style: { width: 1, height: 1, "background-opacity": 0, "border-width": 0, events: "no", color: c.soft, "text-halign": "right",
        "z-index": 11 } },
      { selector: ".pinned", style: { "text-background-color": c.back, "text-background-opacity": 0.85, "text-background-padding": 2 } },
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
      // Where an edge is: of many arrows at once the names would lie on top of each other.
      { selector: "edge[name].selected, edge[name].near", style: {
        label: (e) => e.data("alike").map((edge) => edge.at_position).filter(Boolean).join(", "), "font-size": 12.5, color: c.text, "z-index": 9,
        "text-background-color": c.back, "text-background-opacity": 0.9, "text-background-padding": 2 } },
      { selector: "edge.selected, edge.near, edge.match", style: { "line-opacity": 1, "underlay-color": c.link, "underlay-opacity": 0.3, "underlay-padding": 4 } },
    ];
  }

  const style = (c) => [...nodeStyle(c), ...edgeStyle(c), ...stateStyle(c)];

  // As tall as the drawing asks for at this width, within what one screen shows, but not so low that it cannot be read.
  function size(container, box) {
    const scale = Math.max(READABLE, Math.min(container.clientWidth / box.w, 1.15));
    const wanted = scale * box.h + 2 * ROOM;
    // A page of its own, as in the frame of a notebook, has the drawing whole with its count below it.
    const left = innerHeight - container.getBoundingClientRect().top - scrollY - 70;
    const screen = Math.max(0.8 * Math.max(innerHeight, 500), READABLE * box.h + 2 * ROOM);
    const most = container.hasAttribute("data-alone") ? left : screen;
    container.style.height = `${Math.round(Math.max(470, Math.min(wanted, 760, most)))}px`;
  }

  report.drawing = (container, view) => {
    const cy = cytoscape({
      container, elements: [...nodes(view), ...joins(view), ...edges(view)], layout: { name: "preset" },
      style: style(report.colours()), autoungrabify: true, autounselectify: true, boxSelectionEnabled: false,
      userZoomingEnabled: false, minZoom: 0.1, maxZoom: 4,
    });
    report.onScheme(() => cy.style(style(report.colours())));
    return wrapped(cy, container, view);
  };

  // The strips of a layout, as wide as what is shown; where one layout serves every size, from the lowest to the highest that holds something.
  function showRows(cy, view, layout, inside) {
    const shown = cy.elements("[sign]").not(".hidden");
    const ys = shown.nodes().map((node) => node.position("y"));
    const [top, bottom] = [Math.min(...ys) - HIGH, Math.max(...ys) + HIGH];
    const { x1, x2 } = shown.boundingBox({ includeLabels: false });
    const [left, right] = [x1 - layout.names, x2 + 12];
    layout.rows.forEach((row, i) => {
      const [strip, name] = [cy.$id(`s${i}`), cy.$id(`r${i}`)];
      strip.data("wide", right - left).position("x", (left + right) / 2);
      name.data("text", report.rowLabel(row, inside)).position("x", left + 6);
      const outside = view.layouts.length === 1 && (row.y + row.high / 2 < top || row.y - row.high / 2 > bottom);
      strip.union(name).toggleClass("hidden", !shown.length || outside);
    });
    return left;
  }

  // Names of rows stay at the left when the drawing is moved; where there is more to see, its frame is shaded.
  function follow(cy, container, left) {
    const extent = cy.extent(), box = cy.elements().not(".hidden, .row-name").boundingBox({ includeLabels: false });
    cy.batch(() => cy.$(".row-name").positions((name) => ({ x: Math.max(left, extent.x1) + 6, y: name.position("y") })).toggleClass("pinned", extent.x1 > left));
    const more = { up: box.y1 < extent.y1 - 1, down: box.y2 > extent.y2 + 1, left: box.x1 < extent.x1 - 1, right: box.x2 > extent.x2 + 1 };
    for (const [side, is] of Object.entries(more)) container.classList.toggle(`more-${side}`, is);
    return Object.values(more).some(Boolean);
  }

  function wrapped(cy, container, view) {
    let [layout, left] = [null, 0];
    const all = () => cy.elements().not(".hidden");
    const fit = () => {
      cy.resize();
      cy.fit(all().not(".row-name"), ROOM);
      if (cy.zoom() > CLOSEST) cy.zoom(CLOSEST);
      cy.center(all().not(".row-name"));
    };
    // All of it where it can be read whole, else its top at a size that is read; the upper end is where the answer is.
    const readable = (id) => {
      const box = all().not(".row-name").boundingBox({ includeLabels: false });
      size(container, box);
      fit();
      if (cy.zoom() >= READABLE) return;
      cy.zoom(READABLE);
      const room = (span, frame) => (span * READABLE > frame - 2 * ROOM ? ROOM : (frame - span * READABLE) / 2);
      cy.pan({ x: room(box.w, cy.width()) - box.x1 * READABLE, y: room(box.h, cy.height()) - box.y1 * READABLE });
      if (id) reveal(id);
    };
    const reveal = (id) => {
      const box = cy.$id(id).renderedBoundingBox();
      const inside = box.x1 >= 0 && box.y1 >= 0 && box.x2 <= cy.width() && box.y2 <= cy.height();
      if (!inside) cy.center(cy.$id(id));
    };
    const mark = (name, ids) => cy.batch(() => cy.elements().forEach((e) => void e.toggleClass(name, ids.has(e.id()))));
    cy.on("viewport", () => follow(cy, container, left));
    return {
      cy, fit, mark, readable, reveal, larger: () => follow(cy, container, left),
      zoom: (by) => cy.zoom({ level: cy.zoom() * by, renderedPosition: { x: cy.width() / 2, y: cy.height() / 2 } }),
      show: (shown) => {
        const wanted = report.layoutOf(view, shown);
        if (wanted !== layout) report.toPlaces(cy, view, wanted);
        layout = wanted;
        cy.batch(() => cy.elements("[sign]").forEach((e) => void e.toggleClass("hidden", !shown.ids.has(e.id()))));
        cy.batch(() => cy.edges("[name]").forEach((e) => void e.data("alike", shown.arrows.get(e.id()) ?? [])));
        cy.batch(() => { left = showRows(cy, view, layout, shown.inside); });
      },
      fade: (kept) => cy.batch(() => {
        cy.elements("[sign]").forEach((e) => void e.toggleClass("faded", kept !== null && !kept.has(e.id())));
      }),
    };
  }
})();
