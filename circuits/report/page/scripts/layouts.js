// Which of the layouts of the data holds what is shown, and its strips: one for each layer, a thin one for those without a drawn node.
(() => {
  "use strict";
  const report = globalThis.circuitReport;

  // The first layout that holds every node and edge that is shown; the last holds all.
  report.layoutOf = (view, shown) =>
    view.layouts.find((layout) => shown.nodes.every((node) => layout.places[node.id]) && shown.edges.every((edge) => layout.curves[edge.id]))
      ?? view.layouts[view.layouts.length - 1];

  // What a strip says: which layers it is, and how many nodes of the circuit are hidden where none is drawn.
  report.rowLabel = (row, inside) => {
    if (!row.folded) return row.label;
    const n = row.hides.filter((id) => inside.has(id)).length;
    return `${row.label}: ${n ? `${n.toLocaleString("en")} weaker ${n === 1 ? "node" : "nodes"}` : "none"}`;
  };

  // "a", "b" -> the point of a box where an edge ends, from its middle.
  const point = ([x, y]) => `${x}px ${y}px`;

  // Everything of a layout to its place, where the keys find it too; what it does not hold is not shown.
  report.toPlaces = (cy, view, layout) => {
    cy.batch(() => {
      for (const node of view.nodes) {
        const place = layout.places[node.id];
        if (!place) continue;
        const [x, y, width, dot] = place;
        Object.assign(node, { x, y });
        cy.$id(node.id).data({ wide: width, text: dot ? "" : node.label }).position({ x, y }).toggleClass("dot", Boolean(dot));
      }
      for (const edge of view.edges) {
        const curve = layout.curves[edge.id];
        if (curve) cy.$id(edge.id).data({ from: point(curve[0]), to: point(curve[1]), along: curve[2], off: curve[3] });
      }
      cy.remove(".strip, .row-name");
      cy.add(layout.rows.flatMap((row, i) => [
        { group: "nodes", classes: `strip ${row.folded ? "folded" : row.even ? "even" : ""}`, data: { id: `s${i}`, wide: 1, high: row.high }, position: { x: 0, y: row.y } },
        { group: "nodes", classes: "row-name", data: { id: `r${i}`, text: row.label }, position: { x: 0, y: row.y } },
      ]));
    });
  };
})();
