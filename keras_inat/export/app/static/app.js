// The page of an exported model: an image in, class probabilities and a map out. Text from the contract and file names
// only ever become text of elements.
"use strict";

const SHOWN = 5;  // classes
const PICTURE = 640;  // longest side of the picture on the page, in pixels
const ACTIVATIONS = "class_activation_maps";  // an output of the model
const OCCLUSION = "occlusion";
const KINDS = { "": "none", [ACTIVATIONS]: "class-activation map", [OCCLUSION]: "occlusion map, which takes longer" };
const NAMES = { [ACTIVATIONS]: "Class-activation map", [OCCLUSION]: "Occlusion map" };
const READABLE = "this browser reads JPEG, PNG, WebP, GIF and BMP, and newer ones AVIF";

const find = (id) => document.getElementById(id);
const say = (text) => { find("status").textContent = text; };
const percent = (value) => `${(100 * value).toFixed(1)}\u00a0%`;
const inflate = (text) => {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
};

let session = null;  // of ONNX Runtime
let current = null;  // the image that is shown, with its probabilities and its maps
let pending = Promise.resolve();  // the last call of the session
let counter = 0;  // of the chosen images: an older one is not shown after a newer one

const { contract, limits } = globalThis.MODEL ?? {};
const steps = Object.fromEntries((contract?.steps ?? []).map(({ step, values }) => [step, values]));

async function start() {
  if (!globalThis.ort || !contract) throw new Error("files of this page are missing: copy its whole folder");
  describeModel();
  listMaps();
  ort.env.wasm.numThreads = 1;  // more threads need headers that a static host rarely sends
  ort.env.wasm.wasmBinary = await inflate(globalThis.RUNTIME);
  session = await ort.InferenceSession.create(await inflate(globalThis.MODEL.onnx), { executionProviders: ["wasm"] });
  delete globalThis.RUNTIME;
  delete globalThis.MODEL.onnx;
  say("The model is ready.");
}

function describeModel() {
  const { accuracy, input, classes, temperature } = contract;
  const [low, high] = accuracy.interval;
  document.title = `Image classifier: ${contract.name}`;
  find("summary").textContent = `${contract.name}, ${classes.length.toLocaleString("en")} classes`;
  find("card").textContent = contract.card;
  const facts = {
    accuracy: `${percent(accuracy.value)} (95\u00a0% interval ${(100 * low).toFixed(1)} to ${percent(high)}, `
      + `n\u00a0=\u00a0${accuracy.num_images.toLocaleString("en")} ${accuracy.images} images)`,
    probabilities: temperature ? `calibrated on validation images (temperature ${temperature.toFixed(2)})`
      : "not calibrated",
    input: `${input.size} x ${input.size} pixels, ${input.range}`,
    maps: contract.outputs.includes(ACTIVATIONS) ? "class-activation maps, and occlusion maps on request"
      : "occlusion maps on request; this network has no class-activation maps",
    license: contract.license ?? "not stated",
    versions: `keras-inat ${contract.keras_inat}, Keras ${contract.keras}, ONNX Runtime ${ort.env.versions.web}`,
  };
  for (const [term, text] of Object.entries(facts)) {
    find("facts").append(create("dt", term), create("dd", text));
  }
  find("list").textContent = `${classes.length.toLocaleString("en")} classes`;
  find("names").textContent = classes.join(", ");
  find("steps").append(...contract.steps.map((step) => create("li", step.text)));
}

function create(name, text, className = "") {
  const element = document.createElement(name);
  element.textContent = text;
  element.className = className;
  return element;
}

// Returns the outputs for images `(count, size, size, 3)`, by name. ONNX Runtime takes one call after the other.
function run(images, count) {
  const result = pending.then(() => predict(images, count));
  pending = result.catch(() => {});
  return result;
}

async function predict(images, count) {
  const { size, name } = contract.input;
  const input = new ort.Tensor("uint8", images, [count, size, size, 3]);
  const outputs = await session.run({ [name]: input }).catch((error) => ({ problem: error.message }));
  if (outputs.probabilities?.data.length !== count * contract.classes.length) {
    throw new Error(`cannot be classified: the model does not fit its contract (${outputs.problem ?? "other classes"})`);
  }
  return outputs;
}

