// Interactive parallel coordinates.
// Pointer: drag along an axis to select the trials that cross it there, click the axis to clear its selection, drag its
// name to move it. Keyboard, with the name in focus: up and down select a half, enter goes from one selection to the next,
// escape clears it, left and right move the axis. Without JavaScript the page shows the picture instead.
"use strict";

const SVG = "http://www.w3.org/2000/svg";
const PLOT = 300, LINE = 17, LEFT = 80, RIGHT = 90, MIN_GAP = 62;
const MAX_LABEL = 14;  // characters of a tick
const MAX_NAME = 24;  // characters of the name of an axis
const MIN_DRAG = 0.015;  // of the height of an axis; less is a click
const HELP = "Drag along an axis to select the trials that cross it there. Click the axis to clear the selection. "
  + "Drag the name of an axis to move it. Point at a line to read its values. "
  + "Keyboard: Tab to a name, ↑ or ↓ selects a half, ← or → moves the axis, Escape clears the selection.";

const shorten = (text, length) => text.length > length ? text.slice(0, length - 1) + "…" : text;
const pen = document.createElement("canvas").getContext("2d");
pen.font = `600 12px ${getComputedStyle(document.documentElement).getPropertyValue("--sans")}`;

const append = (parent, name, attributes, text) => {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return parent.appendChild(element);
};

// The colors of the lines, from the lowest to the highest accuracy.
const drawKey = ({ colors, low, high }) => {
  const element = document.createElement("p");
  const bar = document.createElement("span");
  element.className = "key";
  bar.style.background = `linear-gradient(to right, ${colors.join(", ")})`;
  element.append(low, bar, high);
  return element;
};

