// What keys and buttons do.

const HELP = [
  ["1 … 9", "label with this class, and go on"],
  ["0  u  s", "junk (no particle), unknown (of no listed class), skip (cannot tell)"],
  ["c", "class by its name, or a new class"],
  ["Delete", "take the label away"],
  ["z", "undo"],
  ["← →", "previous, next; Home and End: first, last"],
  ["n", "next without a label"],
  ["g", "grid, or one by one"],
  ["Space", "grid: select; Shift with arrows: several; Ctrl A: all shown; Esc: none"],
  ["Enter", "grid: look at this one"],
  ["v  o", "grid: another plane; another part of the particles"],
  ["d D", "thicker, thinner slab"],
  ["f F", "more, less low-pass"],
  ["k K", "more, less contrast"],
  ["i", "invert black and white"],
  ["t", "turn by the orientation of the pick, and back"],
  ["r  R", "turn the references a step on, a step back"],
  ["p", "hide or show the prediction"],
  ["a", "your name"],
  ["w", "save the labels to a file"],
  ["?", "these keys"],
];
const HINTS = {
  single: "1–9 class   0 junk   u unknown   s skip   c name   ← → move   n next unlabelled   z undo   g grid   w save   ? all keys",
  grid: "arrows move   Space select   Shift+arrows several   Ctrl+A all   1–9 0 u s label   Enter look   v plane   o show   z undo   g one by one",
};

function say(text) {
  byId("status").textContent = text;
}

// The particles that a label goes to.
function targets() {
  if (isGrid && chosen.size) return [...chosen].sort((a, b) => a - b);
  return [state.current];
}

function label(name) {
  const places = targets();
  give(places, name);
  const what = places.length > 1 ? `${places.length} particles` : DATA.particles[places[0]].id;
  say(name ? `${what}: ${name}` : `${what}: no label`);
  if (isGrid) {
    const there = shown();
    chosen.clear();
    if (name && places.length === 1) state.current = there.find((place) => place > places[0]) ?? state.current;
  } else if (name && state.current < COUNT - 1) state.current += 1;
  keep();
  if (answered() === COUNT) say(`All ${COUNT} particles have a label: press w to save them.`);
  showAll();
}

function labelByName(text) {
  const name = text.trim();
  const known = [...classes(), ...FIXED].find((other) => other.toLowerCase() === name.toLowerCase());
  const fault = known ? "" : faultOf(name);
  if (fault) {
    say(fault);
    return false;
  }
  if (!known) {
    state.added.push(name);
    showFilter();
  }
  label(known || name);
  if (!known) showClasses();
  if (!known) say(`new class ${name}`);
  return true;
}

function setMode(grid) {
  isGrid = grid;
  chosen.clear();
  document.body.classList.toggle("is-grid", grid);
  byId("single").hidden = grid;
  for (const id of ["many", "grid-tools", "selected"]) byId(id).hidden = !grid;
  byId("to-mode").replaceChildren(element("kbd", "g"), grid ? " One by one" : " Grid");
  byId("hints").textContent = grid ? HINTS.grid : HINTS.single;
  showAll();
  redrawPictures();
  if (grid) cells[state.current].scrollIntoView({ block: "nearest" });
}

function move(to) {
  state.current = Math.min(Math.max(to, 0), COUNT - 1);
  keep();
  showAll();
}

function nextUnlabelled() {
  const order = DATA.particles.map((_, n) => (state.current + 1 + n) % COUNT);
  const next = order.find((place) => !labelOf(place));
  if (next === undefined) say(`All ${COUNT} particles have a label: press w to save them.`);
  else move(next);
  if (isGrid) cells[state.current].scrollIntoView({ block: "nearest" });
}

function set(name, value, low, high) {
  state.view[name] = Math.min(Math.max(value, low), high);
  keep();
  showTools();
  redrawPictures();
}

function toggle(name) {
  state.view[name] = !state.view[name];
  keep();
  showTools();
  redrawPictures();
}

function turnReferences(steps) {
  state.view.step = (state.view.step + steps + STEPS) % STEPS;
  keep();
  drawReferences();
  say(`references turned by ${(360 / STEPS) * state.view.step}°`);
}

function cycle(list) {
  list.selectedIndex = (list.selectedIndex + 1) % list.options.length;
  list.dispatchEvent(new Event("change"));
}

function takeBack() {
  const count = undo();
  chosen.clear();
  say(count ? `undone: ${count === 1 ? DATA.particles[state.current].id : `${count} particles`}` : "nothing to undo");
  showAll();
  if (state.added.length) showClasses();
}

