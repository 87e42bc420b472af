// The page: a photo, what networks make of it, and what is under the pointer.

import { AttentionLayer, ResultLayer } from "./layers.js";
import { fillLegend, made, markEntry, title } from "./legends.js";
import * as requests from "./requests.js";

const STEP = 0.02; // of the photo, that an arrow key moves the point by
const get = (id) => document.getElementById(id);

const server = await requests.networks().catch((error) => {
  complain(`The server cannot be reached: ${error.message}`);
  throw error;
});
const sides = ["first", "second"].map((name) => ({
  network: get(`${name}-network`),
  choice: get(`${name}-layer`),
  canvas: get(name),
  legend: get(`${name}-legend`),
  layer: null,
}));
const [, second] = sides;
let photo = null; // the file
let point = { x: 0.5, y: 0.5 }; // that is read, and whose attention is asked for
let isRead = false; // by somebody, of this photo
let asked = point; // whose attention is shown
let answers = new Map(); // of this photo, by what was asked
let work = new AbortController();
let fetching = new AbortController(); // of an example

start();

function start() {
  const several = server.networks.length > 1;
  for (const side of sides) {
    if (side === second) side.network.add(new Option("nothing", ""));
    server.networks.forEach(({ name }, number) => side.network.add(new Option(name, number)));
    side.network.value = side === second ? (several ? "1" : "") : "0";
    offerLayers(side);
    side.network.addEventListener("change", () => (offerLayers(side), refresh()));
    side.choice.addEventListener("change", () => (nameWhole(side), refresh()));
  }
  for (let number = 0; number < server.examples; number++) get("examples").append(exampleButton(number));
  get("examples").hidden = !server.examples;
  get("file").addEventListener("change", ({ target }) => {
    const [file] = target.files;
    if (!file) return;
    target.value = ""; // so that the same file can be chosen again
    take(file);
  });
  document.addEventListener("dragover", (event) => (event.preventDefault(), get("drop").classList.add("over")));
  document.addEventListener("dragleave", () => get("drop").classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    get("drop").classList.remove("over");
    const files = event.dataTransfer.files;
    if (files.length > 1) complain("Drop one photo at a time.");
    else if (files.length) take(files[0]);
  });
  const stage = get("stage");
  stage.addEventListener("pointermove", (event) => read(pointOf(event)));
  stage.addEventListener("click", (event) => ask(pointOf(event)));
  stage.addEventListener("keydown", pressed);
  get("opacity").addEventListener("input", draw);
  get("split").addEventListener("input", draw);
  get("save-picture").addEventListener("click", savePicture);
  get("save-json").addEventListener("click", saveJson);
  get("photo").addEventListener("load", ({ target }) => {
    if (!photo) return;
    get("shown").hidden = false;
    stage.style.setProperty("--aspect", target.naturalWidth / target.naturalHeight);
    draw();
  });
  new ResizeObserver(draw).observe(stage);
}

function exampleButton(number) {
  const button = document.createElement("button");
  const image = document.createElement("img");
  image.src = `examples/${number}.png`;
  image.alt = `Example ${number + 1}`;
  button.type = "button";
  button.append(image);
  button.addEventListener("click", async () => {
    fetching.abort();
    fetching = new AbortController();
    const { signal } = fetching;
    try {
      const blob = await requests.example(number, signal);
      signal.throwIfAborted();
      take(new File([blob], `example-${number + 1}.png`, { type: "image/png" }));
    } catch (error) {
      if (!signal.aborted) complain(`The example cannot be fetched: ${error.message}`);
    }
  });
  return button;
}

function offerLayers(side) {
  const network = server.networks[side.network.value];
  const before = side.choice.value;
  side.choice.replaceChildren(new Option("result", ""));
  const blocks = document.createElement("optgroup"); // which leaves all room to the block's name
  blocks.label = "attention of";
  blocks.append(...(network?.blocks ?? []).map((block) => new Option(block, block)));
  if (blocks.children.length) side.choice.append(blocks);
  side.choice.value = [...side.choice.options].some(({ value }) => value === before) ? before : "";
  side.choice.disabled = !network;
  nameWhole(side);
}

