// The search field: the shown nodes and edges whose names hold what was typed are marked and listed; Enter opens the first.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const MOST = 12;

  report.search = (tools) => {
    const [input, list, words] = ["view-find", "view-found", "view-found-words"].map(report.byId);
    const matches = () => {
      const typed = input.value.trim().toLowerCase();
      return typed ? [...tools.shownNodes(), ...tools.shownEdges()].filter((part) => part.name.toLowerCase().includes(typed)) : [];
    };
    const item = (node) => {
      const made = report.button("", () => tools.select(node.id, true), { class: "link" });
      made.append(report.name(node.name));
      return report.element("li", {}, made);
    };
    const refresh = () => {
      const found = matches();
      list.replaceChildren(...found.slice(0, MOST).map(item));
      const rest = found.length > MOST ? `, the first ${MOST} are listed` : "";
      words.textContent = input.value.trim() ? `${found.length} found among what is drawn${rest}.` : "";
      tools.mark("match", new Set(found.map((node) => node.id)));
    };
    input.addEventListener("input", refresh);
    input.addEventListener("keydown", (event) => {
      const [first] = matches();
      if (event.key === "Enter" && first) tools.select(first.id, true);
      if (event.key !== "Escape") return;
      input.value = "";
      refresh();
    });
    return { refresh, clear: () => { input.value = ""; refresh(); } };
  };
})();
