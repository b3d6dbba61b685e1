// Stops of the sliders, over many ends.
import { expect, it } from 'vitest';
import { floorTo, stopOf, stops } from './stops';

it('begins at the least, ends at exactly what is free, and only rises', () => {
  for (const [least, most, decimals] of [
    [0.05, 12.7, 2],
    [16, 13_100, 0],
    [1, 1.5, 0],
    [1, 9_999_999, 0],
    [0.1, 61.37, 1],
  ] as const) {
    const all = stops(least, most, decimals);
    expect(all[0]).toBe(least);
    expect(all.at(-1)).toBe(Math.max(least, floorTo(most, decimals)));
    expect(all.every((stop, k) => k === 0 || stop > (all[k - 1] ?? 0))).toBe(true);
  }
});

it('has one stop when less is free than the least', () => {
  expect(stops(16, 3, 0)).toEqual([16]);
  expect(stops(16, 0, 0)).toEqual([16]);
});

it('shows an amount at the last stop that is not more', () => {
  const all = [10, 15, 20];
  expect([5, 10, 17, 20, 99].map((amount) => stopOf(amount, all))).toEqual([0, 0, 1, 2, 2]);
});

it('rounds down without losing what is exact', () => {
  expect([floorTo(0.3, 2), floorTo(0.29999, 2), floorTo(1.1 * 3, 1)]).toEqual([0.3, 0.29, 3.3]);
});
