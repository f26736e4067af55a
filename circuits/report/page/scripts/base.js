// What the other scripts of this page share: the data, and how elements are made. All text goes in as text, never as markup.
(() => {
  "use strict";
  const report = (globalThis.circuitReport = {});
  const SVG = "http://www.w3.org/2000/svg";

  report.data = () => JSON.parse(document.getElementById("data").textContent);
  report.byId = (id) => document.getElementById(id);

  function filled(made, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.filter((child) => child !== null && child !== undefined));
    return made;
  }

  report.element = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
  report.svg = (tag, attributes = {}, ...children) => filled(document.createElementNS(SVG, tag), attributes, children);

  report.button = (text, onClick, attributes = {}) => {
    const made = report.element("button", { type: "button", ...attributes }, text);
    made.addEventListener("click", onClick);
    return made;
  };

  // What stands in the page may come from outside: its direction must not leak into what is around it.
  report.name = (text) => report.element("bdi", {}, text);
  report.code = (text) => report.element("code", {}, report.name(text));

  // The step of opacity that the style sheet has a class for.
  report.shade = (sign, share) => `shade ${sign} a${5 * Math.ceil(20 * Math.min(1, share) - 1e-9)}`;
})();