// Returns calibrated probabilities `(classes,)`, as numbers of double precision.
function calibrate(probabilities) {
  const scaled = Array.from(probabilities, (value) => Math.log(Math.max(value, 1e-38)) / (contract.temperature ?? 1));
  const top = Math.max(...scaled);
  const powers = scaled.map((value) => Math.exp(value - top));
  const sum = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / sum);
}

// Decodes a file. The dimensions are checked first, because they are known before the pixels are decoded.
async function decode(file) {
  const address = URL.createObjectURL(file);
  try {
    const image = new Image();
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = () => reject(new Error(`cannot be decoded: ${READABLE}`));
      image.src = address;
    });
    const problem = refuse(image.naturalWidth, image.naturalHeight, limits);
    if (problem) throw new Error(problem);
  } finally {
    URL.revokeObjectURL(address);
  }
  try {
    return await createImageBitmap(file, { imageOrientation: "from-image", premultiplyAlpha: "none" });
  } catch {
    throw new Error("cannot be decoded: it is damaged, or too large for this browser");
  }
}

async function readTraits(file) {
  const head = new Uint8Array(await file.slice(0, 32).arrayBuffer());
  const isPng = String.fromCharCode(...head.slice(0, 4)) === "\x89PNG";
  return { isJpeg: head[0] === 0xff && head[1] === 0xd8, isDeep: isPng && head[24] === 16 };
}

async function classify(file) {
  counter += 1;
  const number = counter;
  if (!session) {
    say("The model is not loaded yet: wait a moment, then choose the image again.");
    return;
  }
  const name = file.name || "the image";
  say(`Classifying ${name} …`);
  try {
    const bitmap = await decode(file);
    const traits = await readTraits(file);
    const image = prepareImage(bitmap, steps, traits);
    const outputs = await run(image, 1);
    if (number !== counter) return;
    const raw = outputs.probabilities.data;
    const probabilities = calibrate(raw);
    const order = probabilities.map((_, label) => label).sort((a, b) => probabilities[b] - probabilities[a]);
    current = { name, image, raw, probabilities, order, maps: {} };
    const activations = outputs[ACTIVATIONS];
    if (activations) {
      const [, rows, columns] = activations.dims;
      current.maps[ACTIVATIONS] = { rows, columns, values: activations.data };
    }
    showPicture(bitmap);
    bitmap.close();
    showClasses();
    find("result").hidden = false;
    const others = order.slice(1, 3).map((label) => `${contract.classes[label]} ${percent(probabilities[label])}`);
    const deep = traits.isDeep ? " The browser keeps 8 of its 16 bits per color, so that the result may differ." : "";
    say(`${name}: ${contract.classes[order[0]]} ${percent(probabilities[order[0]])}, then ${others.join(", ")}.${deep}`);
    await showMap();
  } catch (error) {
    if (number !== counter) return;
    current = null;
    find("result").hidden = true;
    say(`${name} ${error.message}.`);
  }
}

// Draws what the network sees, in a finer resolution.
function showPicture(bitmap) {
  const { fit } = steps.resize;
  const canvas = find("photo");
  const box = fitImage(bitmap.width, bitmap.height, PICTURE, fit);
  canvas.width = PICTURE;
  canvas.height = PICTURE;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.fillStyle = `rgb(${steps.pad.color.join(" ")})`;
  context.fillRect(0, 0, PICTURE, PICTURE);
  const [left, top] = [(PICTURE - box.columns) / 2, (PICTURE - box.rows) / 2];
  context.fillStyle = "white";
  context.fillRect(left, top, box.columns, box.rows);
  context.drawImage(bitmap, box.left, box.top, box.width, box.height, left, top, box.columns, box.rows);
  canvas.setAttribute("aria-label", `The image ${current.name}, as the network sees it`);
  const whole = fit === "crop" && bitmap.width !== bitmap.height ? " The network sees this centered square only." : "";
  find("caption").textContent = `${current.name}, ${bitmap.width} x ${bitmap.height} pixels.${whole}`;
}

