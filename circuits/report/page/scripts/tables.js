// Tables of class "sortable": a button in each header cell sorts the rows; numbers as numbers, what is missing last.
(() => {
  "use strict";

  // "−1.23", "91 % [90, 93]", "1,234", "+2.1e-05" -> a number; "> 99.9 %" a little more than it says; other text -> null.
  function numberOf(text) {
    const found = /^(> )?([+\u2212-]?\d[\d,]*(\.\d+)?(e[+\u2212-]?\d+)?)(?=$|[\s[%])/i.exec(text);
    if (!found) return null;
    return Number(found[2].replaceAll("\u2212", "-").replaceAll(",", "")) + (found[1] ? 1e-9 : 0);
  }

  function keyOf(row, column) {
    const text = (row.cells[column]?.textContent ?? "").trim();
    const bracket = /^\[(.*)$/.exec(text);
    const missing = text === "" || text === "\u2013" || text === "n/a";
    return { text, missing, number: numberOf(bracket ? bracket[1].replace(/,.*/, "") : text) };
  }

  function compare(a, b) {
    if (a.number !== null && b.number !== null) return a.number - b.number;
    return a.text.localeCompare(b.text, "en", { numeric: true });
  }

  // Sorting is stable, and what is missing stays at the end in both directions.
  function sort(table, column, direction) {
    const body = table.tBodies[0];
    const keyed = Array.from(body.rows, (row) => ({ row, key: keyOf(row, column) }));
    keyed.sort((a, b) => a.key.missing - b.key.missing || (a.key.missing ? 0 : direction * compare(a.key, b.key)));
    body.append(...keyed.map((entry) => entry.row));
  }

  function press(table, header, column) {
    const descending = header.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    sort(table, column, descending ? -1 : 1);
  }

  function prepare(table) {
    Array.from(table.tHead.rows[0].cells).forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => press(table, header, column));
    });
  }

  document.querySelectorAll("table.sortable").forEach((table) => {
    if (table.tHead && table.tBodies.length) prepare(table);
  });
})();
