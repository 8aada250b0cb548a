// The conversion of an image to the pixels that the network sees, by the steps of the contract. The browser decodes the
// file, turns it upright and converts its colors to sRGB. Its own resizing differs from Pillow's, which made the training
// images, so the antialiased triangle filter of Pillow is computed here: first along the rows, then along the columns,
// with 8 bits in between.
"use strict";

const STRIP = 64;  // rows that are read from the browser at a time, as a large photograph may not fit into a canvas

// Returns an error message for an image that keras-inat refuses, or nothing.
function refuse(width, height, limits) {
  const size = `${width} x ${height} pixels`;
  if (width * height > limits.max_pixels) return `has too many pixels (${size})`;
  if (Math.min(width, height) < limits.min_side) return `is too small (${size}): a side needs ${limits.min_side} pixels`;
  if (Math.max(width, height) > limits.max_aspect * Math.min(width, height)) return `is too long and thin (${size})`;
  return "";
}

// Returns the part of an image that becomes the input, and its size there.
function fitImage(width, height, size, fit) {
  if (fit === "pad") {
    const scale = size / Math.max(width, height);
    const target = [width, height].map((side) => Math.max(1, roundHalfEven(side * scale)));
    return { left: 0, top: 0, width, height, columns: target[0], rows: target[1] };
  }
  const side = Math.min(width, height);
  const box = fit === "crop"
    ? { left: (width - side) / 2, top: (height - side) / 2, width: side, height: side }
    : { left: 0, top: 0, width, height };
  return { ...box, columns: size, rows: size };
}

const roundHalfEven = (value) => {
  const floor = Math.floor(value);
  return value - floor === 0.5 ? floor + (floor % 2) : Math.round(value);
};

// Returns, for each of `count` output pixels, its first input pixel and the weights of the input pixels from there.
function weighPixels(length, start, extent, count) {
  const scale = extent / count;
  const support = Math.max(scale, 1);
  return Array.from({ length: count }, (_, index) => {
    const center = start + (index + 0.5) * scale;
    const first = Math.max(0, Math.trunc(center - support + 0.5));
    const end = Math.min(length, Math.trunc(center + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, offset) =>
      Math.max(0, 1 - Math.abs((first + offset - center + 0.5) / support)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return { first, weights: weights.map((weight) => weight / sum) };
  });
}

// Returns the factor by which Pillow reduces a large JPEG while it decodes it: pixels become means of squares.
function findReduction(width, height, side) {
  const scale = Math.floor(Math.min(width / side, height / side));
  return [8, 4, 2].find((factor) => factor <= scale) ?? 1;
}

// Returns the mean of squares of `factor` pixels of RGB rows `(rows, width)`. Those at the end may be smaller.
function reduceRows(pixels, width, factor) {
  if (factor === 1) return pixels;
  const rows = pixels.length / width / 3;
  const columns = Math.ceil(width / factor);
  const reduced = new Uint8Array(Math.ceil(rows / factor) * columns * 3);
  for (let row = 0; row * factor < rows; row += 1) {
    const bottom = Math.min(rows, (row + 1) * factor);
    for (let column = 0; column < columns; column += 1) {
      const right = Math.min(width, (column + 1) * factor);
      for (let channel = 0; channel < 3; channel += 1) {
        let sum = 0;
        for (let y = row * factor; y < bottom; y += 1) {
          for (let x = column * factor; x < right; x += 1) sum += pixels[(y * width + x) * 3 + channel];
        }
        const area = (bottom - row * factor) * (right - column * factor);
        reduced[(row * columns + column) * 3 + channel] = Math.floor(sum / area + 0.5);
      }
    }
  }
  return reduced;
}

// Yields the RGB rows of a bitmap from top to bottom, some at a time. Transparent pixels become white.
function* readRows(bitmap) {
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = STRIP;
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.globalCompositeOperation = "copy";
  for (let top = 0; top < bitmap.height; top += STRIP) {
    const rows = Math.min(STRIP, bitmap.height - top);
    context.drawImage(bitmap, 0, top, bitmap.width, rows, 0, 0, bitmap.width, rows);
    const { data } = context.getImageData(0, 0, bitmap.width, rows);
    const pixels = new Uint8Array(bitmap.width * rows * 3);
    for (let from = 0, to = 0; from < data.length; from += 4) {
      const alpha = data[from + 3];
      for (let channel = 0; channel < 3; channel += 1, to += 1) {
        const value = data[from + channel];
        pixels[to] = alpha === 255 ? value : Math.floor((value * alpha) / 255 + 0.5) + 255 - alpha;
      }
    }
    yield pixels;
  }
}

// Returns the sums of input pixels for each output pixel of a row: `(columns, 3)` into `output`, from `offset` on.
function filterRow(pixels, start, weights, output, offset) {
  let to = offset;
  for (const { first, weights: factors } of weights) {
    let [red, green, blue] = [0, 0, 0];
    let from = start + first * 3;
    for (const factor of factors) {
      red += factor * pixels[from];
      green += factor * pixels[from + 1];
      blue += factor * pixels[from + 2];
      from += 3;
    }
    output[to] = red + 0.5;  // an array of bytes rounds down
    output[to + 1] = green + 0.5;
    output[to + 2] = blue + 0.5;
    to += 3;
  }
}

// Returns the input of the network, `(size, size, 3)` bytes, for a decoded upright image.
//   steps: the values of the contract's steps, by their names
//   traits: `isJpeg`, and `isDeep` if the file has 16 bits per color, of which the browser keeps the upper 8
function prepareImage(bitmap, steps, traits) {
  const { size, fit } = steps.resize;
  const reduction = traits.isJpeg ? findReduction(bitmap.width, bitmap.height, steps.decode.jpeg_side) : 1;
  const width = Math.ceil(bitmap.width / reduction);
  const height = Math.ceil(bitmap.height / reduction);
  const box = fitImage(width, height, size, fit);
  const horizontal = weighPixels(width, box.left, box.width, box.columns);
  const narrow = new Uint8Array(height * box.columns * 3);
  let row = 0;
  for (const strip of readRows(bitmap)) {
    const pixels = reduceRows(strip, bitmap.width, reduction);
    for (let start = 0; start < pixels.length; start += width * 3, row += 1) {
      filterRow(pixels, start, horizontal, narrow, row * box.columns * 3);
    }
  }
  const gain = traits.isDeep ? 65535 / steps.scale.white : 1;
  const image = Uint8Array.from({ length: size * size * 3 }, (_, index) => steps.pad.color[index % 3]);
  const left = Math.floor((size - box.columns) / 2);
  const top = Math.floor((size - box.rows) / 2);
  weighPixels(height, box.top, box.height, box.rows).forEach(({ first, weights }, index) => {
    const to = ((top + index) * size + left) * 3;
    for (let value = 0; value < box.columns * 3; value += 1) {
      let sum = 0;
      weights.forEach((weight, offset) => { sum += weight * narrow[(first + offset) * box.columns * 3 + value]; });
      image[to + value] = Math.min(255, Math.floor(Math.floor(sum + 0.5) * gain + 0.5));
    }
  });
  return image;
}
