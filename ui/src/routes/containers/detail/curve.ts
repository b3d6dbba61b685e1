// A curve of load as bars: the highest in each part of a span that ends now.
import type { LoadRowDto, LoadSpanDto } from '$host';

const HOUR_MS = 3_600_000;

/** How long back each span goes, and in how many bars: half an hour, and half a day each. */
export const SPANS: Record<LoadSpanDto, { back_ms: number; bars: number }> = {
  day: { back_ms: 24 * HOUR_MS, bars: 48 },
  month: { back_ms: 30 * 24 * HOUR_MS, bars: 60 },
};

/** The highest load in each bar, the present at the end; null where nothing was asked. */
export function curve(rows: LoadRowDto[], span: LoadSpanDto, now_ms: number): (number | null)[] {
  const { back_ms, bars } = SPANS[span];
  const highest = new Array<number | null>(bars).fill(null);
  for (const row of rows) {
    const bar = Math.floor(((row.at_ms - (now_ms - back_ms)) / back_ms) * bars);
    if (bar < 0 || bar >= bars) continue;
    highest[bar] = Math.max(highest[bar] ?? 0, row.peak);
  }
  return highest;
}
