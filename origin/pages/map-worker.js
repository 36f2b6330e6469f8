// Loads a map and draws it, off the page's own thread, so that a stadium never makes a finger wait.
//
// To it: {load, zones} once; then {theme}, {plane}, {changed, areTaken} and {draw} as things change.
// From it: {geometry} or {failed}; then {picture, view} for each {draw}, and for changes of what is
// drawn.

import { geometryOf } from "./geometry.js";
import { createScene } from "./scene.js";

const canvas = new OffscreenCanvas(1, 1);
let scene = null;
let drawn = null;

self.addEventListener("message", async ({ data }) => {
  if (data.load) return load(data);
  if (data.theme) scene.setTheme(data.theme);
  if (data.plane) scene.setPlane(data.plane);
  if (data.changed) {
    const parts = scene.change(data.changed, data.areTaken);
    if (!drawn) return;
    scene.redraw(data.changed, parts);
    await show();
  }
  if (data.draw) {
    drawn = data.draw;
    scene.draw(drawn);
    await show();
  }
});

async function load({ load: url, zones }) {
  try {
    const answer = await fetch(url, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`${url} answers ${answer.status}`);
    const geometry = geometryOf(await answer.json());
    scene = createScene(canvas, geometry, zones);
    self.postMessage({ geometry });
  } catch (error) {
    self.postMessage({ failed: String(error) });
  }
}

async function show() {
  const shown = drawn;
  const picture = await createImageBitmap(canvas);
  self.postMessage({ picture, drawn: shown }, [picture]);
}
