// What the pages do in the browser: theme, links that stay short, drawings. Without it they are
// complete but for the drawings.
"use strict";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const all = (selector) => document.querySelectorAll(selector);

function isDark() {
  const chosen = document.documentElement.dataset.theme;
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

// --- drawings ---------------------------------------------------------------------------------

const SPHERES = { fine: sphere(2), coarse: sphere(1) };

function sphere(level) {
  // An icosahedron whose faces are divided and pushed out to the sphere.
  const t = (1 + Math.sqrt(5)) / 2;
  let points = [[-1, t, 0], [1, t, 0], [-1, -t, 0], [1, -t, 0], [0, -1, t], [0, 1, t],
    [0, -1, -t], [0, 1, -t], [t, 0, -1], [t, 0, 1], [-t, 0, -1], [-t, 0, 1]];
  let faces = [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4],
    [11, 10, 2], [10, 7, 6], [7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9],
    [4, 9, 5], [2, 4, 11], [6, 2, 10], [8, 6, 7], [9, 8, 1]];
  for (let step = 0; step < level; step++) {
    const middles = new Map();
    const middle = (a, b) => {
      const key = a < b ? `${a},${b}` : `${b},${a}`;
      if (!middles.has(key)) {
        middles.set(key, points.length);
        points.push(points[a].map((value, axis) => (value + points[b][axis]) / 2));
      }
      return middles.get(key);
    };
    faces = faces.flatMap(([a, b, c]) => {
      const [ab, bc, ca] = [middle(a, b), middle(b, c), middle(c, a)];
      return [[a, ab, ca], [b, bc, ab], [c, ca, bc], [ab, bc, ca]];
    });
    points = unit(points);
  }
  return { points: unit(points), faces };
}

function unit(points) {
  return points.map((p) => { const r = Math.hypot(...p); return p.map((value) => value / r); });
}

function mesh(shapes, more) {
  const made = { type: "mesh3d", x: [], y: [], z: [], i: [], j: [], k: [], ...more,
    lighting: { ambient: 0.6, diffuse: 0.6, specular: 0.25, roughness: 0.4, fresnel: 0.1, facenormalsepsilon: 0, vertexnormalsepsilon: 0 },
    lightposition: { x: 2e4, y: 1e4, z: 3e4 } };
  for (const { points, faces } of shapes) {
    const base = made.x.length;
    for (const [x, y, z] of points) { made.x.push(x); made.y.push(y); made.z.push(z); }
    for (const [a, b, c] of faces) { made.i.push(base + a); made.j.push(base + c); made.k.push(base + b); }
  }
  return made;
}

function ball(model, at, radius) {
  return { points: model.points.map((p) => p.map((value, axis) => at[axis] + radius * value)), faces: model.faces };
}

function rod([from, to], radius, sides = 10) {
  const along = unit([to.map((value, axis) => value - from[axis])])[0];
  const least = along.map(Math.abs).indexOf(Math.min(...along.map(Math.abs)));
  const helper = [0, 0, 0]; helper[least] = 1;
  const u = unit([cross(along, helper)])[0], v = cross(along, u);
  const points = [], faces = [];
  for (let n = 0; n < sides; n++) {
    const [c, s] = [Math.cos(2 * Math.PI * n / sides), Math.sin(2 * Math.PI * n / sides)];
    for (const end of [from, to]) points.push(end.map((value, axis) => value + radius * (c * u[axis] + s * v[axis])));
    const next = (n + 1) % sides;
    faces.push([2 * n, 2 * next, 2 * n + 1], [2 * next, 2 * next + 1, 2 * n + 1]);
  }
  return { points, faces };
}

