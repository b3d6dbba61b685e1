// Where a slider of amounts stops: small steps at small amounts, larger at larger ones, and the last is all that is free. Pure.

const STEPS = [1, 1.5, 2, 3, 4, 5, 6, 8];
/** 1 to 10^8 in eight steps a decade: no amount of a fog lies outside. */
const DECADES = [0.01, 0.1, 1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];

export function stops(least: number, most: number, decimals: number): number[] {
  const end = floorTo(most, decimals);
  if (end <= least) return [least];
  const between = DECADES.flatMap((decade) => STEPS.map((step) => floorTo(step * decade, decimals))).filter(
    (a) => a > least && a < end,
  );
  return [...new Set([least, ...between, end])];
}

/** The stop that shows this amount: the last that is not more, or the first. */
export function stopOf(amount: number, all: number[]): number {
  return Math.max(
    0,
    all.findLastIndex((stop) => stop <= amount + 1e-9),
  );
}

/** Rounds down, but not by the error of floating numbers. */
export function floorTo(amount: number, decimals: number): number {
  const scale = 10 ** decimals;
  return Math.floor(amount * scale + 1e-6) / scale;
}
