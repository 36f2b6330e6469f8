// Who loads a map and draws it? A worker, or, in a browser that cannot draw in one, nobody: then the
// page has the lists, which can do all that the map can.

import { ask, Unreachable } from "./api.js";
import { geometryOf } from "./geometry.js";

/// Loads the map at `url`: `{geometry, worker}`, where the worker may be null.
export async function openMap(url, zones) {
  if (!canDrawInWorkers()) return { geometry: geometryOf(await ask(url)), worker: null };
  const worker = new Worker("/assets/map-worker.js", { type: "module" });
  try {
    const geometry = await new Promise((resolve, reject) => {
      worker.addEventListener("message", ({ data }) => (data.geometry ? resolve(data.geometry) : reject(new Unreachable(data.failed))), { once: true });
      worker.addEventListener("error", () => reject(new Unreachable("the map's worker did not start")), { once: true });
      worker.postMessage({ load: url, zones });
    });
    return { geometry, worker };
  } catch (error) {
    worker.terminate();
    throw error;
  }
}

const canDrawInWorkers = () =>
  typeof OffscreenCanvas !== "undefined" && typeof ImageBitmapRenderingContext !== "undefined" &&
  typeof new OffscreenCanvas(1, 1).getContext === "function" && new OffscreenCanvas(1, 1).getContext("2d") !== null;