function cross(a, b) {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

function sceneTraces(scene) {
  const many = scene.atoms_shown > 900;
  const model = scene.atoms_shown > 250 ? SPHERES.coarse : SPHERES.fine;
  const traces = scene.atoms.map((group) => {
    const about = { name: group.element, hovertemplate: `${group.element}<extra></extra>`,
      showlegend: true, legendgroup: group.element, meta: group.is_ion ? "ion" : "host" };
    if (many && !group.is_ion) {
      const [x, y, z] = [0, 1, 2].map((axis) => group.points.map((p) => p[axis]));
      return { type: "scatter3d", mode: "markers", x, y, z, marker: { size: 3, color: group.colour }, ...about };
    }
    return mesh(group.points.map((at) => ball(model, at, group.radius)), { color: group.colour, ...about });
  });
  for (const hop of scene.hops) {
    traces.push(mesh(hop.segments.map((ends) => rod(ends, 0.13, hop.segments.length > 800 ? 4 : 10)), {
      color: hop.colour, name: hop.label, hovertemplate: `${hop.label}<extra>hop</extra>`,
      meta: hop.hop_id, opacity: 1 }));
  }
  const [x, y, z] = [0, 1, 2].map((axis) => scene.cell.flatMap((ends) => [ends[0][axis], ends[1][axis], null]));
  traces.push({ type: "scatter3d", mode: "lines", x, y, z, hoverinfo: "skip", showlegend: false,
    line: { color: css("--soft"), width: 2 }, meta: "cell" });
  return traces;
}

function camera(figure, traces) {
  // As far away as the crystal is large; plotly.js scales the three ranges by their mean.
  const spans = ["x", "y", "z"].map((axis) => {
    const values = traces.flatMap((trace) => (trace.type === "mesh3d" ? trace[axis] : []));
    const [low, high] = values.reduce(([a, b], v) => [Math.min(a, v), Math.max(b, v)], [Infinity, -Infinity]);
    return Math.max(high - low, 1);
  });
  const mean = Math.cbrt(spans[0] * spans[1] * spans[2]);
  const wide = figure.clientWidth / figure.clientHeight;
  const far = (1.08 * Math.hypot(...spans)) / mean / Math.min(1, wide / 1.3);
  // Not orthographic: plotly.js then leaves surfaces without light.
  return { projection: { type: "perspective" }, eye: { x: 0.83 * far, y: 0.46 * far, z: 0.31 * far } };
}

function sceneLayout(figure, traces) {
  const axis = { visible: false, showspikes: false };
  return {
    margin: { l: 0, r: 0, t: 0, b: 0 }, paper_bgcolor: "rgba(0,0,0,0)",
    scene: { xaxis: axis, yaxis: axis, zaxis: axis, aspectmode: "data", dragmode: "orbit",
      bgcolor: "rgba(0,0,0,0)",
      camera: camera(figure, traces) },
    legend: { x: 0, y: 1, bgcolor: "rgba(0,0,0,0)", itemsizing: "constant" },
    font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily },
    hoverlabel: { bgcolor: css("--card"), font: { color: css("--ink") }, bordercolor: css("--line") },
  };
}

function plotLayout(layout) {
  const axis = { gridcolor: css("--line-soft"), linecolor: css("--line"), zerolinecolor: css("--line"), automargin: true };
  return {
    margin: { l: 60, r: 20, t: 40, b: 50 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    ...layout, xaxis: { ...axis, ...layout.xaxis }, yaxis: { ...axis, ...layout.yaxis },
    font: { color: css("--ink"), family: getComputedStyle(document.body).fontFamily, size: 13 },
    hoverlabel: { bgcolor: css("--card"), font: { color: css("--ink") }, bordercolor: css("--line") },
    modebar: { bgcolor: "rgba(0,0,0,0)", color: css("--line"), activecolor: css("--accent") },
  };
}

const CONFIG = { responsive: true, displaylogo: false, scrollZoom: true, doubleClick: "reset",
  modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "tableRotation", "resetCameraLastSave3d"] };

function canDraw3d() {
  const canvas = document.createElement("canvas");
  return Boolean(canvas.getContext("webgl2") || canvas.getContext("webgl"));
}

