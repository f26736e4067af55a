// Pointer and keys in the drawing: the tip under the pointer, the wheel, moving from node to node by the arrow keys.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const DIRECTIONS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

  const line = (thing) => [thing.score, thing.interval, thing.known].filter(Boolean).join(", ");
  report.works = ({ works }) => (works.startsWith("not clear") ? `for or against: ${works}` : `works ${works}`);
  report.spoken = (thing) => `${thing.name}, ${thing.what}${thing.score ? `: ${line(thing)}` : ""}`;

  // Beside the pointer, and inside the drawing.
  function follow(tip, container, at) {
    const x = Math.min(at.x + 14, container.clientWidth - tip.offsetWidth - 4);
    const y = at.y + 18 + tip.offsetHeight > container.clientHeight ? at.y - tip.offsetHeight - 10 : at.y + 18;
    tip.style.left = `${Math.max(4, x)}px`;
    tip.style.top = `${Math.max(4, y)}px`;
  }

  report.tip = (drawing, container, tip) => {
    const parts = (thing) => [report.code(thing.name), report.element("span", {}, thing.what),
      thing.score ? report.element("span", {}, `${thing.score}${thing.interval ? `, 95 % interval ${thing.interval}` : ""}`) : null,
      thing.known ? report.element("span", {}, thing.known) : null, thing.works ? report.element("span", {}, report.works(thing)) : null,
      ...(thing.alike ?? []).slice(1).map((edge) => report.element("span", {}, report.code(edge.name), ` ${edge.score}`))].filter(Boolean);
    const over = (event) => {
      tip.replaceChildren(...parts(event.target.data()));
      tip.hidden = false;
      follow(tip, container, event.renderedPosition);
      drawing.mark("near", new Set([event.target.id()]));
      container.classList.add("over");
    };
    const out = () => {
      tip.hidden = true;
      drawing.mark("near", new Set());
      container.classList.remove("over");
    };
    drawing.cy.on("mouseover mousemove", "[sign]", over);
    drawing.cy.on("mouseout", "[sign]", out);
    container.addEventListener("pointerleave", out);
    return out;
  };

  // Turning the wheel or drawing with one finger scrolls the page, unless Ctrl is held or the drawing was clicked or tapped.
  report.wheel = (drawing, container) => {
    const wants = (event) => event.ctrlKey || event.metaKey || document.activeElement === container;
    // Before Cytoscape, which listens at the container.
    container.parentElement.addEventListener("wheel", (event) => drawing.cy.userZoomingEnabled(wants(event)), { capture: true, passive: true });
    const focus = () => container.focus({ preventScroll: true });
    const touches = new Set();
    let active = false;
    container.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") touches.add(event.pointerId);
      active = event.pointerType !== "touch" || document.activeElement === container;
      drawing.cy.userZoomingEnabled(touches.size > 1).userPanningEnabled(active || touches.size > 1);
    }, { capture: true });
    // Cytoscape takes the focus away from what has it.
    for (const begun of ["pointerdown", "touchstart"]) container.addEventListener(begun, () => active && focus(), { passive: true });
    drawing.cy.on("tap", focus);
    addEventListener("pointerup", (event) => touches.delete(event.pointerId), { capture: true });
    addEventListener("pointercancel", (event) => {
      touches.delete(event.pointerId);
      // The page scrolls: Cytoscape lets go.
      dispatchEvent(new Event("touchcancel"));
    });
  };

  // The nearest node that way; a step aside costs more than a step ahead.
  function nearest(nodes, from, [dx, dy]) {
    const cost = (node) => {
      const [x, y] = [node.x - from.x, node.y - from.y];
      const [ahead, aside] = [x * dx + y * dy, Math.abs(x * dy) + Math.abs(y * dx)];
      return ahead > 1 ? ahead + 2 * aside : Infinity;
    };
    const best = nodes.reduce((a, b) => (cost(b) < cost(a) ? b : a), from);
    return cost(best) < Infinity ? best : from;
  }

  report.keys = (drawing, container, tools) => {
    let at = null;
    const go = (node) => {
      at = node;
      drawing.mark("near", new Set([node.id]));
      drawing.reveal(node.id);
      tools.say(report.spoken(node));
    };
    const current = () => tools.shownNodes().find((node) => node === at) ?? tools.shownNodes()[0];
    const acts = {
      Enter: () => at && tools.select(at.id, true), " ": () => at && tools.select(at.id, true), Escape: tools.close,
      "+": () => drawing.zoom(1.25), "=": () => drawing.zoom(1.25), "-": () => drawing.zoom(0.8), 0: drawing.fit,
    };
    container.addEventListener("keydown", (event) => {
      const way = DIRECTIONS[event.key];
      if (!way && !acts[event.key]) return;
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (way) go(at && tools.shownNodes().includes(at) ? nearest(tools.shownNodes(), at, way) : current());
      else acts[event.key]();
    });
    container.addEventListener("blur", () => drawing.mark("near", new Set()));
  };
})();
