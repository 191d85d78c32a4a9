// One particle at a time, and the list of classes beside it.

const pictures = {};
const FEW_CLASSES = 4; // that find room with large pictures
const MANY_CLASSES = 7; // that find room with small ones only

function buildSingle() {
  const frame = byId("pictures");
  for (const name of [...PLANES, "surroundings"]) {
    const made = figure(name);
    pictures[name] = made.firstChild;
    frame.append(made);
  }
  frame.append(element("div", "", "facts"));
}

function showSingle() {
  const particle = DATA.particles[state.current];
  byId("place").textContent = `${state.current + 1} of ${COUNT}`;
  byId("id").textContent = particle.id;
  paintChip(byId("answer"), labelOf(state.current));
  for (const name of PLANES) {
    const width = { nm: DATA.nm, name };
    drawBoxPlane(pictures[name], particle.box, turnOf(particle), name, width);
  }
  const around = pictures.surroundings;
  around.parentElement.classList.toggle("missing", !particle.context);
  if (particle.context) drawContext(around, particle.context);
  showFacts(particle);
}

function showFacts(particle) {
  const list = element("dl");
  const add = (name, text) => list.append(element("dt", name), element("dd", text));
  if (particle.predicted !== null) {
    const sure = particle.probability === null ? "" : ` ${particle.probability.toFixed(2)}`;
    add("prediction", state.view.prediction ? particle.predicted + sure : "hidden");
  }
  if (particle.tomogram !== "none") add("tomogram", particle.tomogram);
  if (particle.position) add("x y z (nm)", particle.position.map((value) => value.toFixed(0)).join("  "));
  if (DATA.strategy) add("asked by", DATA.strategy);
  for (const [name, text] of particle.why) {
    const tells = ["entropy", "margin"].includes(name) && !state.view.prediction;
    add(name, tells ? "hidden" : shortNumber(text));
  }
  if (particle.turn) {
    const other = particle.axes === "tomogram" ? "particle" : "tomogram";
    add("axes", `of the ${state.view.turn ? other : particle.axes}`);
  } else if (state.view.turn) add("axes", "no orientation known");
  byId("pictures").lastChild.replaceChildren(list);
}

function shortNumber(text) {
  const number = Number(text);
  return Number.isInteger(number) ? text : String(Number(number.toPrecision(3)));
}

// The classes: key, name, how many, what it looks like.
function showClasses() {
  const list = byId("classes");
  const names = classes();
  list.replaceChildren(...names.map(classRow));
  document.body.classList.toggle("few-classes", names.length <= FEW_CLASSES);
  document.body.classList.toggle("many-classes", names.length >= MANY_CLASSES);
  if (!names.length) {
    list.append(element("p", "No classes yet. Press c, type a name such as ribosome, and press Enter.", "quiet"));
  }
  byId("others").replaceChildren(
    ...[["0", "junk", "no particle"], ["u", "unknown", "of none of these classes"], ["s", "skip", "cannot tell"]].map(
      ([key, name, words]) => classButton(key, name, words),
    ),
  );
  byId("class-names").replaceChildren(
    ...names.map((name) => {
      const option = element("option");
      option.value = name;
      return option;
    }),
  );
  markClass();
  drawReferences();
}

function classButton(key, name, words) {
  const button = element("button", "", "class");
  button.type = "button";
  button.dataset.name = name;
  button.style.setProperty("--colour", colourOf(name));
  const text = element("span", "", "text");
  text.append(element("span", name, "class-name"), element("span", words, "quiet"));
  button.append(element("kbd", key || "·"), text, element("span", String(countOf(name)), "count"));
  button.addEventListener("click", (event) => {
    label(name);
    release(event);
  });
  return button;
}

function classRow(name, place) {
  const row = element("div", "", "row");
  const reference = DATA.references[name];
  row.append(classButton(place < 9 ? String(place + 1) : "", name, reference ? reference.title : ""));
  if (reference) row.append(...referenceFigures(reference));
  else if (state.added.includes(name) && !countOf(name)) row.append(removeButton(name));
  return row;
}

function removeButton(name) {
  const button = element("button", "Remove");
  button.type = "button";
  button.addEventListener("click", () => {
    state.added = state.added.filter((other) => other !== name);
    keep();
    showFilter();
    showClasses();
    say(`class ${name} removed`);
  });
  return button;
}

function referenceFigures(reference) {
  const shown = reference.isMap ? PLANES : PLANES.slice(0, 3);
  const whole = shown.map((name) => referenceFigure(reference.volume, name, name, "mean"));
  const examples = reference.examples.map(({ id, box }) => referenceFigure(box, "xy", `example ${id}`, "example"));
  return [...whole, ...examples];
}

function referenceFigure(text, plane, words, kind) {
  const made = figure(words);
  made.classList.add(kind);
  made.title = words;
  made.firstChild.dataset.plane = plane;
  made.firstChild.volume = text;
  return made;
}

function drawReferences() {
  for (const canvas of byId("classes").querySelectorAll("canvas")) {
    const isWhole = canvas.parentElement.classList.contains("mean");
    const matrix = isWhole ? referenceTurn() : null;
    if (canvas.clientWidth) drawBoxPlane(canvas, canvas.volume, matrix, canvas.dataset.plane, {});
  }
}

// Which class the particle has, and how many each has.
function markClass() {
  const given = new Set(targets().map(labelOf));
  for (const button of document.querySelectorAll("button.class")) {
    const { name } = button.dataset;
    button.setAttribute("aria-pressed", String(given.size === 1 && given.has(name)));
    button.querySelector(".count").textContent = countOf(name);
  }
}
