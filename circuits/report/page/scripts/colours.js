// The colours of the page for the canvas: read from the style sheet, so that light and dark mode have one source.
(() => {
  "use strict";
  const report = globalThis.circuitReport;

  function parsed(text) {
    const value = text.trim();
    if (value.startsWith("#")) return [1, 3, 5].map((i) => parseInt(value.slice(i, i + 2), 16));
    return value.split(/[\s,]+/).map(Number);
  }

  const written = (colour) => `rgb(${colour.map(Math.round).join(",")})`;
  const mixed = (from, to, share) => from.map((value, i) => value + (to[i] - value) * share);

  report.colours = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => parsed(style.getPropertyValue(`--${name}`));
    const [back, pos, neg] = [of("bg"), of("pos"), of("neg")];
    const plain = (name) => written(of(name));
    return {
      back: written(back), text: plain("fg"), soft: plain("soft"), line: plain("line"), panel: plain("panel"),
      onCell: plain("on-cell"), link: plain("link"), posEdge: plain("k1"), negEdge: plain("k0"),
      fill: (sign, share) => (sign === "plain" ? plain("line") : written(mixed(back, sign === "neg" ? neg : pos, share))),
    };
  };

  report.onScheme = (act) => matchMedia("(prefers-color-scheme: dark)").addEventListener("change", act);
})();
