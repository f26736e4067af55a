// Brings the view of a circuit to life: what is shown, what is selected, and who must know of it.
(() => {
  "use strict";
  const report = globalThis.circuitReport;

  // What is drawn at a stop: edges, strongest first, up to a number; nodes that are in, or that such an edge ends at.
  function shownAt(view, stop, most) {
    const at = new Map(view.nodes.map((node) => [node.id, node.at]));
    const inside = (item) => item.at <= stop.size;
    const fits = (edge) => inside(edge) && at.get(edge.source) <= stop.size && at.get(edge.target) <= stop.size;
    const all = view.edges.filter(fits);
    const edges = all.filter((edge) => most > view.drawn || edge.share >= view.least).slice(0, most);
    const ends = new Set(edges.flatMap((edge) => [edge.source, edge.target]));
    const nodes = view.nodes.filter((node) => (node.loose ? ends.has(node.id) : inside(node)));
    const there = new Set(nodes.map((node) => node.id));
    const joins = view.joins.filter((join) => there.has(join.source) && there.has(join.target));
    const left = all.length - edges.length, faint = left && all.filter((edge) => edge.share < view.least).length;
    return { nodes, edges, joins, left, faint, ids: new Set([...nodes, ...edges, ...joins].map((item) => item.id)) };
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
    const left = shown.left ? `; ${many(shown.left, "weaker edge")} of this circuit not drawn${faint}` : "";
    return `Drawn: ${nodesLine(shown.nodes)}, ${shown.left ? "the strongest " : ""}${many(shown.edges.length, "edge")}${left}.${view.left ? ` ${view.left}.` : ""}`;
  }

  class View {
    constructor(view) {
      this.view = view;
      this.most = view.drawn;
      this.byId = new Map([...view.nodes, ...view.edges].map((item) => [item.id, item]));
      this.selected = this.anchor = this.opener = null;
      this.container = report.byId("view-drawing");
      this.drawing = report.drawing(this.container, view);
      this.tools = {
        byId: this.byId, examples: view.examples, reasons: view.reasons, shownNodes: () => this.shown.nodes, shownEdges: () => this.shown.edges, joins: () => this.shown.joins,
        select: (id, move) => this.select(id, move), close: () => this.close(), mark: this.drawing.mark,
        say: (text) => { report.byId("view-says").textContent = text; },
      };
      this.panel = report.panel(report.byId("view-panel"), this.tools);
      this.search = report.search(this.tools);
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
        this.drawing.again();
      }).observe(this.container);
    }

    go(stop) {
      this.stop = stop;
      this.shown = shownAt(this.view, stop, this.most);
      this.drawing.show(this.shown.ids);
      report.byId("view-count").textContent = countLine(this.view, this.shown);
      report.byId("view-all").hidden = !this.shown.left;
      if (this.selected && !this.shown.ids.has(this.selected)) this.close();
      else this.highlight();
      this.search.refresh();
      this.drawing.fit();
    }

    tapped(event) {
      if (event.target === this.drawing.cy) this.close();
      else if (this.byId.has(event.target.id())) this.select(event.target.id(), false, event.originalEvent?.shiftKey);
    }

    // `move`: the keyboard was used, so that the focus goes to what opened. `joined`: show the paths from the last node.
    select(id, move, joined) {
      if (joined && this.selected && this.isNode(this.selected)) this.anchor = this.selected;
      if (this.anchor === id || !this.isNode(id)) this.anchor = null;
      if (!report.byId("view-panel").contains(document.activeElement)) this.opener = document.activeElement;
      this.selected = id;
      this.highlight();
      this.hideTip?.();
      this.drawing.reveal(id);
      const title = this.panel.show(this.byId.get(id), this.pathTools());
      if (move) title.focus();
      this.tools.say(report.spoken(this.byId.get(id)));
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
      this.drawing.mark("selected", new Set([this.selected, this.anchor].filter(Boolean)));
      if (!chosen) return this.drawing.fade(null);
      if (!this.isNode(this.selected)) return this.drawing.fade(new Set([chosen.id, chosen.source, chosen.target]));
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
      this.go(this.stop);
      this.container.focus();
    }

    reset() {
      this.most = this.view.drawn;
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
