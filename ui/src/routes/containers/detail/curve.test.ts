// The curve of load: its ends, its gaps, and rows that are of no time in it.
import { expect, it } from 'vitest';
import { curve, SPANS } from './curve';

const NOW_MS = 1_790_000_000_000;
const row = (back_ms: number, peak: number) => ({
  at_ms: NOW_MS - back_ms,
  peak,
  network: peak,
  concurrency: 0,
  latency: 0,
  traffic: 1,
  ready: 2,
  wanted: 2,
});

it('shows the highest of each part, the present at the end', () => {
  const { back_ms, bars } = SPANS.day;
  const rows = [row(back_ms, 0.1), row(back_ms / 2, 0.5), row(back_ms / 2 - 1, 0.7), row(1, 2), row(0, 1), row(back_ms + 1, 1)];
  const drawn = curve(rows, 'day', NOW_MS);
  expect(drawn).toHaveLength(bars);
  expect([drawn[0], drawn[1], drawn[24], drawn[47]]).toEqual([0.1, null, 0.7, 2]);
  expect(drawn.filter((share) => share !== null)).toHaveLength(3);
});
