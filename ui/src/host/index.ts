// The only port to the outside: picks the host once. Pages import from here, and the messages' types from ./bindings.
import type { Host } from './host';

export type { Host, Startup } from './host';
export type * from './bindings';

let chosen: Host | undefined;

/** Picks the host: the app's window when there is one, else a fake node (`npm run dev` in a browser). */
export async function openHost(): Promise<Host> {
  if (chosen) return chosen;
  if (window.__TAURI_INTERNALS__) {
    const { tauriHost } = await import('./tauri');
    chosen = tauriHost();
  } else {
    const { fakeHost } = await import('./fake');
    chosen = fakeHost();
  }
  return chosen;
}

/** The host that was picked. */
export function host(): Host {
  if (!chosen) throw new Error('the host is not open yet: await openHost() first');
  return chosen;
}

/** Gives a host, for tests. */
export function useHost(given: Host): void {
  chosen = given;
}
