// Types of the surroundings: what Tauri puts on the window when the pages run inside the app.
declare global {
  interface Window {
    __TAURI_INTERNALS__?: unknown;
  }
}

export {};
