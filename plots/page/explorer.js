"use strict";
// Shows one of the best schedules at a time. Every text is written beforehand; here it is only put in its place.
const data = JSON.parse(document.getElementById("schedules").textContent);
const explorer = document.getElementById("explorer");
const slider = document.getElementById("budget");

function segment([model, steps], labelled) {
  const part = document.createElement("span");
  part.style.flexGrow = steps;
  part.style.background = data.models[model].colour;
  part.style.color = data.models[model].ink;
  if (labelled) {
    const label = document.createElement("b");
    label.textContent = `${model} ${steps}`;
    part.title = `${model}, ${steps} steps`;
    part.append(label);
  }
  return part;
}

function show(point) {
  for (const place of explorer.querySelectorAll("[data-shows]")) {
    place.textContent = point.texts[place.dataset.shows];
  }
  const bar = explorer.querySelector(".bar");
  bar.replaceChildren(...point.segments.map((one) => segment(one, true)));
  bar.setAttribute("aria-label", point.texts.schedule);
  explorer.querySelector(".shade").replaceChildren(...point.segments.map((one) => segment(one, false)));
  const dot = explorer.querySelector(".dot");
  dot.style.left = `${point.x}%`;
  dot.style.bottom = `${point.y}%`;
  slider.setAttribute("aria-valuetext", point.texts.spoken);
}

slider.addEventListener("input", () => show(data.tradeoff[slider.value]));
document.getElementById("recommended-budget").addEventListener("click", () => {
  slider.value = data.start;
  show(data.tradeoff[data.start]);
});
explorer.querySelector(".live").hidden = false;
show(data.tradeoff[slider.value]);
