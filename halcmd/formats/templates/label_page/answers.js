// Labels: given, taken back, kept in this browser, saved to a file.

const COUNT = DATA.particles.length;
const FIXED = ["junk", "unknown", "skip"];
const KEY = `halcmd-labels-${DATA.query}`;
const MOST_UNDONE = 5000; // labels that can be undone: a browser keeps a few megabytes

// Slab and low-pass to begin with, in voxels: near 3 nm, and half of the amplitude left at 4 nm or more.
function firstView(nmPerVoxel) {
  const slab = 2 * Math.round((3 / nmPerVoxel - 1) / 2) + 1;
  const lowpass = Math.ceil(4 * (4 / HALF_AMPLITUDE / nmPerVoxel)) / 4;
  return { slab: Math.min(Math.max(slab, 3), 9), lowpass: Math.min(lowpass, 3) };
}

const state = {
  answers: {}, // place of a particle -> { label, annotator, time }
  added: [], // classes of this page alone
  annotator: "",
  steps: [], // what can be undone: lists of [place, answer before it]
  current: 0,
  saved: true, // whether the latest file has all answers
  view: { ...firstView(NM_PER_VOXEL), contrast: 5, step: 0, invert: false, turn: false, prediction: true },
};
let keeps = true;
let isElsewhere = false; // another window has labelled the same particles

function classes() {
  return [...DATA.classes, ...state.added];
}

function labelOf(place) {
  return state.answers[place] ? state.answers[place].label : "";
}

function answered() {
  return Object.keys(state.answers).length;
}

function countOf(name) {
  return Object.values(state.answers).filter((answer) => answer.label === name).length;
}

// Label particles, or take their labels away where it is empty; one step for undo.
function give(places, label) {
  const step = places.map((place) => [place, state.answers[place] || null]);
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  for (const place of places) {
    if (label) state.answers[place] = { label, annotator: state.annotator, time };
    else delete state.answers[place];
  }
  state.steps.push([state.current, step]);
  let labels = state.steps.reduce((sum, [, one]) => sum + one.length, 0);
  while (labels > MOST_UNDONE && state.steps.length > 1) labels -= state.steps.shift()[1].length;
  state.saved = false;
  keep();
}

// Take the latest step back; how many particles it was of.
function undo() {
  const latest = state.steps.pop();
  if (!latest) return 0;
  const [current, step] = latest;
  for (const [place, before] of step) {
    if (before) state.answers[place] = before;
    else delete state.answers[place];
  }
  state.current = current;
  state.saved = false;
  keep();
  return step.length;
}

// Why a class may not be called so; empty where it may.
function faultOf(name) {
  const { pattern, never } = DATA.rules;
  if (new RegExp(pattern).test(name) && !never.includes(name.toLowerCase())) return "";
  return `“${name}” cannot be a class: a letter first, then letters, digits, _ . - and no blanks`;
}

// Write all to the browser's storage: it survives a reload and a crash.
function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify(state));
    keeps = true;
  } catch {
    keeps = false;
  }
}

// Take over what the browser has kept of this query; how many labels.
function restore() {
  let stored = null;
  try {
    stored = JSON.parse(localStorage.getItem(KEY));
  } catch {
    keeps = false;
  }
  if (!stored) return 0;
  const allowed = new Set([...classesOf(stored), ...FIXED]);
  for (const [place, answer] of Object.entries(stored.answers || {})) {
    if (place < COUNT && allowed.has(answer.label)) state.answers[place] = answer;
  }
  state.added = (stored.added || []).filter((name) => !faultOf(name) && !DATA.classes.includes(name));
  state.annotator = stored.annotator || "";
  state.steps = stored.steps || [];
  state.current = Math.min(stored.current || 0, COUNT - 1);
  state.saved = stored.saved !== false;
  Object.assign(state.view, stored.view);
  return answered();
}

// Classes that a stored state can hold: a page made anew may offer others than before.
function classesOf(stored) {
  const used = Object.values(stored.answers || {}).map((answer) => answer.label);
  const missing = used.filter((name) => !FIXED.includes(name) && !DATA.classes.includes(name));
  stored.added = [...new Set([...(stored.added || []), ...missing])].filter((name) => !faultOf(name));
  return [...DATA.classes, ...stored.added];
}

// Where a particle is goes with its label: the same id may be of another particle in another table.
const PLACE = ["halTomogram", "halPositionXAngst", "halPositionYAngst", "halPositionZAngst"];
const SAVED = ["halParticleId", ...PLACE, "halLabel", "annotator", "time"];

function rowsToSave() {
  return Object.entries(state.answers).map(([place, answer]) => [
    DATA.particles[place].id,
    ...DATA.particles[place].place,
    answer.label,
    answer.annotator || state.annotator,
    answer.time,
  ]);
}

// A field of CSV. A spreadsheet would compute what begins like a formula, so that gets an apostrophe.
function csvField(text) {
  const isFormula = /^[=+\-@\t\r]/.test(text) && !/^-\d+\.\d+$/.test(text);
  const safe = isFormula ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function asCsv() {
  const rows = [SAVED, ...rowsToSave()];
  return rows.map((row) => `${row.map(csvField).join(",")}\n`).join("");
}

// A value of STAR: in quotes where it would not be one word otherwise, as halcmd writes it.
function starField(text) {
  const special = /^(["'#;_$[\]]|data_|loop_|save_|stop_|global_)/i;
  if (text && !/\s/.test(text) && !special.test(text)) return text;
  const mark = text.includes('"') ? "'" : '"';
  return mark + text.replaceAll(mark, "`").replace(/\s+/g, " ") + mark;
}

function asStar() {
  const head = SAVED.map((name, n) => `_${name} #${n + 1}\n`).join("");
  const rows = rowsToSave().map((row) => `${row.map(starField).join(" ")}\n`).join("");
  return `# version 30001\n\ndata_particles\n\nloop_\n${head}${rows}\n`;
}

function fileName(ending) {
  const who = state.annotator.replace(/[^A-Za-z0-9_.-]+/g, "_").replace(/^[_.-]+|[_.-]+$/g, "");
  return ["labels", DATA.round && `round${DATA.round}`, who].filter(Boolean).join("_") + ending;
}

function download(text, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  state.saved = true;
  keep();
}
