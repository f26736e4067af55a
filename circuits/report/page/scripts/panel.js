// What is known of one node or edge, beside the drawing.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const MOST_LINKS = 12;
  const element = (...given) => report.element(...given);

  function facts(thing) {
    const rows = [
      ["score", thing.score], ["95 % interval", thing.interval], ["score is", thing.known], ["rank by size", thing.rank],
      ["works", thing.works],
      ["chosen circuit", thing.chosen ? "in it" : thing.loose || thing.at === 0 ? "" : "not in it"],
    ].filter(([, value]) => value);
    return element("dl", {}, ...rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, report.name(value))]));
  }

  const heading = (text) => element("h4", {}, text);

  function tokens(items, sign) {
    return items.map((item) => element("li", {},
      element("span", { class: `tok ${report.shade(sign, item.share)}` }, report.name(item.token)), " ", element("span", { class: "amount" }, item.value)));
  }

  const missing = (what, why) => [element("p", { class: "missing" }, `${what}: ${why}.`)];

  function written({ direct, up, down }) {
    return [
      element("p", {}, "To the right answer minus the wrong one, directly: ", element("strong", {}, report.name(direct)), "."),
      element("div", { class: "two" },
        element("div", {}, element("p", { class: "soft" }, "raises"), element("ul", { class: "tokens" }, ...tokens(up, "pos"))),
        element("div", {}, element("p", { class: "soft" }, "lowers"), element("ul", { class: "tokens" }, ...tokens(down, "neg")))),
    ];
  }

  function writes(node, tools) {
    if (node.about?.writes) return [heading("What it writes to the logits, on average"), ...written(node.about.writes)];
    return node.kind === "logits" ? [] : missing("What it writes to the logits", tools.reasons.writes);
  }

  // What the node does on one prompt: where a head looks, what it writes.
  function onPrompt(node, example) {
    const cut = example.skipped ? [element("p", { class: "soft" }, `The first ${example.skipped} tokens are left out.`)] : [];
    const looks = Object.hasOwn(example.patterns, node.name) ? [...cut, ...report.pattern(node.name, example)] : [];
    const own = Object.hasOwn(example.writes, node.name) ? written(example.writes[node.name]) : [];
    return [...looks, ...own];
  }

  function prompts(node, tools) {
    const none = node.kind === "head" ? missing("Where it looks", tools.reasons.patterns) : [];
    const known = tools.examples.filter((e) => Object.hasOwn(e.patterns, node.name) || Object.hasOwn(e.writes, node.name));
    if (!known.length) return none;
    const place = element("div", {});
    const show = (i) => place.replaceChildren(...onPrompt(node, known[i]));
    const options = known.map((e, i) => element("option", { value: i }, `${i + 1}: …${e.tokens.slice(-4).join("")} → ${e.answers}`));
    const choice = element("select", {}, ...options);
    choice.addEventListener("change", () => show(Number(choice.value)));
    show(0);
    const title = known.some((e) => Object.hasOwn(e.patterns, node.name)) ? "Where it looks, what it writes" : "What it writes";
    return [heading(`${title} on a prompt`), element("label", { class: "choice" }, "prompt ", choice), place];
  }

  function neurons(node, tools) {
    const about = node.about ?? {};
    if (!about.neurons) return node.kind === "mlp" ? missing("Its top neurons", tools.reasons.neurons) : [];
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
    const link = report.byId(about.card) ? [element("p", {}, element("a", { href: `#${about.card}` }, "More in the section of features"))] : [];
    return [heading("What it reacts to"), element("p", { class: "soft" }, about.reacts.line), element("ol", { class: "reacts" }, ...lines), ...link];
  }

  function opens(node, tools, ...more) {
    const made = report.button("", () => tools.select(node.id, true), { class: "link" });
    made.append(report.name(node.name));
    return element("li", {}, made, ...more);
  }

  // `shared`: it enters by the keys and values of the group.
  function linkTo(edge, node, tools, shared) {
    const into = edge.channel ? ` ${shared ? "shared " : ""}${{ q: "query", k: "key", v: "value" }[edge.channel]}` : "";
    const where = edge.at_position && node !== edge ? element("span", { class: "soft" }, " at ", report.name(edge.at_position)) : "";
    return opens(node, tools, element("span", { class: "soft" }, into), where, " ", element("span", { class: "amount" }, report.name(edge.score)));
  }

  function links(node, tools) {
    const shown = tools.shownEdges();
    const joined = (own) => tools.joins().filter((join) => join[own] === node.id);
    // What enters the keys and values of a head's group enters the head.
    const own = new Set([node.id, ...joined("target").map((join) => join.source)]);
    const readers = joined("source").map((join) => tools.byId.get(join.target));
    const sharing = readers.length ? [heading(`Heads that read it (${readers.length})`), element("ul", { class: "links" }, ...readers.map((head) => opens(head, tools)))] : [];
    const lists = [["target", "source", "Edges in"], ["source", "target", "Edges out"]].flatMap(([side, other, title]) => {
      const found = shown.filter((edge) => (side === "target" ? own.has(edge.target) : edge.source === node.id));
      if (!found.length) return [];
      const items = found.map((edge) => linkTo(edge, tools.byId.get(edge[other]), tools, edge.target !== node.id && edge.source !== node.id));
      const rest = items.slice(MOST_LINKS);
      const more = rest.length ? [element("details", {}, element("summary", {}, `${rest.length} more`), element("ul", { class: "links" }, ...rest))] : [];
      return [heading(`${title} (${found.length})`), element("ul", { class: "links" }, ...items.slice(0, MOST_LINKS)), ...more];
    });
    return [...sharing, ...lists];
  }

  function ends(edge, tools) {
    const of = (id, word) => element("li", {}, `${word} `, (() => {
      const made = report.button("", () => tools.select(id, true), { class: "link" });
      made.append(report.name(tools.byId.get(id).name));
      return made;
    })());
    const others = tools.alike(edge.id).filter((one) => one !== edge);
    const apart = others.length ? [heading(`At other positions (${others.length})`), element("ul", { class: "links" }, ...others.map((one) => linkTo(one, one, tools)))] : [];
    return [heading("It joins"), element("ul", { class: "links" }, of(edge.source, "from"), of(edge.target, "to")), ...apart];
  }

  report.panel = (panel, tools) => ({
    show: (thing, path) => {
      const title = element("h3", { tabindex: -1 }, report.code(thing.name));
      const close = report.button("×", tools.close, { class: "close", "aria-label": "Close" });
      const isNode = tools.byId.get(thing.id)?.kind !== undefined;
      const body = isNode
        ? [...reacts(thing.about ?? {}), ...prompts(thing, tools), ...writes(thing, tools), ...neurons(thing, tools), ...links(thing, tools)]
        : ends(thing, tools);
      panel.replaceChildren(element("div", { class: "head" }, title, close), element("p", { class: "soft" }, thing.what), facts(thing), ...path, ...body);
      panel.scrollTop = 0;
      return title;
    },
    hint: (template) => panel.replaceChildren(template.content.cloneNode(true)),
  });
})();
