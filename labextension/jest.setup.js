// jsdom has no DragEvent, which Lumino's drag and drop extends when it is loaded.
globalThis.DragEvent ??= class DragEvent extends Event {};
// Nor does it know media queries, which JupyterLab's web components ask when they are loaded.
if (globalThis.window) {
  window.matchMedia ??= () => ({ matches: false, addEventListener() {}, removeEventListener() {} });
}
