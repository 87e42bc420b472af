// Layers over the photo: how they are drawn, and what they say of a point.

const HEAT = [[13, 8, 135], [126, 3, 168], [204, 71, 120], [248, 149, 64], [240, 249, 33]];

// A network's result: coloured regions, boxes, and what is said of them.
export class ResultLayer {
  constructor(network, answer) {
    const { measure, parts, regions } = answer.layer;
    this.network = network; // its name
    this.measure = measure;
    this.parts = parts;
    this.json = answer.result;
    this.byRegion = new Map(parts.map((part) => [part.region, part]));
    this.regions = regions && unrolled(regions);
    this.width = regions?.width;
    this.height = regions?.height;
    this.picture = regions && this.#painted();
  }

  draw(context, width, height, opacity) {
    if (this.picture) {
      context.globalAlpha = opacity;
      context.imageSmoothingEnabled = false;
      context.drawImage(this.picture, 0, 0, width, height);
      context.globalAlpha = 1;
    }
    context.lineWidth = Math.max(2, width / 300);
    for (const { box, color } of [...this.parts].reverse()) {
      if (!box) continue;
      const [left, top, right, bottom] = box;
      context.strokeStyle = css(color);
      context.strokeRect(left * width, top * height, (right - left) * width, (bottom - top) * height);
    }
  }

  // What is at a point, both coordinates from 0 to 1.
  at(point) {
    if (!this.regions) {
      const part = this.parts.find(({ box }) => !box || holds(box, point));
      return { text: part ? said(part) : "nothing here", part };
    }
    const column = Math.min(Math.floor(point.x * this.width), this.width - 1);
    const row = Math.min(Math.floor(point.y * this.height), this.height - 1);
    const part = this.byRegion.get(this.regions[row * this.width + column]);
    return { text: part ? said(part) : "nothing here", part };
  }

  #painted() {
    const image = new ImageData(this.width, this.height);
    const pixels = new Uint32Array(image.data.buffer);
    const colors = new Map(this.parts.map((part) => [part.region, packed(part.color)]));
    this.regions.forEach((region, index) => {
      pixels[index] = colors.get(region) ?? 0;
    });
    return canvasOf(image);
  }
}

// Where a context block attends to, in multiples of the mean.
export class AttentionLayer {
  constructor(network, answer) {
    this.network = network; // its name
    Object.assign(this, answer); // block, of_query, width, height, weights, window
    this.json = answer;
    this.low = Math.min(...rows(this.weights, this.width).map((row) => Math.min(...row)));
    this.high = Math.max(...rows(this.weights, this.width).map((row) => Math.max(...row)));
    this.flat = !(this.high - this.low > 1e-3 * Math.max(Math.abs(this.low), Math.abs(this.high)));
    const image = new ImageData(this.width, this.height);
    const pixels = new Uint32Array(image.data.buffer);
    this.weights.forEach((weight, index) => {
      pixels[index] = packed(heat(this.flat ? 0.5 : (weight - this.low) / (this.high - this.low)));
    });
    this.picture = canvasOf(image);
  }

  // The photo is drawn too, in grey, so that the colours are the map's alone.
  draw(context, width, height, opacity, photo) {
    context.drawImage(photo, 0, 0, width, height);
    context.globalCompositeOperation = "saturation"; // of grey, which has none; Safari has no filters
    context.fillStyle = "gray";
    context.fillRect(0, 0, width, height);
    context.globalCompositeOperation = "source-over";
    const [left, top, right, bottom] = this.window;
    context.globalAlpha = opacity;
    context.imageSmoothingEnabled = true;
    context.imageSmoothingQuality = "high";
    context.drawImage(
      this.picture, left * width, top * height, (right - left) * width, (bottom - top) * height,
    );
    context.globalAlpha = 1;
  }

  at(point) {
    const [left, top, right, bottom] = this.window;
    const x = (point.x - left) / (right - left);
    const y = (point.y - top) / (bottom - top);
    if (x < 0 || x > 1 || y < 0 || y > 1) return { text: "not seen by the network" };
    const column = Math.min(Math.floor(x * this.width), this.width - 1);
    const row = Math.min(Math.floor(y * this.height), this.height - 1);
    return { text: `attention ${times(this.weights[row * this.width + column])} the mean` };
  }
}

export function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

export function percent(value) {
  return value > 0 && value < 0.001 ? "<0.1%" : `${(100 * value).toFixed(1)}%`;
}

export function times(value, digits = 3) {
  return `${Number(value.toPrecision(digits))} x`;
}

// The colours of attention, from the lowest to the highest, as a background.
export function heatBar() {
  return `linear-gradient(to right, ${HEAT.map(css).join(", ")})`;
}

function holds([left, top, right, bottom], { x, y }) {
  return left <= x && x < right && top <= y && y < bottom;
}

function said(part) {
  return `${part.name}, ${percent(part.value)}`;
}

function unrolled({ width, height, runs }) {
  const regions = new Uint16Array(width * height);
  let start = 0;
  for (let index = 0; index < runs.length; index += 2) {
    regions.fill(runs[index], start, start + runs[index + 1]);
    start += runs[index + 1];
  }
  return regions;
}

function rows(values, width) {
  return Array.from({ length: values.length / width }, (_, row) => values.slice(row * width, (row + 1) * width));
}

function packed([red, green, blue]) {
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0; // as little-endian machines lay it out
}

function heat(share) {
  const place = share * (HEAT.length - 1);
  const index = Math.min(Math.floor(place), HEAT.length - 2);
  return HEAT[index].map((low, channel) => Math.round(low + (place - index) * (HEAT[index + 1][channel] - low)));
}

function canvasOf(image) {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