for (const root of document.querySelectorAll(".parallel")) {
  const { axes, lines, key } = JSON.parse(root.querySelector("script").textContent);
  const minWidth = LEFT + RIGHT + MIN_GAP * (axes.length - 1);
  const width = Math.max(root.clientWidth, minWidth);
  const order = axes.map((_, axis) => axis);  // the axes from left to right
  const gap = (width - LEFT - RIGHT) / Math.max(1, axes.length - 1);
  // The names of the axes take turns on as many lines as the widest one needs.
  const names = axes.map(({ label }) => shorten(label.replaceAll("_", " "), MAX_NAME));
  const levels = Math.ceil((Math.max(...names.map((name) => pen.measureText(name).width)) + 12) / gap);
  const TOP = LINE * levels + 14, BOTTOM = TOP + PLOT, HEIGHT = BOTTOM + 22;
  const x = (axis) => LEFT + order.indexOf(axis) * gap;
  const y = (position) => BOTTOM - position * (BOTTOM - TOP);
  const selections = axes.map(() => null);

  const plot = document.createElement("div");
  plot.className = "plot scroll";
  const style = `min-width:${minWidth}px`;
  const svg = append(plot, "svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", style });
  svg.setAttribute("aria-label", root.querySelector("img").alt);
  const output = document.createElement("output");

  const describe = () => {
    const selected = lines.filter((line) => !line.path.classList.contains("off"));
    const best = selected.length ? ` Best: ${selected[selected.length - 1].title}` : "";
    output.textContent = selected.length === lines.length ? HELP : `${selected.length} of ${lines.length} trials.${best}`;
  };

  // The best line comes last, so that it lies on top. A line skips the axes of settings that do not apply.
  const last = axes.length - 1;
  lines.sort((a, b) => a.at[last] - b.at[last]);
  for (const line of lines) {
    line.path = append(svg, "path", { stroke: line.color });
    line.path.addEventListener("pointerenter", () => {
      line.path.classList.add("near");
      output.textContent = line.title;
    });
    line.path.addEventListener("pointerleave", () => {
      line.path.classList.remove("near");
      describe();
    });
  }

  const isSelected = (line) => selections.every((selection, axis) =>
    !selection || (line.at[axis] !== null && line.at[axis] >= selection[0] && line.at[axis] <= selection[1]));
  const update = () => {
    for (const line of lines) line.path.classList.toggle("off", !isSelected(line));
    describe();
  };

  const groups = axes.map(() => append(svg, "g", { class: "axis" }));
  const arrange = () => {
    for (const line of lines) {
      const points = order.filter((axis) => line.at[axis] !== null).map((axis) => `${x(axis)} ${y(line.at[axis])}`);
      line.path.setAttribute("d", "M" + points.join("L"));
    }
    groups.forEach((group, axis) => {
      group.setAttribute("transform", `translate(${x(axis)} 0)`);
      group.querySelector(".name").setAttribute("y", 16 + LINE * (order.indexOf(axis) % levels));
    });
  };
  const move = (axis, slot) => {
    order.splice(order.indexOf(axis), 1);
    order.splice(Math.min(last, Math.max(0, slot)), 0, axis);
    arrange();
  };

  const drawTicks = (group, axis) => {
    const side = axis === last ? 1 : -1;
    for (const [position, text] of axes[axis].ticks) {
      append(group, "line", { x1: 4 * side, x2: 0, y1: y(position), y2: y(position) });
      append(group, "text", { x: 8 * side, y: y(position) + 4, "text-anchor": side > 0 ? "start" : "end" },
        shorten(text, MAX_LABEL));
    }
  };

  // Selects by dragging along an axis. Returns the function that sets the selection.
  const makeSelectable = (group, axis) => {
    const box = append(group, "rect", { class: "selection", x: -9, width: 18, y: 0, height: 0 });
    const grip = append(group, "rect", { class: "grip", x: -14, width: 28, y: TOP - 8, height: BOTTOM - TOP + 16 });
    let start = null;
    const read = (event) => {
      const frame = svg.getBoundingClientRect();
      const position = (BOTTOM - (event.clientY - frame.top) * HEIGHT / frame.height) / (BOTTOM - TOP);
      return Math.min(1, Math.max(0, position));
    };
    const select = (selection) => {
      selections[axis] = selection;
      box.setAttribute("y", selection ? y(selection[1]) : 0);
      box.setAttribute("height", selection ? Math.max(2, y(selection[0]) - y(selection[1])) : 0);
      update();
    };
    grip.addEventListener("pointerdown", (event) => {
      start = read(event);
      grip.setPointerCapture(event.pointerId);
    });
    grip.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const end = read(event);
      if (Math.abs(end - start) > MIN_DRAG) select([Math.min(start, end), Math.max(start, end)]);
    });
    grip.addEventListener("pointerup", (event) => {
      if (Math.abs(read(event) - start) <= MIN_DRAG) select(null);
      start = null;
    });
    grip.addEventListener("pointercancel", () => { start = null; });
    return select;
  };

  const makeMovable = (name, axis) => {
    let moving = false;
    name.addEventListener("pointerdown", (event) => {
      moving = true;
      name.setPointerCapture(event.pointerId);
    });
    name.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const slot = Math.round(((event.clientX - frame.left) * width / frame.width - LEFT) / gap);
      if (moving && slot !== order.indexOf(axis)) move(axis, slot);
    });
    for (const end of ["pointerup", "pointercancel"]) name.addEventListener(end, () => { moving = false; });
  };

  const addKeys = (name, axis, select) => {
    const selectNext = () => {
      if (!selections[axis]) select([0.5, 1]);
      else if (selections[axis][0] >= 0.5) select([0, 0.5]);
      else select(null);
    };
    const keys = {
      Enter: selectNext,
      " ": selectNext,
      ArrowLeft: () => move(axis, order.indexOf(axis) - 1),
      ArrowRight: () => move(axis, order.indexOf(axis) + 1),
      ArrowUp: () => select([0.5, 1]),
      ArrowDown: () => select([0, 0.5]),
      Escape: () => select(null),
    };
    name.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  };

  groups.forEach((group, axis) => {
    append(group, "line", { x1: 0, x2: 0, y1: TOP, y2: BOTTOM });
    const name = append(group, "text", { class: "name", x: 0, "text-anchor": "middle", tabindex: 0, role: "button" },
      names[axis]);
    drawTicks(group, axis);
    const select = makeSelectable(group, axis);
    makeMovable(name, axis);
    addKeys(name, axis, select);
  });
  arrange();

  root.prepend(plot);
  plot.after(drawKey(key), output);
  root.classList.add("live");
  describe();
}

// What is wider than its place can be scrolled by the keyboard as well.
const watch = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});
for (const element of document.querySelectorAll(".scroll")) watch.observe(element);

// All folded parts at once.
const button = document.querySelector(".unfold");
const folds = [...document.querySelectorAll("details.fold")];
button.hidden = folds.length === 0;
button.addEventListener("click", () => {
  const open = folds.some((fold) => !fold.open);
  for (const fold of folds) fold.open = open;
  button.textContent = open ? "Fold all details" : "Open all details";
});

// On a narrow screen the contents are folded, so that the page begins with the answer.
if (!window.matchMedia("(min-width: 75rem)").matches) document.querySelector("nav details").open = false;
