// How much the fake's containers are asked: a day's rhythm that repeats, and copies that follow it.
import type { ContainerDetailDto, ControlRequest, LoadDto, LoadSpanDto } from '../bindings';

const MINUTE_MS = 60_000;

/** Takes up other numbers of copies. */
export function rescale(detail: ContainerDetailDto, asked: Extract<ControlRequest, { ask: 'scale' }>): void {
  detail.container.wanted = asked.instances;
  follow(detail, asked.instances, asked.most);
}

/** Lets the number of copies follow load, or no more. */
export function follow(detail: ContainerDetailDto, least: number, most: number | undefined): void {
  detail.most = most !== undefined && most > least ? most : null;
  detail.load =
    detail.most === null
      ? null
      : `load 35 % (network), 4 requests a second; ${least} copies wanted, of ${least} to ${detail.most}: load is as it should be`;
}

export function load(detail: ContainerDetailDto, span: LoadSpanDto, now_ms = Date.now()): LoadDto {
  const { ready, wanted } = detail.container;
  const known = { ready, wanted, least: wanted, most: detail.most ?? wanted, changes: 1, most_changes: 6 };
  if (detail.most === null) {
    return { ...known, why: 'the number of copies does not follow load: nothing is measured', now: null, rows: [] };
  }
  const [step_ms, rows] = span === 'day' ? [MINUTE_MS, 1_440] : [15 * MINUTE_MS, 2_880];
  const last = Math.floor(now_ms / step_ms) * step_ms;
  return {
    ...known,
    why: 'load is as it should be',
    now: { at_ms: now_ms, network: 0.35, concurrency: 0.1, latency: 0.08, traffic: 4 },
    rows: Array.from({ length: rows }, (_, k) => {
      const at_ms = last - (rows - k) * step_ms;
      const network = 0.4 + 0.35 * Math.sin((at_ms / (24 * 60 * MINUTE_MS)) * 2 * Math.PI);
      return { at_ms, peak: network * 1.2, network, concurrency: 0.1, latency: 0.08, traffic: 12 * network, ready, wanted };
    }),
  };
}