function showClasses() {
  const rows = current.order.slice(0, SHOWN).map((label, index) => {
    const row = create("label", "", "class");
    const choice = document.createElement("input");
    Object.assign(choice, { type: "radio", name: "class", value: label, checked: index === 0 });
    choice.addEventListener("change", () => { showMap().catch(fail); });
    const bar = create("span", "", "bar");
    bar.style.width = `${100 * current.probabilities[label]}%`;
    const rail = create("span", "", "rail");
    rail.append(bar);
    row.append(choice, create("span", contract.classes[label], "name"),
      create("span", percent(current.probabilities[label]), "percent"), rail);
    return row;
  });
  find("classes").replaceChildren(...rows);
  const rest = contract.classes.length - rows.length;
  find("legend").textContent = rest > 0 ? `The ${rows.length} most probable of ${contract.classes.length} classes`
    : "Probabilities";
}

// Shows the map of the chosen class. An occlusion map is computed once, when it is first wanted.
async function showMap() {
  const shown = current;
  const kind = find("kind").value;
  const canvas = find("map");
  canvas.hidden = true;
  find("shown").textContent = "";
  if (!shown || !kind) return;
  if (kind === OCCLUSION) shown.maps[OCCLUSION] ??= await occlude(shown);
  if (!shown.maps[kind] || shown !== current || kind !== find("kind").value) return;
  const label = Number(document.querySelector("input[name=class]:checked").value);
  const place = drawMap(canvas, shown.maps[kind], label, contract.classes.length);
  const text = `${NAMES[kind]} of ${contract.classes[label]}: ${place}`;
  canvas.setAttribute("aria-label", text);
  canvas.hidden = false;
  find("shown").textContent = text;
}

// Lists the maps of this model. An occlusion map takes many times as long as the prediction, so it is not the first.
function listMaps() {
  const kinds = contract.outputs.includes(ACTIVATIONS) ? [ACTIVATIONS, OCCLUSION, ""] : ["", OCCLUSION];
  for (const kind of kinds) find("kind").append(new Option(KINDS[kind], kind));
}

async function occlude(shown) {
  const before = find("status").textContent;
  const measure = async (images, count) => (await run(images, count)).probabilities.data;
  const map = await measureOcclusion(shown.image, contract.input.size, shown.raw, measure, (done) => {
    const wanted = shown === current && find("kind").value === OCCLUSION;
    if (wanted) say(`Computing the occlusion map: ${Math.round((100 * done) / GRID ** 2)} % …`);
    return wanted;
  });
  if (shown === current) say(before);
  return map;
}

const fail = (error) => say(`This page failed: ${error.message}.`);

function listen() {
  const take = (files) => {
    const image = [...files].find((file) => file.type.startsWith("image/")) ?? files[0];
    if (image) classify(image).catch(fail);
  };
  for (const input of [find("file"), find("camera")]) {
    input.addEventListener("change", () => {
      take(input.files);
      input.value = "";  // choosing the same file again counts
    });
  }
  const choose = find("choose");
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    choose.classList.add("over");
  });
  document.addEventListener("dragleave", () => choose.classList.remove("over"));
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    choose.classList.remove("over");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => take(event.clipboardData.files));
  find("kind").addEventListener("change", () => { showMap().catch(fail); });
}

// From a server, the page works offline after the first visit and can be installed.
async function goOffline() {
  if (!location.protocol.startsWith("http") || !("serviceWorker" in navigator)) return;
  const link = document.createElement("link");
  Object.assign(link, { rel: "manifest", href: "manifest.webmanifest" });
  document.head.append(link);
  await navigator.serviceWorker.register("sw.js");
  await navigator.serviceWorker.ready;
  find("offline").textContent = "This page now works without a network, too.";
}

listen();
start().catch(fail);
goOffline().catch(() => {});  // without it, the page works online only
