// Many particles at a time: choose some, label them together.

const chosen = new Set();
let isGrid = false;
let anchor = 0;
const cells = [];

const visible = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      entry.target.classList.toggle("seen", entry.isIntersecting);
      if (entry.isIntersecting) drawCell(entry.target);
    }
  },
  { rootMargin: "200px" },
);

function buildGrid() {
  for (let place = 0; place < COUNT; place++) {
    const cell = element("div", "", "cell");
    cell.setAttribute("role", "option");
    cell.dataset.place = place;
    cell.append(element("canvas"), element("span", DATA.particles[place].id, "cell-id"), element("span", "", "chip"));
    cell.title = DATA.particles[place].id;
    cell.addEventListener("click", (event) => choose(place, event));
    cell.addEventListener("dblclick", () => {
      state.current = place;
      setMode(false);
    });
    cells.push(cell);
    visible.observe(cell);
  }
  byId("grid").append(...cells);
}

function drawCell(cell) {
  const particle = DATA.particles[cell.dataset.place];
  drawBoxPlane(cell.firstChild, particle.box, turnOf(particle), byId("plane").value, {});
}

function redrawGrid() {
  for (const cell of cells) if (cell.classList.contains("seen")) drawCell(cell);
}

// Places that the list shows, in its order.
function shown() {
  const wanted = byId("show").value;
  return DATA.particles.map((_, place) => place).filter((place) => {
    if (wanted === "all") return true;
    return wanted === "unlabelled" ? !labelOf(place) : labelOf(place) === wanted;
  });
}

function showGrid() {
  const there = new Set(shown());
  cells.forEach((cell, place) => {
    cell.hidden = !there.has(place);
    cell.classList.toggle("current", place === state.current);
    const selected = String(chosen.has(place));
    if (cell.getAttribute("aria-selected") !== selected) cell.setAttribute("aria-selected", selected);
    const name = labelOf(place);
    if (cell.dataset.label === name) return;
    cell.dataset.label = name;
    paintChip(cell.lastChild, name);
  });
  byId("selected").textContent = chosen.size ? `Label the ${chosen.size} selected` : "Label the outlined particle";
}

function showFilter() {
  const list = byId("show");
  const wanted = list.value || "all";
  const names = ["all", "unlabelled", ...classes(), ...FIXED];
  list.replaceChildren(...names.map((name) => element("option", name)));
  list.value = names.includes(wanted) ? wanted : "all";
}

function choose(place, event) {
  if (event.shiftKey) chooseRange(place);
  else {
    if (chosen.has(place)) chosen.delete(place);
    else chosen.add(place);
    anchor = place;
  }
  state.current = place;
  showGrid();
  markClass();
}

// All that are shown between the anchor and a place.
function chooseRange(place) {
  const [low, high] = [Math.min(anchor, place), Math.max(anchor, place)];
  for (const other of shown()) if (other >= low && other <= high) chosen.add(other);
}

// Move in the grid by so many columns and rows; with Shift, choose what lies between.
function moveInGrid(columns, rows, extend) {
  const there = shown();
  if (!there.length) return;
  const at = Math.max(there.indexOf(state.current), 0);
  const top = cells[there[0]].offsetTop;
  const first = there.findIndex((place) => cells[place].offsetTop > top);
  const width = first < 0 ? there.length : first;
  const next = Math.min(Math.max(at + columns + rows * width, 0), there.length - 1);
  if (extend && !chosen.size) anchor = state.current;
  state.current = there[next];
  if (extend) chooseRange(state.current);
  else anchor = state.current;
  showGrid();
  markClass();
  cells[state.current].scrollIntoView({ block: "nearest" });
}
