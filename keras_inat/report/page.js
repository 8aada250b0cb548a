// Parallel coordinates: drag along an axis to keep the trials that cross there, click it to let go, drag its name to move
// it; by keyboard, with its name in focus: up and down keep a half, enter goes from one to the next, escape lets go, left
// and right move it. The picture that stands in the page without JavaScript gives way to it.
"use strict";

for (const root of document.querySelectorAll(".parallel")) {
  const { axes, lines } = JSON.parse(root.querySelector("script").textContent);
  const height = 400, top = 48, bottom = height - 22, left = 80, right = 90;
  const least = left + right + 62 * (axes.length - 1);
  const width = Math.max(root.clientWidth, least);
  const order = axes.map((_, axis) => axis);  // the axes from left to right
  const gap = (width - left - right) / Math.max(1, axes.length - 1);
  const x = (axis) => left + order.indexOf(axis) * gap;
  const y = (position) => bottom - position * (bottom - top);
  const brushes = axes.map(() => null);

  const make = (parent, name, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return parent.appendChild(element);
  };

  const plot = document.createElement("div");
  plot.className = "plot";
  const svg = make(plot, "svg", { viewBox: `0 0 ${width} ${height}`, role: "group", style: `min-width:${least}px` });
  svg.setAttribute("aria-label", root.querySelector("img").alt);
  const output = document.createElement("output");

  // Best last, so that it lies on top. A trial without a value on an axis passes it by.
  const last = axes.length - 1;
  lines.sort((a, b) => a.at[last] - b.at[last]);
  for (const line of lines) {
    line.path = make(svg, "path", { stroke: line.color });
    line.path.addEventListener("pointerenter", () => { line.path.classList.add("near"); output.textContent = line.title; });
    line.path.addEventListener("pointerleave", () => { line.path.classList.remove("near"); tell(); });
  }

  const tell = () => {
    const kept = lines.filter((line) => !line.path.classList.contains("off"));
    const best = kept.length ? ` Best: ${kept[kept.length - 1].title}` : "";
    output.textContent = kept.length === lines.length
      ? "Drag along an axis to keep the trials that cross it there; click the axis to let go. Drag its name to move it. Point at a line to read it."
      : `${kept.length} of ${lines.length} trials.${best}`;
  };
  const update = () => {
    for (const { at, path } of lines) {
      const out = brushes.some((brush, axis) => brush && (at[axis] === null || at[axis] < brush[0] || at[axis] > brush[1]));
      path.classList.toggle("off", out);
    }
    tell();
  };

  const groups = axes.map(() => make(svg, "g", { class: "axis" }));
  const place = () => {
    for (const line of lines) {
      const points = order.filter((axis) => line.at[axis] !== null).map((axis) => `${x(axis)} ${y(line.at[axis])}`);
      line.path.setAttribute("d", "M" + points.join("L"));
    }
    groups.forEach((group, axis) => {
      group.setAttribute("transform", `translate(${x(axis)} 0)`);
      group.querySelector(".name").setAttribute("y", axes.length > 8 && order.indexOf(axis) % 2 ? 34 : 18);
    });
  };
  const move = (axis, slot) => {
    order.splice(order.indexOf(axis), 1);
    order.splice(Math.min(last, Math.max(0, slot)), 0, axis);
    place();
  };

  axes.forEach(({ label, ticks }, axis) => {
    const group = groups[axis];
    make(group, "line", { x1: 0, x2: 0, y1: top, y2: bottom });
    const name = make(group, "text", { class: "name", x: 0, "text-anchor": "middle", tabindex: 0, role: "button" }, label.replaceAll("_", " "));
    for (const [position, text] of ticks) {
      const side = axis === last ? 1 : -1;
      make(group, "line", { x1: 4 * side, x2: 0, y1: y(position), y2: y(position) });
      make(group, "text", { x: 8 * side, y: y(position) + 4, "text-anchor": side > 0 ? "start" : "end" }, text.length > 14 ? text.slice(0, 13) + "…" : text);
    }
    const box = make(group, "rect", { class: "brush", x: -9, width: 18, y: 0, height: 0 });
    const grip = make(group, "rect", { class: "grip", x: -14, width: 28, y: top - 8, height: bottom - top + 16 });
    let start = null;
    const position = (event) => {
      const frame = svg.getBoundingClientRect();
      const at = (bottom - (event.clientY - frame.top) * height / frame.height) / (bottom - top);
      return Math.min(1, Math.max(0, at));
    };
    const set = (brush) => {
      brushes[axis] = brush;
      box.setAttribute("y", brush ? y(brush[1]) : 0);
      box.setAttribute("height", brush ? Math.max(2, y(brush[0]) - y(brush[1])) : 0);
      update();
    };
    grip.addEventListener("pointerdown", (event) => { start = position(event); grip.setPointerCapture(event.pointerId); });
    grip.addEventListener("pointermove", (event) => {
      if (start === null) return;
      const end = position(event);
      if (Math.abs(end - start) > 0.015) set([Math.min(start, end), Math.max(start, end)]);
    });
    grip.addEventListener("pointerup", (event) => {
      if (Math.abs(position(event) - start) <= 0.015) set(null);
      start = null;
    });
    grip.addEventListener("pointercancel", () => { start = null; });

    let moving = false;
    name.addEventListener("pointerdown", (event) => { moving = true; name.setPointerCapture(event.pointerId); });
    name.addEventListener("pointermove", (event) => {
      const frame = svg.getBoundingClientRect();
      const slot = Math.round(((event.clientX - frame.left) * width / frame.width - left) / gap);
      if (moving && slot !== order.indexOf(axis)) move(axis, slot);
    });
    for (const end of ["pointerup", "pointercancel"]) name.addEventListener(end, () => { moving = false; });
    const press = () => set(!brushes[axis] ? [0.5, 1] : brushes[axis][0] >= 0.5 ? [0, 0.5] : null);
    const keys = {
      Enter: press,
      " ": press,
      ArrowLeft: () => move(axis, order.indexOf(axis) - 1),
      ArrowRight: () => move(axis, order.indexOf(axis) + 1),
      ArrowUp: () => set([0.5, 1]),
      ArrowDown: () => set([0, 0.5]),
      Escape: () => set(null),
    };
    name.addEventListener("keydown", (event) => {
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  });
  place();

  root.prepend(plot);
  plot.after(output);
  root.classList.add("live");
  tell();
}
