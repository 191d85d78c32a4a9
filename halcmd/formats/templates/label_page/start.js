// What listens, and the start.

// After a click with the mouse, keys are for the particles again; who uses Tab stays where he is.
function release(event) {
  if (event.detail) event.currentTarget.blur();
}

function withControl(event) {
  const key = event.key.toLowerCase();
  if (key === "s") openSave();
  else if (key === "z") takeBack();
  else if (key === "a" && isGrid) {
    for (const place of shown()) chosen.add(place);
    showAll();
  } else return false;
  return true;
}

function onKey(event) {
  if (event.altKey || document.querySelector("dialog[open]")) return;
  // What was in a dialog may keep the focus for a moment after it has closed.
  const target = event.target.closest("dialog") ? document.body : event.target;
  if (target.matches("input[type=text]")) {
    if (event.key === "Escape") target.blur();
    return;
  }
  if (/^(Arrow|Home|End)/.test(event.key) && target.matches("input")) return;
  if ([" ", "Enter"].includes(event.key) && target.matches("button")) return;
  if (target.matches("select") && event.key !== "Escape") return;
  const done = event.ctrlKey || event.metaKey ? withControl(event) : run(event.key, event);
  if (done) event.preventDefault();
}

function listen() {
  document.addEventListener("keydown", onKey);
  const clicks = { mode: "g", undo: "z", help: "?", save: "w", invert: "i", turn: "t", references: "r", prediction: "p", previous: "ArrowLeft", next: "ArrowRight" };
  for (const [name, key] of Object.entries(clicks)) {
    byId(`to-${name}`).addEventListener("click", (event) => {
      run(key);
      release(event);
    });
  }
  for (const name of ["slab", "lowpass", "contrast"]) {
    const range = byId(name);
    range.addEventListener("pointerup", () => range.blur());
    range.addEventListener("input", () => set(name, Number(range.value), Number(range.min), Number(range.max)));
  }
  byId("plane").addEventListener("change", () => {
    byId("plane").blur();
    redrawGrid();
  });
  byId("show").addEventListener("change", () => {
    byId("show").blur();
    chosen.clear();
    showAll();
  });
  byId("by-name").addEventListener("submit", (event) => {
    event.preventDefault();
    if (!labelByName(byId("class-name").value)) return;
    byId("class-name").value = "";
    byId("class-name").blur();
  });
  listenToNames();
  window.addEventListener("resize", redrawPictures);
  window.addEventListener("storage", (event) => {
    if (event.key !== KEY) return;
    isElsewhere = true;
    showProgress();
  });
  window.addEventListener("beforeunload", (event) => {
    if (!state.saved) event.preventDefault();
  });
}

function listenToNames() {
  for (const id of ["annotator", "save-name"]) {
    byId(id).addEventListener("input", () => {
      state.annotator = byId(id).value.trim();
      keep();
      showCommand();
    });
    byId(id).addEventListener("keydown", (event) => {
      if (event.key !== "Enter") return;
      if (id === "annotator") byId(id).blur();
      else save(".csv");
      event.preventDefault();
    });
  }
  byId("save-csv").addEventListener("click", () => save(".csv"));
  byId("save-star").addEventListener("click", () => save(".star"));
  byId("save-close").addEventListener("click", () => byId("save").close());
  byId("save").addEventListener("close", showProgress);
}

function describe() {
  const parts = [DATA.strategy, DATA.round && `round ${DATA.round}`];
  parts.push(`box ${DATA.nm.toFixed(1)} nm`);
  if (EDGE < DATA.box) parts.push(`shown at ${EDGE} of ${DATA.box} px`);
  byId("origin").textContent = parts.filter(Boolean).join(" · ");
  const turns = DATA.particles.some((particle) => particle.turn);
  byId("to-turn").disabled = !turns;
  byId("to-turn").title = turns ? "turn between the axes of tomogram and particle" : "the picks have no orientations";
  byId("to-references").hidden = !Object.keys(DATA.references).length;
  byId("to-prediction").hidden = !DATA.particles.some((particle) => particle.predicted !== null);
  const list = element("dl");
  for (const [keys, words] of HELP) {
    const term = element("dt");
    term.append(...keys.split("  ").map((key) => element("kbd", key)));
    list.append(term, element("dd", words));
  }
  byId("keys").append(list);
}

function start() {
  const restored = restore();
  keep();
  buildSingle();
  buildGrid();
  describe();
  listen();
  showTools();
  showFilter();
  showClasses();
  setMode(false);
  if (restored) say(`${restored} labels restored from this browser`);
}

start();
