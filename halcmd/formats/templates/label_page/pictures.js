// Drawing: planes in grey on canvases, with scale bars, marks and names.

const MARK = "#ffd54a";
const STEPS = 9;

function element(kind, text = "", kinds = "") {
  const made = document.createElement(kind);
  if (text) made.textContent = text;
  if (kinds) made.className = kinds;
  return made;
}

function byId(id) {
  return document.getElementById(id);
}

// A volume as it is looked at: turned, if by anything, and filtered.
function seen(text, matrix) {
  const { lowpass } = state.view;
  return kept(`${lowpass} ${matrix} ${text}`, () => {
    const volume = decoded(text);
    return smoothed(matrix ? turned(volume, EDGE, matrix) : volume, EDGE, lowpass);
  });
}

// Values that are drawn black and white: at contrast 5 all but the 0.5 % at either end lie between
// them, and each step up brings them a fifth closer.
function rangeOf(values) {
  const sorted = Float32Array.from(values).sort();
  const low = sorted[Math.floor(0.005 * (sorted.length - 1))];
  const high = sorted[Math.ceil(0.995 * (sorted.length - 1))];
  const half = (((high - low) / 2) * 0.8 ** (state.view.contrast - 5)) || 1;
  return [(low + high) / 2 - half, (low + high) / 2 + half];
}

// Draw a plane so that it fills the canvas.
function draw(canvas, values, edge, marks = {}) {
  const size = Math.round((canvas.clientWidth || 160) * (window.devicePixelRatio || 1));
  canvas.width = canvas.height = size;
  const [black, white] = rangeOf(values);
  const small = new OffscreenCanvas(edge, edge);
  const image = new ImageData(edge, edge);
  for (let v = 0; v < edge; v++) {
    for (let u = 0; u < edge; u++) {
      const share = (values[v * edge + u] - black) / (white - black);
      const grey = 255 * (state.view.invert ? 1 - share : share);
      const at = 4 * ((edge - 1 - v) * edge + u);
      image.data[at] = image.data[at + 1] = image.data[at + 2] = grey;
      image.data[at + 3] = 255;
    }
  }
  small.getContext("2d").putImageData(image, 0, 0);
  const paper = canvas.getContext("2d");
  paper.imageSmoothingQuality = "high";
  paper.drawImage(small, 0, 0, size, size);
  if (marks.nm) drawBar(paper, size, marks.nm);
  if (marks.name) write(paper, marks.name, 0.035 * size, 0.03 * size + 12 * scale(), "left");
  if (marks.box) drawBox(paper, size, marks.box);
}

function scale() {
  return window.devicePixelRatio || 1;
}

function write(paper, text, x, y, align) {
  paper.font = `600 ${12 * scale()}px system-ui, sans-serif`;
  paper.textAlign = align;
  paper.lineWidth = 3 * scale();
  paper.lineJoin = "round";
  paper.strokeStyle = "rgba(0, 0, 0, 0.75)";
  paper.strokeText(text, x, y);
  paper.fillStyle = MARK;
  paper.fillText(text, x, y);
}

function drawBar(paper, size, nm) {
  const length = barOf(nm);
  const [x, y] = [0.04 * size, 0.95 * size];
  for (const [extra, colour] of [[1.5, "rgba(0, 0, 0, 0.75)"], [0, MARK]]) {
    paper.fillStyle = colour;
    const grown = extra * scale();
    paper.fillRect(x - grown, y - grown, (size * length) / nm + 2 * grown, 3 * scale() + 2 * grown);
  }
  write(paper, `${length} nm`, x, y - 6 * scale(), "left");
}

// The outline of the box in its surroundings, and ticks that point at the pick.
function drawBox(paper, size, share) {
  const [middle, half] = [size / 2, (size * share) / 2];
  for (const [width, colour] of [[3, "rgba(0, 0, 0, 0.5)"], [1.25, MARK]]) {
    paper.lineWidth = width * scale();
    paper.strokeStyle = colour;
    paper.strokeRect(middle - half, middle - half, 2 * half, 2 * half);
    paper.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      paper.moveTo(middle + dx * half, middle + dy * half);
      paper.lineTo(middle + dx * half * 1.25, middle + dy * half * 1.25);
    }
    paper.stroke();
  }
}

// One plane of a box.
function drawBoxPlane(canvas, text, matrix, name, marks) {
  const volume = seen(text, matrix);
  draw(canvas, planeOf(volume, EDGE, name, state.view.slab), EDGE, marks);
}

// How a particle is turned: by its pick's orientation where that is asked for.
function turnOf(particle) {
  return state.view.turn ? particle.turn : null;
}

// How references are turned: about a slanted axis, a ninth of a turn with each step.
function referenceTurn() {
  const { step } = state.view;
  return step ? rotation([1, 2, 3], (2 * Math.PI * step) / STEPS) : null;
}

// The surroundings, filtered like the box.
function drawContext(canvas, text) {
  const values = decoded(text);
  const edge = Math.round(Math.sqrt(values.length));
  const sigma = (state.view.lowpass * NM_PER_VOXEL * edge) / (DATA.nm * DATA.contextWidth);
  draw(canvas, smoothed(values, edge, sigma), edge, {
    nm: DATA.nm * DATA.contextWidth,
    box: 1 / DATA.contextWidth,
    name: "surroundings xy",
  });
}

// A colour for each class, far apart for the colour-blind too.
const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc4ba3", "#b58a00", "#56b4e9", "#7a3e9d", "#8c510a"];

function colourOf(name) {
  const place = classes().indexOf(name);
  return place < 0 ? "#6b7280" : COLOURS[place % COLOURS.length];
}

function paintChip(chip, name) {
  chip.textContent = name || "no label";
  chip.classList.toggle("empty", !name);
  chip.style.setProperty("--colour", name ? colourOf(name) : "transparent");
}

function figure(name) {
  const made = element("figure");
  const canvas = element("canvas");
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", name);
  made.append(canvas);
  return made;
}