// Has whoever points at a choice see all of a name that is too long for it.
function nameWhole(side) {
  for (const choice of [side.network, side.choice]) choice.title = choice.selectedOptions[0]?.text ?? "";
}

async function take(file) {
  forget();
  if (file.size > server.limits.bytes) {
    complain(sentence(tooMany(file.size, server.limits.bytes, "bytes")));
    return;
  }
  photo = file;
  show(file);
  await refresh();
}

// Leaves nothing of the photo before to be seen, read or downloaded.
function forget() {
  fetching.abort();
  work.abort();
  photo = null;
  point = asked = { x: 0.5, y: 0.5 };
  isRead = false;
  answers = new Map();
  for (const side of sides) side.layer = null;
  if (get("shown").contains(document.activeElement)) get("file").focus();
  get("shown").hidden = true; // until there is a photo that the browser can show
  get("cross").hidden = true;
  get("progress").hidden = true;
  complain("");
  say("");
  draw();
}

function show(blob) {
  const image = get("photo");
  if (image.src) URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
}

// Asks for what is chosen and not there yet, and shows it.
async function refresh() {
  if (!photo) return;
  work.abort();
  work = new AbortController();
  const { signal } = work;
  get("progress").hidden = false;
  complain("");
  let reached = 0; // sides that show what is chosen
  try {
    await checkPixels(signal);
    for (const side of sides) {
      const layer = side.network.value === "" ? null : await layerOf(side, signal);
      signal.throwIfAborted();
      side.layer = layer;
      reached += 1;
      draw();
    }
    say("Done.");
  } catch (error) {
    if (signal.aborted) return;
    for (const side of sides.slice(reached)) side.layer = null;
    draw();
    say("");
    complain(sentence(error.message));
  }
  if (!signal.aborted) get("progress").hidden = true;
}

// Refuses a photo that the server would refuse, before it is sent.
async function checkPixels(signal) {
  const image = get("photo");
  await image.decode().catch(() => {}); // what this browser cannot show, the server may
  signal.throwIfAborted();
  const pixels = image.naturalWidth * image.naturalHeight;
  if (pixels <= server.limits.pixels) return;
  forget();
  complain(sentence(tooMany(pixels, server.limits.pixels, "pixels")));
  signal.throwIfAborted();
}

function tooMany(count, most, what) {
  const written = (number) => number.toLocaleString("en");
  return `the photo has ${written(count)} ${what}; at most ${written(most)} are taken: make it smaller`;
}

// The layer that is chosen; each knows its network, for the choice may change while it is shown.
async function layerOf(side, signal) {
  const network = side.network.value;
  const block = side.choice.value;
  const name = server.networks[network].name;
  const tell = (text) => say(server.networks.length > 1 ? `${name}: ${text}` : text);
  const key = JSON.stringify(block ? [network, block, asked] : [network]);
  if (!answers.has(key)) {
    if (block) {
      const answer = await requests.attention(network, block, asked, photo, signal, tell);
      signal.throwIfAborted();
      answers.set(key, new AttentionLayer(name, answer));
    } else {
      const answer = await requests.result(network, photo, signal, tell);
      await makeShown(answer, signal);
      signal.throwIfAborted();
      answers.set(key, new ResultLayer(name, answer));
    }
  }
  return answers.get(key);
}

// Shows the server's copy of the photo if the browser shows none, or has turned it another way.
async function makeShown({ width, height }, signal) {
  const image = get("photo");
  const isRight = await image.decode().then(
    () => image.naturalWidth === width && image.naturalHeight === height,
    () => false,
  );
  signal.throwIfAborted();
  if (isRight) return;
  const copy = await requests.decoded(photo, signal);
  signal.throwIfAborted();
  show(copy);
  await image.decode();
}

