"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const bytes = Uint8Array.from(atob(data.weights), (c) => c.charCodeAt(0));
const n = data.tokens.length, m = data.columns.length, heads = data.heads, layers = data.layers;
const weight = (layer, head, q, k) => bytes[((layer * heads + head) * n + q) * m + k] / 255;
const SVG = "http://www.w3.org/2000/svg";
const make = (tag, attributes, text) => {
  const e = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
};

/* White to blue; the root of a weight, so that small ones are seen. */
function paint(canvas, layer, head) {
  canvas.width = m; canvas.height = n;
  const context = canvas.getContext("2d"), image = context.createImageData(m, n);
  for (let q = 0; q < n; q++) for (let k = 0; k < m; k++) {
    const at = 4 * (q * m + k), s = Math.sqrt(weight(layer, head, q, k));
    image.data[at] = 255 - 247 * s; image.data[at + 1] = 255 - 207 * s; image.data[at + 2] = 255 - 148 * s; image.data[at + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function grid() {
  const side = Math.max(32, Math.min(56, Math.floor(540 / heads), Math.floor(470 / layers.length)));
  const table = document.createElement("table"), top = table.createTHead().insertRow(), body = table.createTBody();
  top.append(document.createElement("th"));
  for (let h = 0; h < heads; h++) top.append(Object.assign(document.createElement("th"), { textContent: `h${h}`, scope: "col" }));
  layers.forEach((layer, i) => {
    const row = body.insertRow();
    row.append(Object.assign(document.createElement("th"), { textContent: `${data.letter}${layer}`, scope: "row" }));
    for (let h = 0; h < heads; h++) {
      const button = document.createElement("button"), canvas = document.createElement("canvas");
      button.type = "button"; button.title = `${data.prefix}${data.letter}${layer}.h${h}`;
      button.setAttribute("aria-label", `head ${button.title}`); button.setAttribute("aria-pressed", "false");
      paint(canvas, i, h);
      canvas.style.width = canvas.style.height = `${side}px`;
      button.append(canvas);
      button.addEventListener("click", () => choose(i, h, button));
      row.insertCell().append(button);
    }
  });
  document.getElementById("grid").append(table);
  return table;
}

let pressed = null;
function choose(layer, head, button) {
  if (pressed) pressed.setAttribute("aria-pressed", "false");
  pressed = button;
  button.setAttribute("aria-pressed", "true");
  document.getElementById("name").textContent = button.title;
  const map = document.getElementById("map"), wide = Math.max(m, Math.min(240, 24 * m)), high = Math.max(n, Math.min(240, 24 * n));
  paint(map, layer, head);
  map.style.width = `${wide}px`; map.style.height = `${high}px`;
  map.onmousemove = (event) => {
    const at = (v, count, size) => Math.max(0, Math.min(count - 1, Math.floor((v * count) / size)));
    tell(layer, head, at(event.offsetY, n, high), at(event.offsetX, m, wide));
  };
  lines(layer, head, null);
}

function tell(layer, head, q, k) {
  document.getElementById("said").textContent =
    `${q} ${data.tokens[q]} looks at ${k} ${data.columns[k]}: ${weight(layer, head, q, k).toFixed(3)}`;
}

/* Queries on the left, keys on the right, a line for each weight; of one query alone where one is pointed at. */
function lines(layer, head, only) {
  const high = 18, left = 130, right = 240, y = (i) => high * (i + 0.5);
  const svg = make("svg", { width: 380, height: high * Math.max(n, m) + 4, role: "img", "aria-label": "What each token looks at" });
  for (let q = 0; q < n; q++) for (let k = 0; k < m; k++) {
    const w = weight(layer, head, q, k);
    if (w >= 0.01 && (only === null || only === q))
      svg.append(make("line", { x1: left + 4, y1: y(q), x2: right - 4, y2: y(k), "stroke-opacity": w, "stroke-width": 1 + 2 * w }));
  }
  const short = (token) => (token.length > 15 ? `${token.slice(0, 14)}…` : token);
  data.tokens.forEach((token, i) => {
    const bold = only === i ? "bold" : "normal";
    const name = make("text", { x: left, y: y(i) + 4, "text-anchor": "end", class: "name", "font-weight": bold }, short(token));
    name.addEventListener("mouseenter", () => { if (only !== i) lines(layer, head, i); });
    svg.append(name);
  });
  data.columns.forEach((token, i) => {
    svg.append(make("text", { x: right, y: y(i) + 4 }, short(token)));
    if (only !== null && weight(layer, head, only, i) >= 0.005)
      svg.append(make("text", { x: 376, y: y(i) + 4, "text-anchor": "end", class: "weight" }, weight(layer, head, only, i).toFixed(2)));
  });
  svg.addEventListener("mouseleave", () => { if (only !== null) lines(layer, head, null); });
  document.getElementById("lines").replaceChildren(svg);
}

grid().querySelector("button").click();
