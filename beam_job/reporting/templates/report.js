"use strict";
// The map of the features: a dot per example, coloured by class; hovering shows its preview, a click plays its sound,
// the controls filter.
(() => {
  const source = document.getElementById("points");
  if (!source) return;
  const data = JSON.parse(source.textContent);
  const canvas = document.querySelector("#map canvas"), tip = document.getElementById("tip");
  const controls = Object.fromEntries(["projection", "class", "split", "text"].map((id) => [id, document.getElementById(id)]));
  const margin = 14, radius = 4, reach = 12;

  const choice = (select, value, text) => {
    const option = document.createElement("option");
    option.value = value;
    option.textContent = text;
    select.append(option);
  };
  Object.keys(data.maps).forEach((name) => choice(controls.projection, name, name));
  [...new Set(data.labels)].sort((a, b) => a - b).forEach((label) => choice(controls.class, String(label), data.names[label] ?? "(none)"));
  [...new Set(data.splits)].forEach((split) => choice(controls.split, split, split));

  // Hues a golden angle apart, so that neighbouring classes look different.
  const colour = (label) => (label < 0 ? "#9aa3ad" : `hsl(${(label * 137.508) % 360} 62% ${45 + 12 * (label % 2)}%)`);
  const isShown = (place) =>
    (controls.class.value === "" || controls.class.value === String(data.labels[place])) &&
    (controls.split.value === "" || controls.split.value === data.splits[place]) &&
    data.ids[place].includes(controls.text.value);
  const at = (place) => {
    const [x, y] = data.maps[controls.projection.value][place];
    return [margin + x * (canvas.clientWidth - 2 * margin), margin + (1 - y) * (canvas.clientHeight - 2 * margin)];
  };

  let shown = [];
  const draw = () => {
    const scale = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
    canvas.width = canvas.clientWidth * scale;
    canvas.height = canvas.clientHeight * scale;
    pen.scale(scale, scale);
    shown = data.ids.map((_, place) => place).filter(isShown);
    pen.globalAlpha = 0.75;
    for (const place of shown) {
      const [x, y] = at(place);
      pen.fillStyle = colour(data.labels[place]);
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fill();
    }
    document.getElementById("shown").textContent = `${shown.length.toLocaleString("en")} shown`;
    tip.style.display = "none";
  };

  const nearest = (event) => {
    let best = null, closest = reach;
    for (const place of shown) {
      const [x, y] = at(place), distance = Math.hypot(x - event.offsetX, y - event.offsetY);
      if (distance < closest) [best, closest] = [place, distance];
    }
    return best;
  };
  canvas.addEventListener("click", (event) => {
    const [kind, content] = data.previews[nearest(event)] ?? [];
    if (kind !== "audio") return;
    const player = document.querySelector("#map audio");
    player.src = content;
    player.play();
  });
  canvas.addEventListener("mousemove", (event) => {
    const best = nearest(event);
    tip.style.display = best === null ? "none" : "block";
    if (best === null) return;
    const [x, y] = at(best), [kind, content] = data.previews[best] ?? [];
    const picture = tip.querySelector("img"), words = tip.querySelector("blockquote");
    picture.hidden = kind !== "image";
    if (kind === "image") picture.src = content;
    words.textContent = kind === "text" ? content : kind === "audio" ? "click to play" : "";
    tip.querySelector("b").textContent = data.names[data.labels[best]] ?? "(none)";
    tip.querySelector("div").textContent = `${data.ids[best]} (${data.splits[best]})`;
    tip.style.left = `${Math.min(x + 14, canvas.clientWidth - 180)}px`;
    tip.style.top = `${y + 14}px`;
  });
  canvas.addEventListener("mouseleave", () => (tip.style.display = "none"));
  for (const control of Object.values(controls)) {
    for (const event of ["input", "change"]) control.addEventListener(event, draw);
  }
  window.addEventListener("resize", draw);
  draw();
})();
