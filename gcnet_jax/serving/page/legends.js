// What is said below the photo: of each layer its name, and what its colours mean.

import { AttentionLayer, css, heatBar, percent, times } from "./layers.js";

// Fills an element with the legend of a layer, or of none.
export function fillLegend(element, layer) {
  element.layer = layer; // that it is of
  element.replaceChildren();
  if (!layer) return;
  element.append(made("h2", title(layer)));
  if (layer instanceof AttentionLayer) {
    element.append(made("p", attentionInWords(layer)));
    if (layer.flat) return;
    const bar = classed("bar", made("div"));
    bar.style.background = heatBar();
    const ends = classed("ends", made("div"));
    const [low, high] = apart(layer.low, layer.high);
    ends.append(made("span", `${low} the mean`), made("span", high));
    element.append(bar, ends);
    return;
  }
  element.append(made("p", layer.parts.length ? layer.measure : "Nothing found."));
  element.append(made("ul", ...layer.parts.map((part) => entry(part, Boolean(layer.regions || part.box)))));
}

// Returns what tells a layer from others: its network and, if it is one block's, the block.
export function title(layer) {
  return [layer.network, layer.block].filter(Boolean).join(": ");
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

// An entry has its colour before it if there is something of that colour over the photo.
function entry(part, isDrawn) {
  const content = [classed("name", made("span", part.name)), classed("value", made("span", percent(part.value)))];
  if (isDrawn) {
    const swatch = classed("swatch", made("i"));
    swatch.style.background = css(part.color);
    content.unshift(swatch);
  }
  return made("li", ...content);
}

function classed(name, element) {
  element.className = name;
  return element;
}

export function made(tag, ...content) {
  const element = document.createElement(tag);
  element.append(...content);
  return element;
}
