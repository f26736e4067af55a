// The search field: nodes and edges whose names hold what was typed are listed, those that are drawn first and marked; Enter opens the first.
// What is not drawn comes in when it is opened.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const MOST = 12;

  report.search = (tools) => {
    const [input, list, words] = ["view-find", "view-found", "view-found-words"].map(report.byId);
    const matches = () => {
      const typed = input.value.trim().toLowerCase();
      const named = (parts) => (typed ? parts.filter((part) => part.name.toLowerCase().includes(typed)) : []);
      return [named([...tools.shownNodes(), ...tools.shownEdges()]), named(tools.hidden())];
    };
    const item = (part, drawn) => {
      const made = report.button("", () => tools.select(part.id, true), { class: "link" });
      made.append(report.name(part.name));
      return report.element("li", {}, made, drawn ? null : report.element("span", { class: "soft" }, " not drawn"));
    };
    const refresh = () => {
      const [drawn, hidden] = matches(), n = drawn.length + hidden.length;
      list.replaceChildren(...[...drawn.map((part) => item(part, true)), ...hidden.map((part) => item(part, false))].slice(0, MOST));
      const rest = n > MOST ? `, the first ${MOST} are listed` : "";
      const brought = hidden.length ? `; ${hidden.length === n ? (n === 1 ? "it is" : "they are") : `${hidden.length.toLocaleString("en")} of them`} not drawn: open one and it comes in` : "";
      words.textContent = input.value.trim() ? `${n.toLocaleString("en")} found${rest}${brought}.` : "";
      tools.mark("match", new Set(drawn.map((part) => part.id)));
    };
    input.addEventListener("input", refresh);
    input.addEventListener("keydown", (event) => {
      const [first] = matches().flat();
      if (event.key === "Enter" && first) tools.select(first.id, true);
      if (event.key !== "Escape") return;
      input.value = "";
      refresh();
    });
    return { refresh, clear: () => { input.value = ""; refresh(); } };
  };
})();
