// How SvelteKit builds the pages: one static shell (index.html) that the window loads, and a strict content security policy.
import { readFileSync } from 'node:fs';
import adapter from '@sveltejs/adapter-static';
import { vitePreprocess } from '@sveltejs/vite-plugin-svelte';

/** @type {import('@sveltejs/kit').Config} */
export default {
  preprocess: vitePreprocess(),
  compilerOptions: { runes: ({ filename }) => (filename.includes('node_modules') ? undefined : true) },
  kit: {
    // The app's version, not the time of the build: the same sources give the same pages.
    version: { name: JSON.parse(readFileSync(new URL('package.json', import.meta.url), 'utf8')).version },
    adapter: adapter({ pages: 'dist', assets: 'dist', fallback: 'index.html', strict: false }),
    alias: {
      $host: 'src/host',
      $live: 'src/live',
      $parts: 'src/parts',
      $text: 'src/text',
      $words: 'src/words',
      $test: 'src/test',
    },
    // Hashes of SvelteKit's own inline script go into a meta tag, so that the window's policy can be strict as well.
    // `ipc:` and its http twin are how Tauri's calls travel inside the window; nothing leaves the computer.
    csp: {
      mode: 'hash',
      directives: {
        'default-src': ['self'],
        'script-src': ['self'],
        // The hash is of the one inline style that SvelteKit writes: it hides the line that tells screen readers of a new page.
        'style-src': ['self', 'unsafe-hashes', 'sha256-S8qMpvofolR8Mpjy4kQvEm7m1q8clzU4dfDH0AmvZjo='],
        'img-src': ['self', 'data:'],
        'connect-src': ['self', 'ipc:', 'http://ipc.localhost'],
        'object-src': ['none'],
        'base-uri': ['self'],
        'form-action': ['none'],
      },
    },
  },
};