function draw() {
  const image = get("photo");
  const isSplit = second.layer !== null;
  const share = get("split").value;
  const opacity = get("opacity").value / 100;
  sides.forEach(({ canvas, layer, legend }) => {
    const ratio = window.devicePixelRatio;
    canvas.width = Math.round(image.clientWidth * ratio);
    canvas.height = Math.round(image.clientHeight * ratio);
    legend.hidden = !layer;
    if (!layer) fillLegend(legend, null);
    if (!layer || !canvas.width) return;
    layer.draw(canvas.getContext("2d"), canvas.width, canvas.height, opacity, image);
    if (legend.layer !== layer) fillLegend(legend, layer);
  });
  sides[0].canvas.style.clipPath = isSplit ? `inset(0 ${100 - share}% 0 0)` : "";
  second.canvas.style.clipPath = `inset(0 0 0 ${share}%)`;
  get("divider").style.left = `${share}%`;
  get("divider").hidden = get("split-label").hidden = !isSplit;
  for (const id of ["save-picture", "save-json"]) get(id).disabled = !sides.some(({ layer }) => layer);
  sayReading();
}

function pointOf(event) {
  const box = get("photo").getBoundingClientRect();
  const within = (value) => Math.min(Math.max(value, 0), 1);
  return {
    x: within((event.clientX - box.left) / box.width),
    y: within((event.clientY - box.top) / box.height),
  };
}

function pressed(event) {
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === "Enter" || event.key === " ") ask(point);
  else if (moves[event.key]) {
    const [x, y] = moves[event.key];
    const within = (value) => Math.min(Math.max(value, 0), 1);
    read({ x: within(point.x + STEP * x), y: within(point.y + STEP * y) });
    mark(point);
  } else return;
  event.preventDefault();
}

function read(where) {
  point = where;
  isRead = true;
  sayReading();
}

// Says what is at the point that is read; of two layers, of which each is said.
function sayReading() {
  const layers = sides.filter(({ layer }) => layer);
  let texts = layers.map(({ layer, legend }) => {
    const found = layer.at(point);
    markEntry(legend, layer, isRead ? found.part : undefined);
    return layers.length > 1 ? `${title(layer)}: ${found.text}` : found.text;
  });
  if (layers.length && !isRead) texts = ["Point at the photo, or use the arrow keys."];
  const reading = get("reading");
  if (reading.textContent === texts.join("")) return; // which would be read aloud again
  reading.replaceChildren(...texts.map((text) => made("span", text)));
}

// Marks a point, and asks for the attention of blocks that attend from there to something else.
function ask(where) {
  read(where);
  mark(where);
  if (!sides.some(({ layer, choice }) => (layer ? layer.of_query : choice.value))) return;
  asked = where;
  refresh();
}

function mark({ x, y }) {
  const cross = get("cross");
  cross.style.left = `${100 * x}%`;
  cross.style.top = `${100 * y}%`;
  cross.hidden = false;
}

function savePicture() {
  const image = get("photo");
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth;
  canvas.height = image.naturalHeight;
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const opacity = get("opacity").value / 100;
  const border = second.layer ? (canvas.width * get("split").value) / 100 : canvas.width;
  const parts = [[0, border], [border, canvas.width]];
  sides.forEach(({ layer }, index) => {
    if (!layer) return;
    const [left, right] = parts[index];
    context.save();
    context.beginPath();
    context.rect(left, 0, right - left, canvas.height);
    context.clip();
    layer.draw(context, canvas.width, canvas.height, opacity, image);
    context.restore();
  });
  const { name } = photo;
  canvas.toBlob((blob) => {
    if (blob) save(blob, name, "png");
    else complain("This browser cannot make a picture of that size.");
  });
}

function saveJson() {
  const found = sides
    .filter(({ layer }) => layer)
    .map(({ layer }) => ({ network: layer.network, result: layer.json }));
  const text = JSON.stringify(found.length === 1 ? found[0] : found, null, 2);
  save(new Blob([text], { type: "application/json" }), photo.name, "json");
}

function save(blob, name, suffix) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replace(/\.[^.]*$/, "")}_result.${suffix}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function say(text) {
  get("status").textContent = text;
}

function complain(text) {
  get("problem").textContent = text;
}

function sentence(text) {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}
