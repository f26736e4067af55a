// What is known of one node or edge, beside the drawing.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const MOST_LINKS = 12;
  const element = (...given) => report.element(...given);

  function facts(thing) {
    const rows = [
      ["score", thing.score], ["95 % interval", thing.interval], ["score is", thing.known], ["rank by size", thing.rank],
      ["works", { pos: "for the answer", neg: "against the answer", plain: "" }[thing.sign]],
      ["chosen circuit", thing.chosen ? "in it" : thing.loose || thing.at === 0 ? "" : "not in it"],
    ].filter(([, value]) => value);
    return element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, report.name(value))]));
  }

  const heading = (text) => element("h4", {}, text);

  function tokens(items, sign) {
    return items.map((item) => element("li", {},
      element("span", { class: `tok ${report.shade(sign, item.share)}` }, report.name(item.token)), " ", element("span", { class: "amount" }, item.value)));
  }

  function writes(about) {
    if (!about.writes) return [];
    const { direct, up, down } = about.writes;
    return [
      heading("What it writes to the logits"),
      element("p", {}, "To the right answer minus the wrong one, directly: ", element("strong", {}, report.name(direct)), "."),
      element("div", { class: "two" },
        element("div", {}, element("p", { class: "soft" }, "raises"), element("ul", { class: "tokens" }, ...tokens(up, "pos"))),
        element("div", {}, element("p", { class: "soft" }, "lowers"), element("ul", { class: "tokens" }, ...tokens(down, "neg")))),
    ];
  }

  // A choice of prompt, and the pattern on the prompt chosen.
  function looks(node, examples) {
    const known = examples.filter((example) => Object.hasOwn(example.patterns, node.name));
    if (!known.length) return [];
    const place = element("div", {});
    const show = (i) => {
      const cut = known[i].skipped ? [element("p", { class: "soft" }, `The first ${known[i].skipped} tokens are left out.`)] : [];
      place.replaceChildren(...cut, ...report.pattern(node.name, known[i]));
    };
    const options = known.map((example, i) => element("option", { value: i }, `${i + 1}: … ${example.tokens.slice(-4).join("")}`));
    const choice = element("select", {}, ...options);
    choice.addEventListener("change", () => show(Number(choice.value)));
    show(0);
    return [heading("Where it looks"), element("label", { class: "choice" }, "prompt ", choice), place];
  }

  function neurons(about) {
    if (!about.neurons) return [];
    const { rows, total, method, unit } = about.neurons;
    const items = rows.map((row) => element("li", {}, element("span", { class: report.shade(row.sign, row.share) }, report.code(row.name)), " ", row.value));
    return [
      heading("Its top neurons"),
      element("p", { class: "soft" }, `${rows.length} of ${total.toLocaleString("en")}`, ...(method ? [" by ", report.name(method)] : []), ", in ", report.name(unit), "."),
      element("ul", { class: "tokens" }, ...items),
    ];
  }

  function reacts(about) {
    if (!about.reacts) return [];
    const lines = about.reacts.examples.map((example) => element("li", {},
      element("span", { class: "amount" }, example.value), " ",
      ...example.tokens.map((t) => element("span", { class: `tok ${report.shade("pos", t.share)}` }, report.name(t.token)))));
    const link = report.byId("features") ? [element("p", {}, element("a", { href: "#features" }, "More in the section of features"))] : [];
    return [heading("What it reacts to"), element("p", { class: "soft" }, about.reacts.line), element("ol", { class: "reacts" }, ...lines), ...link];
  }

  function linkTo(edge, node, tools) {
    const made = report.button("", () => tools.select(node.id, true), { class: "link" });
    made.append(report.name(node.name));
    const into = edge.channel ? ` ${{ q: "query", k: "key", v: "value" }[edge.channel]}` : "";
    return element("li", {}, made, element("span", { class: "soft" }, into), " ", element("span", { class: "amount" }, report.name(edge.score)));
  }

  function links(node, tools) {
    const shown = tools.shownEdges();
    return [["target", "source", "Edges in"], ["source", "target", "Edges out"]].flatMap(([own, other, title]) => {
      const found = shown.filter((edge) => edge[own] === node.id);
      if (!found.length) return [];
      const items = found.map((edge) => linkTo(edge, tools.byId.get(edge[other]), tools));
      const rest = items.slice(MOST_LINKS);
      const more = rest.length ? [element("details", {}, element("summary", {}, `${rest.length} more`), element("ul", { class: "links" }, ...rest))] : [];
      return [heading(`${title} (${found.length})`), element("ul", { class: "links" }, ...items.slice(0, MOST_LINKS)), ...more];
    });
  }

  function ends(edge, tools) {
    const of = (id, word) => element("li", {}, `${word} `, (() => {
      const made = report.button("", () => tools.select(id, true), { class: "link" });
      made.append(report.name(tools.byId.get(id).name));
      return made;
    })());
    return [heading("It joins"), element("ul", { class: "links" }, of(edge.source, "from"), of(edge.target, "to"))];
  }

  report.panel = (panel, tools) => ({
    show: (thing, path) => {
      const title = element("h3", { tabindex: -1 }, report.code(thing.name));
      const close = report.button("×", tools.close, { class: "close", "aria-label": "Close" });
      const isNode = tools.byId.get(thing.id)?.kind !== undefined;
      const about = thing.about ?? {};
      const body = isNode
        ? [...writes(about), ...looks(thing, tools.examples), ...neurons(about), ...reacts(about), ...links(thing, tools)]
        : ends(thing, tools);
      panel.replaceChildren(element("div", { class: "head" }, title, close), element("p", { class: "soft" }, thing.what), facts(thing), ...path, ...body);
      panel.scrollTop = 0;
      return title;
    },
    hint: (template) => panel.replaceChildren(template.content.cloneNode(true)),
  });
})();
