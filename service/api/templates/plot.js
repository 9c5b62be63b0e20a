"use strict";
const figure = JSON.parse(document.getElementById("figure").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

// In the dark, axes, words and paper change; what the data is drawn in stays.
function colours(layout) {
  if (!dark.matches) return layout;
  const ink = "#ece7e1", line = "#3a3531", paper = "#211e1c";
  const template = structuredClone(layout.template || {});
  const plain = (template.layout = template.layout || {});
  Object.assign(plain, { paper_bgcolor: paper, plot_bgcolor: paper, font: { color: ink } });
  for (const axis of ["xaxis", "yaxis"]) plain[axis] = { ...plain[axis], gridcolor: line, zerolinecolor: line, linecolor: line };
  return { ...layout, template, paper_bgcolor: paper, plot_bgcolor: paper, font: { ...layout.font, color: ink } };
}

function show() {
  Plotly.react("plot", figure.data, colours(figure.layout), { responsive: true });
}
dark.addEventListener("change", show);
show();
