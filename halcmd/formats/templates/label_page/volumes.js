"use strict";
// Volumes and planes. A volume is a cube of edge^3 numbers, x fastest; a plane has rows that go up.

const DATA = JSON.parse(document.getElementById("data").textContent);
const EDGE = DATA.edge;
const NM_PER_VOXEL = DATA.nm / EDGE;
const HALF_AMPLITUDE = Math.PI * Math.sqrt(2 / Math.LN2); // the period that a Gaussian halves, in its deviations
const CACHED = 60;
const PLANES = ["xy", "xz", "yz", "projection"];

function decoded(text) {
  const bytes = atob(text);
  const values = new Float32Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) values[i] = bytes.charCodeAt(i);
  return values;
}

function meanOf(values) {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}

// Turned about its centre, voxel floor(edge / 2): the value at offset o comes from matrix * o,
// between voxels linearly. Outside is the mean.
function turned(volume, edge, matrix) {
  const out = new Float32Array(volume.length).fill(meanOf(volume));
  const middle = Math.floor(edge / 2);
  let place = 0;
  for (let z = -middle; z < edge - middle; z++) {
    for (let y = -middle; y < edge - middle; y++) {
      for (let x = -middle; x < edge - middle; x++, place++) {
        const fx = matrix[0] * x + matrix[1] * y + matrix[2] * z + middle;
        const fy = matrix[3] * x + matrix[4] * y + matrix[5] * z + middle;
        const fz = matrix[6] * x + matrix[7] * y + matrix[8] * z + middle;
        const last = edge - 1;
        if (fx < 0 || fy < 0 || fz < 0 || fx > last || fy > last || fz > last) continue;
        out[place] = between(volume, edge, fx, fy, fz);
      }
    }
  }
  return out;
}

// The rows of the matrix that turns by an angle about an axis (Rodrigues' formula).
function rotation(axis, angle) {
  const length = Math.hypot(...axis);
  const [x, y, z] = axis.map((value) => value / length);
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  const d = 1 - c;
  return [
    ...[c + x * x * d, x * y * d - z * s, x * z * d + y * s],
    ...[y * x * d + z * s, c + y * y * d, y * z * d - x * s],
    ...[z * x * d - y * s, z * y * d + x * s, c + z * z * d],
  ];
}

function between(volume, edge, fx, fy, fz) {
  const x = Math.min(Math.floor(fx), edge - 2);
  const y = Math.min(Math.floor(fy), edge - 2);
  const z = Math.min(Math.floor(fz), edge - 2);
  const [a, b, c] = [fx - x, fy - y, fz - z];
  let sum = 0;
  for (let k = 0; k < 2; k++) {
    for (let j = 0; j < 2; j++) {
      const row = ((z + k) * edge + y + j) * edge + x;
      const weight = (k ? c : 1 - c) * (j ? b : 1 - b);
      sum += weight * ((1 - a) * volume[row] + a * volume[row + 1]);
    }
  }
  return sum;
}

// Gaussian of this width in voxels, one axis after the other; beyond the edge its last value.
function smoothed(values, edge, sigma) {
  if (!sigma) return values;
  const reach = Math.ceil(3 * sigma);
  const weights = [];
  for (let i = -reach; i <= reach; i++) weights.push(Math.exp((-i * i) / (2 * sigma * sigma)));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  let from = values;
  for (let step = 1; step < values.length; step *= edge) {
    const to = new Float32Array(values.length);
    for (let place = 0; place < values.length; place++) {
      const at = Math.floor(place / step) % edge;
      const start = place - at * step;
      let sum = 0;
      for (let i = -reach; i <= reach; i++) {
        const other = Math.min(Math.max(at + i, 0), edge - 1);
        sum += weights[i + reach] * from[start + other * step];
      }
      to[place] = sum / total;
    }
    from = to;
  }
  return from;
}

// The mean of some voxels around the centre along one axis; of half the box for the projection, since
// further out there is little but noise.
function planeOf(volume, edge, name, slab) {
  const along = { xy: 2, xz: 1, yz: 0, projection: 2 }[name];
  const steps = [1, edge, edge * edge];
  const [across, up] = [0, 1, 2].filter((axis) => axis !== along);
  const half = name === "projection" ? Math.floor(edge / 4) : (slab - 1) / 2;
  const middle = Math.floor(edge / 2);
  const first = Math.max(middle - half, 0);
  const last = Math.min(middle + half, edge - 1);
  const out = new Float32Array(edge * edge);
  for (let v = 0; v < edge; v++) {
    for (let u = 0; u < edge; u++) {
      let sum = 0;
      for (let w = first; w <= last; w++) sum += volume[u * steps[across] + v * steps[up] + w * steps[along]];
      out[v * edge + u] = sum / (last - first + 1);
    }
  }
  return out;
}

// What has been computed of late, by key.
const cache = new Map();

function kept(key, make) {
  if (cache.has(key)) {
    const found = cache.get(key);
    cache.delete(key);
    cache.set(key, found);
    return found;
  }
  const made = make();
  cache.set(key, made);
  if (cache.size > CACHED) cache.delete(cache.keys().next().value);
  return made;
}

// The largest of 1, 2, 5, 10, ... that is at most 0.4 of a length.
function barOf(length) {
  const power = 10 ** Math.floor(Math.log10(0.4 * length));
  return Math.max(...[1, 2, 5].filter((times) => times * power <= 0.4 * length)) * power;
}