async function draw(figure) {
  const data = JSON.parse(document.getElementById(`${figure.id}-data`).textContent);
  const is3d = figure.dataset.figure === "scene";
  if (is3d && !canDraw3d()) {
    figure.innerHTML = "<p class='no-figure'>This browser has no WebGL, which the drawing needs. The structure can be taken along as CIF below.</p>";
    return;
  }
  figure.querySelector(".loading")?.remove();
  const traces = is3d ? sceneTraces(data) : data.data;
  await Plotly.react(figure, traces, is3d ? sceneLayout(figure, traces) : plotLayout(data.layout),
    is3d ? { ...CONFIG, displayModeBar: false } : { ...CONFIG, scrollZoom: false, modeBarButtonsToRemove: [...CONFIG.modeBarButtonsToRemove, "zoom2d", "pan2d"] });
  if (!figure.dataset.drawn) {
    figure.on("plotly_click", ({ points: [point] }) => {
      if (figure.id === "parity" && Array.isArray(point.customdata)) {
        const [id, hop] = point.customdata;
        location.href = `material?${new URLSearchParams({ id, hop })}`;
      }
    });
  }
  figure.dataset.drawn = "yes";
}

function drawAll() {
  if (!window.Plotly) return;
  all("[data-figure]").forEach((figure) => draw(figure).catch((error) => {
    console.error(error);
    figure.innerHTML = "<p class='no-figure'>This could not be drawn.</p>";
  }));
}
addEventListener("DOMContentLoaded", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);

// --- a hop of the table is found in the drawing -------------------------------------------------

function light(hopId) {
  const figure = document.getElementById("scene");
  if (!figure?.data) return;
  const hops = figure.data.map((trace, n) => [trace, n]).filter(([t]) => t.type === "mesh3d" && t.meta !== "ion" && t.meta !== "host");
  if (hops.length < 2) return;
  Plotly.restyle(figure, { opacity: hops.map(([t]) => (!hopId || t.meta === hopId ? 1 : 0.12)) }, hops.map(([, n]) => n));
}
all("tr[data-hop]").forEach((row) => {
  for (const [event, on] of [["mouseenter", true], ["mouseleave", false], ["focusin", true], ["focusout", false]]) {
    row.addEventListener(event, () => { row.classList.toggle("lit", on); light(on ? row.dataset.hop : null); });
  }
});
document.querySelector("[data-host]")?.addEventListener("change", ({ target }) => {
  const figure = document.getElementById("scene");
  const host = figure.data.flatMap((trace, n) => (trace.meta === "host" ? [n] : []));
  if (host.length) Plotly.restyle(figure, { visible: target.checked ? true : "legendonly" }, host);
});
document.querySelector("[data-reset-view]")?.addEventListener("click", () => {
  const figure = document.getElementById("scene");
  Plotly.relayout(figure, { "scene.camera": camera(figure, figure.data) });
});

// --- theme, links, keys -------------------------------------------------------------------------

document.querySelector("[data-theme-button]").addEventListener("click", () => {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  try { localStorage.setItem("theme", theme); } catch { /* it holds for this page */ }
  drawAll();
});

document.querySelector("[data-filters]")?.addEventListener("submit", ({ target }) => {
  // A link says only what it asks for.
  for (const field of target.elements) if (field.name && !field.value) field.disabled = true;
});
all("[data-submit]").forEach((select) => select.addEventListener("change", () => select.form.submit()));

const copy = document.querySelector("[data-copy-link]");
if (copy && navigator.clipboard) {
  copy.hidden = false;
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(location.href);
    copy.textContent = "Copied";
    setTimeout(() => { copy.textContent = "Copy link"; }, 1500);
  });
}

// On a phone the filters would fill the screen before the first material.
const filters = document.querySelector("[data-all-filters]");
if (filters && matchMedia("(max-width: 720px)").matches) filters.open = false;

// The way back to the ranking keeps its filters.
try {
  if (document.querySelector("table.ranking")) sessionStorage.setItem("ranking", location.search);
  else all("a[data-ranking]").forEach((link) => { link.search = sessionStorage.getItem("ranking") || ""; });
} catch { /* the plain ranking it is */ }

addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, select, textarea")) return;
  const search = document.querySelector("input[name=q]");
  if (search) { event.preventDefault(); search.focus(); search.select(); }
});
addEventListener("pageshow", () => all("[data-filters] :disabled").forEach((field) => { field.disabled = false; }));

const refresh = document.querySelector("[data-refresh]");
if (refresh) setInterval(() => { if (!document.hidden) location.reload(); }, 1000 * refresh.dataset.refresh);
