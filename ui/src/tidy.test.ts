// Rules of this folder that no compiler checks.
import { expect, it } from 'vitest';

const sources = import.meta.glob<string>(['./**/*.{ts,svelte}', '!./host/bindings.ts'], {
  query: '?raw',
  import: 'default',
  eager: true,
});
const files = Object.entries(sources);

/** Longer files are split by concern. */
const MAX_LINES = 300;

it('only the host knows Tauri', () => {
  const others = files.filter(([path]) => !path.startsWith('./host/') && !path.endsWith('tidy.test.ts'));
  expect(others.filter(([, text]) => text.includes('@tauri-apps')).map(([path]) => path)).toEqual([]);
});

it('each file is short and begins with what it is for', () => {
  expect(files.length).toBeGreaterThan(60);
  expect(files.filter(([, text]) => text.split('\n').length > MAX_LINES).map(([path]) => path)).toEqual([]);
  expect(files.filter(([, text]) => !/^(\/\/|<!--) \w/.test(text)).map(([path]) => path)).toEqual([]);
});

it('components use tokens, not colours, and hold no text', () => {
  const components = files.filter(([path]) => path.endsWith('.svelte'));
  const coloured = /#[0-9a-f]{3,8}\b|\brgba?\(|\bhsla?\(|\b(bg|text|border)-(red|green|blue|gray|slate|white|black)\b/i;
  expect(components.filter(([, text]) => coloured.test(text)).map(([path]) => path)).toEqual([]);
  // Words between tags, outside of scripts, styles, comments and expressions.
  const spoken = components.map(([path, text]) => {
    const markup = text.replace(/<(script|style)[\s\S]*?<\/\1>|<!--[\s\S]*?-->/g, '');
    return [path, [...markup.matchAll(/>([^<>{}]*[A-Za-z]{2}[^<>{}]*)</g)].map((m) => m[1]?.trim())] as const;
  });
  expect(spoken.filter(([, words]) => words.length > 0)).toEqual([]);
});