function showTools() {
  const { view } = state;
  for (const name of ["slab", "lowpass", "contrast"]) byId(name).value = view[name];
  byId("slab-text").textContent = `${(view.slab * NM_PER_VOXEL).toFixed(1)} nm`;
  const period = HALF_AMPLITUDE * view.lowpass * NM_PER_VOXEL;
  byId("lowpass-text").textContent = view.lowpass ? `${period.toFixed(1)} nm` : "none";
  byId("contrast-text").textContent = view.contrast;
  for (const name of ["invert", "turn", "prediction"]) byId(`to-${name}`).setAttribute("aria-pressed", String(view[name]));
}

function redrawPictures() {
  if (isGrid) redrawGrid();
  else showSingle();
  drawReferences();
}

function showProgress() {
  byId("progress").max = COUNT;
  byId("progress").value = answered();
  byId("done").textContent = `${answered()} of ${COUNT}`;
  byId("annotator").value = state.annotator;
  byId("alarm").hidden = keeps && !isElsewhere;
  byId("alarm").textContent = isElsewhere
    ? "This page is open in another window, with other labels: close one of them, and reload the other."
    : "This browser keeps nothing between visits: save the labels before you leave.";
}

function showAll() {
  showProgress();
  if (isGrid) showGrid();
  else showSingle();
  markClass();
}

function openSave() {
  const count = answered();
  byId("save-text").textContent = `${count} of ${COUNT} particles have a label.`;
  byId("save-name").value = state.annotator;
  byId("save-fault").textContent = "";
  showCommand();
  byId("save").showModal();
  byId("save-name").focus();
}

function showCommand() {
  const job = DATA.table.replace(/particles\.star$/, "");
  const again = DATA.relabels ? " --relabel" : "";
  byId("command").textContent = `halcmd label-import --i ${job}particles.star --labels ${fileName(".csv")}${again} --o Label/`;
}

function save(ending) {
  const fault = state.annotator ? "" : "A name first: later it is worth knowing whose labels these are.";
  byId("save-fault").textContent = answered() ? fault : "There are no labels yet.";
  if (fault || !answered()) return;
  download(ending === ".csv" ? asCsv() : asStar(), fileName(ending));
  byId("save").close();
  say(`saved ${answered()} labels as ${fileName(ending)}, in the folder of your downloads`);
}

const ACTIONS = {
  0: () => label("junk"),
  u: () => label("unknown"),
  s: () => label("skip"),
  Delete: () => label(""),
  Backspace: () => label(""),
  z: takeBack,
  n: nextUnlabelled,
  g: () => setMode(!isGrid),
  c: () => byId("class-name").focus(),
  a: () => byId("annotator").focus(),
  w: openSave,
  "?": () => byId("help").showModal(),
  h: () => byId("help").showModal(),
  d: () => set("slab", state.view.slab + 2, 1, 9),
  D: () => set("slab", state.view.slab - 2, 1, 9),
  f: () => set("lowpass", state.view.lowpass + 0.25, 0, 3),
  F: () => set("lowpass", state.view.lowpass - 0.25, 0, 3),
  k: () => set("contrast", state.view.contrast + 1, 1, 10),
  K: () => set("contrast", state.view.contrast - 1, 1, 10),
  i: () => toggle("invert"),
  t: () => toggle("turn"),
  r: () => turnReferences(1),
  R: () => turnReferences(-1),
  p: () => toggle("prediction"),
};
const IN_SINGLE = {
  ArrowLeft: () => move(state.current - 1),
  ArrowRight: () => move(state.current + 1),
  Home: () => move(0),
  End: () => move(COUNT - 1),
};
const IN_GRID = {
  ArrowLeft: (event) => moveInGrid(-1, 0, event.shiftKey),
  ArrowRight: (event) => moveInGrid(1, 0, event.shiftKey),
  ArrowUp: (event) => moveInGrid(0, -1, event.shiftKey),
  ArrowDown: (event) => moveInGrid(0, 1, event.shiftKey),
  Home: (event) => moveInGrid(-COUNT, 0, event.shiftKey),
  End: (event) => moveInGrid(COUNT, 0, event.shiftKey),
  " ": () => choose(state.current, {}),
  Enter: () => setMode(false),
  Escape: () => {
    chosen.clear();
    showAll();
  },
  v: () => cycle(byId("plane")),
  o: () => cycle(byId("show")),
};

function run(key, event = {}) {
  const digit = "123456789".indexOf(key);
  const action = (isGrid ? IN_GRID : IN_SINGLE)[key] || ACTIONS[key];
  if (key && digit >= 0) {
    if (digit < classes().length) label(classes()[digit]);
    else say(`there is no class ${key}: press c to name one`);
  } else if (action) action(event);
  else return false;
  return true;
}
