// Brings the view of a circuit to life: what is shown, what is selected, and who must know of it.
(() => {
  "use strict";
  const report = globalThis.circuitReport;

  // What a circuit of some size holds: edges whose ends are in, nodes that are in or that such an edge ends at.
  function circuitOf(view, size) {
    const at = new Map(view.nodes.map((node) => [node.id, node.at]));
    const edges = view.edges.filter((edge) => Math.max(edge.at, at.get(edge.source), at.get(edge.target)) <= size);
    return { edges, nodes: (drawn) => {
      const ends = new Set(drawn.flatMap((edge) => [edge.source, edge.target]));
      return view.nodes.filter((node) => (node.loose ? ends.has(node.id) : node.at <= size));
    } };
  }

  // What is drawn of the first `cut` parts of a circuit of some size: edges, strongest first, up to a number, and those that were asked for.
  function shownAt(view, size, cut, most, asked) {
    const [whole, first] = [circuitOf(view, size), circuitOf(view, cut)];
    const limit = most === Infinity || !view.perNode ? most : Math.min(most, view.perNode * Math.max(view.fewest, cut));
    const top = new Set(first.edges.filter((edge) => most === Infinity || edge.share >= view.least).slice(0, limit));
    const edges = first.edges.filter((edge) => top.has(edge) || asked.has(edge.id));
    const nodes = first.nodes(edges);
    const there = new Set(nodes.map((node) => node.id));
    const joins = view.joins.filter((join) => there.has(join.source) && there.has(join.target));
    const arrows = arrowsOf(edges), drawn = edges.filter((edge) => arrows.get(edge.id)[0] === edge);
    const left = first.edges.length - edges.length, faint = left && first.edges.filter((edge) => edge.share < view.least).length;
    const inside = new Set(whole.nodes(whole.edges).map((node) => node.id));
    return { nodes, edges, arrows, joins, left, faint, inside, part: cut < size, ids: new Set([...nodes, ...drawn, ...joins].map((item) => item.id)) };
  }

  // One edge at several positions is one arrow, which is drawn as its strongest: of each edge all that share its arrow, that one first.
  function arrowsOf(edges) {
    const alike = new Map();
    for (const edge of edges) {
      const arrow = `${edge.source} ${edge.target} ${edge.channel}`;
      alike.set(arrow, [...(alike.get(arrow) ?? []), edge]);
    }
    return new Map([...alike.values()].flatMap((own) => own.map((edge) => [edge.id, own])));
  }

  // The size of circuit that each part comes in with, by id; a node that edges bring comes with the first of them.
  function needed(view) {
    const at = new Map(view.nodes.map((node) => [node.id, node.loose ? Infinity : node.at]));
    const own = new Map(view.nodes.map((node) => [node.id, node.at]));
    for (const edge of view.edges) {
      const size = Math.max(edge.at, own.get(edge.source), own.get(edge.target));
      at.set(edge.id, size);
      for (const end of [edge.source, edge.target]) at.set(end, Math.min(at.get(end), size));
    }
    return at;
  }

  const many = (n, word, words = `${word}s`) => `${n.toLocaleString("en")} ${n === 1 ? word : words}`;

  // Nodes that a circuit counts; the ends that are in every circuit, shared keys and values and errors by themselves.
  function nodesLine(nodes) {
    const of = (role) => nodes.filter((node) => node.role === role);
    const [ends, shared, errors] = ["end", "shared", "error"].map(of);
    return [
      many(of("node").length, "node"), ...(ends.length ? [ends.sort((a, b) => b.y - a.y).map((node) => `the ${node.what}`).join(" and ")] : []),
      ...(shared.length ? [many(shared.length, "box of shared keys and values", "boxes of shared keys and values")] : []),
      ...(errors.length ? [many(errors.length, "error")] : []),
    ].join(", ");
  }

  function countLine(view, shown) {
    const faint = shown.faint ? `, ${shown.faint === shown.left ? "all" : `${shown.faint.toLocaleString("en")} of them`} below ${100 * view.least} % of the strongest` : "";
    const left = shown.left ? `; ${many(shown.left, "weaker edge")} ${shown.part ? "between them" : "of this circuit"} not drawn${faint}` : "";
    const arrows = new Set(shown.arrows.values()).size, alike = arrows < shown.edges.length ? ` as ${many(arrows, "arrow")}, one for all positions of an edge` : "";
    return `Drawn: ${nodesLine(shown.nodes)}, ${shown.left ? "the strongest " : ""}${many(shown.edges.length, "edge")}${alike}${left}.${view.left ? ` ${view.left}.` : ""}`;
  }

  class View {
    constructor(view) {
      this.view = view;
      this.most = view.drawn;
      this.asked = new Set();
      this.needed = needed(view);
      this.byId = new Map([...view.nodes, ...view.edges].map((item) => [item.id, item]));
      this.selected = this.anchor = this.opener = null;
      this.container = report.byId("view-drawing");
      this.drawing = report.drawing(this.container, view);
      this.tools = {
        byId: this.byId, examples: view.examples, reasons: view.reasons, shownNodes: () => this.shown.nodes, shownEdges: () => this.shown.edges, joins: () => this.shown.joins,
        alike: (id) => this.shown.arrows.get(id) ?? [], select: (id, move) => this.select(id, move), close: () => this.close(),
        mark: (name, ids) => this.drawing.mark(name, new Set([...ids].map((id) => this.drawn(id)))),
        hidden: () => this.hidden(),
        say: (text) => { report.byId("view-says").textContent = text; },
      };
      this.panel = report.panel(report.byId("view-panel"), this.tools);
      this.search = report.search(this.tools);
      this.cut = report.cut(view, () => this.draw());
      this.slider = report.slider(view.stops, view.start, (stop) => this.go(stop));
    }

    start() {
      this.hideTip = report.tip(this.drawing, this.container, report.byId("view-tip"));
      report.wheel(this.drawing, this.container);
      report.keys(this.drawing, this.container, this.tools);
      this.drawing.cy.on("tap", (event) => this.tapped(event));
      const press = (id, act) => report.byId(id).addEventListener("click", act);
      press("view-fit", this.drawing.fit);
      press("view-in", () => this.drawing.zoom(1.25));
      press("view-out", () => this.drawing.zoom(0.8));
      press("view-reset", () => this.reset());
      press("view-all", () => this.drawAll());
      report.byId("view-panel").addEventListener("keydown", (event) => event.key === "Escape" && this.close());
      this.resized();
      this.close();
    }

    resized() {
      let width = this.container.clientWidth;
      new ResizeObserver(() => {
        if (this.container.clientWidth === width) return;
        width = this.container.clientWidth;
        this.place();
      }).observe(this.container);
    }

    go(stop) {
      this.stop = stop;
      this.cut.of(stop.size);
      this.draw();
    }

    draw() {
      this.shown = shownAt(this.view, this.stop.size, this.cut.at(), this.most, this.asked);
      this.drawing.show(this.shown);
      report.byId("view-count").textContent = countLine(this.view, this.shown);
      const all = report.byId("view-all");
      all.hidden = !this.shown.left;
      all.textContent = this.shown.part ? "Draw all edges between them" : "Draw all edges of this circuit that the page holds";
      if (this.selected && !this.isShown(this.selected)) this.close();
      else this.highlight();
      this.search.refresh();
      this.place();
    }

    // As large as can be read, and what must then be said.
    place() {
      this.drawing.readable(this.selected && this.drawn(this.selected));
      report.byId("view-larger").textContent = this.drawing.larger() ? "The drawing is larger than its frame: drag it to see the rest." : "";
    }

    // Parts that some size of the slider brings in and that are not drawn, the first of them first.
    hidden() {
      const most = this.view.stops[this.view.stops.length - 1].size, at = (part) => this.needed.get(part.id);
      return [...this.byId.values()].filter((part) => !this.isShown(part.id) && at(part) <= most).sort((a, b) => at(a) - at(b));
    }

    // Draws as much of a circuit as holds a part; of a node also the strongest edge into and out of it, however weak.
    bring(id) {
      const size = this.needed.get(id);
      if (!this.isNode(id)) this.asked.add(id);
      else this.ask(id, size);
      if (size > this.stop.size) this.slider.reach(size);
      if (size > this.cut.at()) this.cut.wish(size);
      else this.draw();
    }

    ask(id, size) {
      const layout = this.view.layouts.find((one) => one.size >= size);
      for (const end of ["source", "target"]) {
        const edge = this.view.edges.find((one) => one[end] === id && layout?.curves[one.id] && this.needed.get(one.id) <= size);
        if (edge) this.asked.add(edge.id);
      }
    }

    tapped(event) {
      if (event.target === this.drawing.cy) this.close();
      else if (this.byId.has(event.target.id())) this.select(event.target.id(), false, event.originalEvent?.shiftKey);
    }

    // `move`: the keyboard was used, so that the focus goes to what opened. `joined`: show the paths from the last node.
    select(id, move, joined) {
      if (!this.isShown(id)) this.bring(id);
      if (joined && this.selected && this.isNode(this.selected)) this.anchor = this.selected;
      if (this.anchor === id || !this.isNode(id)) this.anchor = null;
      if (!report.byId("view-panel").contains(document.activeElement)) this.opener = document.activeElement;
      this.selected = id;
      this.highlight();
      this.hideTip?.();
      this.drawing.reveal(this.drawn(id));
      const title = this.panel.show(this.byId.get(id), this.pathTools());
      if (move) title.focus();
      this.tools.say(report.spoken(this.byId.get(id)));
    }

    // The arrow that an edge is drawn as; of a node itself.
    drawn(id) {
      return this.shown.arrows.get(id)?.[0].id ?? id;
    }

    isShown(id) {
      return this.shown.ids.has(this.drawn(id));
    }

    isNode(id) {
      return this.byId.get(id)?.kind !== undefined;
    }

    pathTools() {
      if (!this.isNode(this.selected) || !this.shown.edges.length) return [];
      const line = report.element("p", { class: "paths" });
      if (this.anchor) {
        line.append("Paths between ", report.code(this.byId.get(this.anchor).name), " and this node. ",
          report.button("All paths through this node", () => { this.anchor = null; this.select(this.selected, true); }));
        return [line];
      }
      line.append("All paths through this node are highlighted. ", report.button("Paths to another node", () => {
        this.anchor = this.selected;
        line.replaceChildren("Now select the other node: click it, or choose it by keyboard.");
        this.container.focus();
      }));
      return [line];
    }

    highlight() {
      const chosen = this.byId.get(this.selected);
      this.drawing.mark("selected", new Set([this.selected, this.anchor].filter(Boolean).map((id) => this.drawn(id))));
      if (!chosen) return this.drawing.fade(null);
      if (!this.isNode(this.selected)) return this.drawing.fade(new Set([this.drawn(chosen.id), chosen.source, chosen.target]));
      const edges = [...this.shown.edges, ...this.shown.joins];
      return this.drawing.fade(this.anchor ? report.between(edges, this.anchor, this.selected) : report.through(edges, this.selected));
    }

    close() {
      const inside = report.byId("view-panel").contains(document.activeElement);
      this.selected = this.anchor = null;
      this.highlight();
      this.panel.hint(report.byId("view-hint"));
      if (inside) (this.opener?.isConnected ? this.opener : this.container).focus();
    }

    drawAll() {
      this.most = Infinity;
      this.close();
      this.draw();
      this.container.focus();
    }

    reset() {
      this.most = this.view.drawn;
      this.asked.clear();
      this.cut.forget();
      this.search.clear();
      this.close();
      this.slider.reset();
    }
  }

  const { view } = report.data();
  report.byId("view").hidden = false;
  // The picture, and a long table, stand open for those without scripts.
  document.querySelectorAll("details.fold").forEach((part) => { part.open = false; });
  new View(view).start();
})();
