// Where a head looks on a prompt: a grid of query tokens by key tokens, and one cell of it in words.
(() => {
  "use strict";
  const report = globalThis.circuitReport;
  const [LARGEST, SMALLEST, ROOM, LETTER] = [16, 12, 300, 6.4];

  const percent = (thousandths) => `${(thousandths / 10).toFixed(1)} %`;
  const short = (text) => (text.length > 12 ? `${[...text].slice(0, 11).join("")}…` : text);

  // Of a model that looks at later tokens too, all columns; else those up to the token that looks.
  const whole = (rows) => rows.some((row, q) => row.slice(q + 1).some((value) => value > 0));

  function grid(tokens, rows) {
    const all = whole(rows);
    const left = Math.min(90, LETTER * Math.max(...tokens.map((t) => short(t).length)) + 10);
    const cellSize = Math.max(SMALLEST, Math.min(LARGEST, Math.floor((ROOM - left) / tokens.length)));
    const [size, top] = [cellSize * tokens.length, left];
    const svg = report.svg("svg", { width: left + size + 2, height: top + size + 2, viewBox: `0 0 ${left + size + 2} ${top + size + 2}`, "aria-hidden": "true" });
    tokens.forEach((token, i) => {
      const middle = (i + 0.5) * cellSize;
      const turned = `rotate(-90 ${left + middle + 4} ${top - 6})`;
      svg.append(report.svg("text", { x: left - 6, y: top + middle + 4, class: "end" }, short(token)));
      svg.append(report.svg("text", { x: left + middle + 4, y: top - 6, transform: turned }, short(token)));
    });
    const cells = rows.map((row, q) => row.slice(0, all ? row.length : q + 1).map((value, k) => {
      const place = { x: left + k * cellSize + 0.5, y: top + q * cellSize + 0.5, width: cellSize - 1, height: cellSize - 1 };
      const cell = report.svg("rect", { ...place, class: "look-cell", "fill-opacity": Math.min(1, value / 1000) });
      svg.append(report.svg("rect", { ...place, class: "look-back" }), cell);
      return cell;
    }));
    return { svg, cells, all, at: (event) => place(svg, event, { left, top, cellSize, all, n: tokens.length }) };
  }

  // The cell under the pointer, whatever size the drawing is shown at.
  function place(svg, event, { left, top, cellSize, all, n }) {
    const box = svg.getBoundingClientRect();
    const scale = svg.viewBox.baseVal.width / box.width;
    const [k, q] = [(event.clientX - box.left) * scale - left, (event.clientY - box.top) * scale - top].map((v) => Math.floor(v / cellSize));
    return q >= 0 && q < n && k >= 0 && k < (all ? n : q + 1) ? [q, k] : null;
  }

  // The strongest look of the last token, so that the line below says something before it is used.
  function first(rows) {
    const last = rows[rows.length - 1];
    return [rows.length - 1, last.indexOf(Math.max(...last))];
  }

  const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

  function explore(region, drawn, rows, say) {
    let at = first(rows);
    const go = (next) => {
      drawn.cells[at[0]][at[1]].classList.remove("at");
      at = next;
      drawn.cells[at[0]][at[1]].classList.add("at");
      say(...at);
    };
    region.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step) return;
      event.preventDefault();
      const q = Math.max(0, Math.min(rows.length - 1, at[0] + step[0]));
      go([q, Math.max(0, Math.min(drawn.all ? rows.length - 1 : q, at[1] + step[1]))]);
    });
    region.addEventListener("pointermove", (event) => {
      const found = drawn.at(event);
      if (found) go(found);
    });
    go(at);
  }

  report.pattern = (name, example) => {
    const rows = example.patterns[name];
    const drawn = grid(example.tokens, rows);
    const words = report.element("p", { class: "look-words", "aria-live": "polite" });
    const region = report.element("div", {
      class: "scroll pattern", tabindex: 0, role: "application",
      "aria-label": "Attention pattern, a row for each token that looks; arrow keys move from cell to cell",
    }, drawn.svg);
    explore(region, drawn, rows, (q, k) => {
      words.replaceChildren(report.code(example.tokens[q]), " looks at ", report.code(example.tokens[k]), ` with ${percent(rows[q][k])}`);
    });
    return [region, words];
  };
})();
