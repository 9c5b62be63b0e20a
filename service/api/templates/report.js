"use strict";
for (const figure of document.querySelectorAll("script[type='application/json']")) {
  const drawn = JSON.parse(figure.textContent);
  delete drawn.layout.width;
  Plotly.newPlot(figure.previousElementSibling, drawn.data, drawn.layout, { responsive: true });
}
