// Before each test file: SvelteKit's navigation as a spy over the address bar, and what jsdom lacks.
import { afterEach, vi } from 'vitest';
import { cleanup } from '@testing-library/svelte';

vi.mock('$app/navigation', () => ({
  goto: vi.fn(async (to: string) => window.history.pushState({}, '', to)),
}));
vi.mock('$app/state', () => ({
  page: {
    get url() {
      return new URL(window.location.href);
    },
    status: 200,
    error: null,
  },
}));

class NoResizes {
  observe() {}
  unobserve() {}
  disconnect() {}
}
window.ResizeObserver ??= NoResizes;
Element.prototype.scrollIntoView ??= () => {};
Element.prototype.setPointerCapture ??= () => {};
Element.prototype.hasPointerCapture ??= () => false;

afterEach(() => {
  cleanup();
  vi.useRealTimers();
});
