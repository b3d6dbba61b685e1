// How amounts and times are written.
import { describe, expect, it } from 'vitest';
import { bytes, cores, megabytes, moment, shortOnion } from './format';
import { sentence } from './sentence';

describe('amounts', () => {
  it('writes bytes in steps of a thousand, and never 1,000 of a unit', () => {
    expect([0, 999, 1_000, 812_345, 999_999, 3_410_000, 4e9].map(bytes)).toEqual([
      '0 B',
      '999 B',
      '1 kB',
      '812.3 kB',
      '1 MB',
      '3.4 MB',
      '4 GB',
    ]);
  });

  it('says one core and several cores', () => {
    expect([cores(1), cores(0.1), cores(2)]).toEqual(['1 core', '0.1 cores', '2 cores']);
  });

  it('keeps fractions of megabytes only where they matter', () => {
    expect([megabytes(21.333), megabytes(1994.67), megabytes(62_000)]).toEqual(['21.3 MB', '1,995 MB', '62 GB']);
  });
});

describe('times and addresses', () => {
  it('shows the day only when it is another', () => {
    const now = new Date('2026-03-01T12:00:00').getTime();
    expect(moment(new Date('2026-03-01T09:05:07').getTime(), now)).toBe('09:05:07');
    expect(moment(new Date('2026-02-28T09:05:07').getTime(), now)).toMatch(/Feb 28, 2026, 09:05:07/);
  });

  it('shortens an address to both of its ends', () => {
    expect(shortOnion(`abcdefghijkl${'m'.repeat(38)}uvwxyz.onion`)).toBe('abcdefghijkl…uvwxyz.onion');
  });

  it('makes a sentence of the node’s words', () => {
    expect(['it does not fit', ' Fits. ', 'why?', ''].map(sentence)).toEqual(['It does not fit.', 'Fits.', 'Why?', '']);
  });
});
