// Maps of the regions that raise the probability of a class: class-activation maps, or occlusion maps.
"use strict";

const GRID = 8;  // rows and columns of an occlusion map
const COVER = 0.25;  // side of the covered square, as a fraction of the image's side
const COVERING = 128;  // gray, in all channels
const BATCH = 8;  // images at a time, so that the page stays responsive
// Colors from the weakest to the strongest region, the same in light and dark. The opacity rises as well.
const RAMP = [[92, 0, 142], [224, 58, 62], [255, 222, 80]];
const OPACITY = 0.8;
const SIDE = 224;  // of the drawn map, in pixels

// Returns images in which one square each is gray, from `start` on: `(count, size, size, 3)`.
function coverSquares(image, size, start, count) {
  const half = (COVER * size) / 2;
  const images = new Uint8Array(count * image.length);
  for (let number = 0; number < count; number += 1) {
    const cell = start + number;
    const y = ((Math.floor(cell / GRID) + 0.5) * size) / GRID;
    const x = (((cell % GRID) + 0.5) * size) / GRID;
    const covered = images.subarray(number * image.length, (number + 1) * image.length);
    covered.set(image);
    for (let row = Math.max(0, Math.round(y - half)); row < Math.min(size, Math.round(y + half)); row += 1) {
      const left = Math.max(0, Math.round(x - half));
      covered.fill(COVERING, (row * size + left) * 3, (row * size + Math.min(size, Math.round(x + half))) * 3);
    }
  }
  return images;
}

// Returns the fall of each probability by covering each square: `(GRID, GRID, classes)`. Null if it was stopped.
//   predict: returns the probabilities `(count, classes)` of images
//   report: called with the number of squares that are done; stops by returning false
async function measureOcclusion(image, size, probabilities, predict, report) {
  const classes = probabilities.length;
  const values = new Float32Array(GRID * GRID * classes);
  for (let start = 0; start < GRID * GRID; start += BATCH) {
    if (!report(start)) return null;
    await new Promise((resume) => { setTimeout(resume); });
    const covered = await predict(coverSquares(image, size, start, BATCH), BATCH);
    covered.forEach((value, index) => {
      values[start * classes + index] = probabilities[index % classes] - value;
    });
  }
  return { rows: GRID, columns: GRID, values };
}

// Draws the map of a class, `(rows, columns, classes)`, enlarged. Returns it in words.
function drawMap(canvas, map, label, classes) {
  const { rows, columns, values } = map;
  const shown = Array.from({ length: rows * columns }, (_, cell) => Math.max(0, values[cell * classes + label]));
  const top = Math.max(...shown);
  canvas.width = SIDE;
  canvas.height = SIDE;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(SIDE, SIDE);
  const across = weighPixels(columns, 0, columns, SIDE);
  const down = weighPixels(rows, 0, rows, SIDE);
  for (let pixel = 0; pixel < SIDE * SIDE && top > 0; pixel += 1) {
    const x = across[pixel % SIDE];
    const y = down[Math.floor(pixel / SIDE)];
    let level = 0;
    y.weights.forEach((vertical, row) => x.weights.forEach((horizontal, column) => {
      level += (vertical * horizontal * shown[(y.first + row) * columns + x.first + column]) / top;
    }));
    const place = level * (RAMP.length - 1);
    const lower = Math.min(RAMP.length - 2, Math.floor(place));
    RAMP[lower].forEach((color, channel) => {
      picture.data[pixel * 4 + channel] = color + (place - lower) * (RAMP[lower + 1][channel] - color);
    });
    picture.data[pixel * 4 + 3] = 255 * OPACITY * level;
  }
  context.putImageData(picture, 0, 0);
  const place = top > 0 ? `strongest at the ${describePlace(shown.indexOf(top), rows, columns)}` : "no region raises it";
  return `${place} (${rows} x ${columns} regions)`;
}

function describePlace(cell, rows, columns) {
  const third = (index, count) => Math.min(2, Math.floor(((index + 0.5) / count) * 3));
  const vertical = ["top", "middle", "bottom"][third(Math.floor(cell / columns), rows)];
  const horizontal = ["left", "center", "right"][third(cell % columns, columns)];
  return vertical === "middle" && horizontal === "center" ? "center" : `${vertical} ${horizontal}`;
}
