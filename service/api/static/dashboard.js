"use strict";
// The way back from a study in optuna-dashboard leads to the same study: the dashboard changes its address by itself.
document.addEventListener(
  "click",
  (event) => {
    const back = event.target.closest("#luthier-back");
    if (!back) return;
    const study = location.pathname.match(/^\/dashboard\/(?:beta\/)?studies\/(\d+)/);
    back.href = study ? `/studies/-/${study[1]}` : "/";
  },
  true,
);
