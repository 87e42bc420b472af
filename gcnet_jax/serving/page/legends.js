// What is said below the photo: of each layer its name, and what its colours mean.

import { AttentionLayer, css, heatBar, percent, times } from "./layers.js";

// Fills an element with the legend of a layer.
export function fillLegend(element, layer) {
  const title = [layer.network, layer.block].filter(Boolean).join(": ");
  element.replaceChildren(made("h2", title));
  if (layer instanceof AttentionLayer) {
    element.append(made("p", attentionInWords(layer)));
    if (layer.flat) return;
    const bar = made("div");
    bar.className = "bar";
    bar.style.background = heatBar();
    const ends = made("div");
    ends.className = "ends";
    const [low, high] = apart(layer.low, layer.high);
    ends.append(made("span", `${low} the mean`), made("span", high));
    element.append(bar, ends);
    return;
  }
  element.append(made("p", layer.parts.length ? layer.measure : "Nothing found."));
  element.append(made("ul", ...layer.parts.map(entry)));
}

// Marks the entry of a part in a legend, or none.
export function markEntry(element, layer, part) {
  element.querySelectorAll("li").forEach((item, index) => {
    item.classList.toggle("read", layer.parts?.[index] === part && part !== undefined);
  });
}

function attentionInWords(layer) {
  const start = `Where ${layer.block} gathers from`;
  if (layer.flat) return `${start}: everywhere alike.`;
  return layer.of_query
    ? `${start} for the marked point. Click another point, or press Enter.`
    : `${start}: the same for every point.`;
}

// Two values in words, with as many digits as tell them apart.
function apart(low, high) {
  for (let digits = 3; digits < 6; digits++) {
    if (times(low, digits) !== times(high, digits)) return [times(low, digits), times(high, digits)];
  }
  return [times(low, 6), times(high, 6)];
}

function entry(part) {
  const swatch = made("i");
  swatch.className = "swatch";
  swatch.style.background = css(part.color);
  return made("li", swatch, made("span", part.name), made("output", percent(part.value)));
}

function made(tag, ...content) {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}
