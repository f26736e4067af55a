// Ways through the shown circuit: what leads to a node, what follows from it, and what lies between two nodes.
(() => {
  "use strict";
  const report = globalThis.circuitReport;

  // All edges and nodes that can be reached from `start`, along the edges or against them.
  function reached(edges, start, from, to) {
    const leaving = new Map();
    for (const edge of edges) leaving.set(edge[from], [...(leaving.get(edge[from]) ?? []), edge]);
    const [nodes, used, open] = [new Set([start]), new Set(), [start]];
    while (open.length) {
      for (const edge of leaving.get(open.pop()) ?? []) {
        used.add(edge.id);
        if (nodes.has(edge[to])) continue;
        nodes.add(edge[to]);
        open.push(edge[to]);
      }
    }
    return { nodes, edges: used };
  }

  const both = (a, b, key) => [...a[key]].filter((id) => b[key].has(id));

  report.through = (edges, node) => {
    const down = reached(edges, node, "source", "target");
    const up = reached(edges, node, "target", "source");
    return new Set([...down.nodes, ...up.nodes, ...down.edges, ...up.edges]);
  };

  // In whichever direction there are paths; the two nodes alone where there are none.
  report.between = (edges, a, b) => {
    for (const [from, to] of [[a, b], [b, a]]) {
      const [down, up] = [reached(edges, from, "source", "target"), reached(edges, to, "target", "source")];
      if (down.nodes.has(to)) return new Set([...both(down, up, "nodes"), ...both(down, up, "edges")]);
    }
    return new Set([a, b]);
  };
})();
