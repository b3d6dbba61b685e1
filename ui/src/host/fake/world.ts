// The fake node's world: what it knows, and what is due to happen. Time only moves when someone looks, so tests may set the clock.
import type {
  Amounts,
  ContainerDetailDto,
  ControlError,
  ControlErrorKind,
  DeviceDto,
  FogDto,
  ProgressDto,
  RelayDto,
  VisitDto,
} from '../bindings';

export interface World {
  fog: FogDto | null;
  lends: boolean;
  lendsDirectly: boolean;
  /** The owner's wish, limits, and what was relayed this month. */
  relay: RelayDto;
  paused: boolean;
  draining: boolean;
  devices: DeviceDto[];
  containers: ContainerDetailDto[];
  visits: VisitDto[];
  usable: number;
  /** Connected clients, as the directory counts them. */
  clients: number;
  /** Whether hosts offer level strict. */
  strict: boolean;
  progress: ProgressDto | null;
  /** What happens later, in no order. */
  due: { at_ms: number; happens: () => void }[];
  /** Number of the next id. */
  next: number;
}

export function emptyWorld(): World {
  return {
    fog: null,
    lends: false,
    lendsDirectly: false,
    relay: { on: false, rate_kb_s: 1000, month_gb: 50, month_used_mb: 0, state: 'off' },
    paused: false,
    draining: false,
    devices: [],
    containers: [],
    visits: [],
    usable: 0,
    clients: 0,
    strict: false,
    progress: null,
    due: [],
    next: 1,
  };
}

/** Lets all that is due happen, the earliest first. */
export function advance(world: World, now_ms: number): void {
  for (;;) {
    const first = world.due.filter((d) => d.at_ms <= now_ms).sort((a, b) => a.at_ms - b.at_ms)[0];
    if (!first) return;
    world.due.splice(world.due.indexOf(first), 1);
    first.happens();
  }
}

export function later(world: World, after_ms: number, happens: () => void): void {
  world.due.push({ at_ms: Date.now() + after_ms, happens });
}

export class Refused extends Error {
  readonly error: ControlError;
  constructor(kind: ControlErrorKind, what: string, todo = '') {
    super(what);
    this.error = { kind, what, todo };
  }
}

export const NOTHING: Amounts = { cpu_cores: 0, memory_mb: 0, storage_mb: 0, bandwidth_mbps: 0 };
export const DIMENSIONS = ['cpu_cores', 'memory_mb', 'storage_mb', 'bandwidth_mbps'] as const;

export function combine(a: Amounts, b: Amounts, by: (a: number, b: number) => number): Amounts {
  const rounded = (x: number) => Math.round(x * 1000) / 1000;
  return {
    cpu_cores: rounded(by(a.cpu_cores, b.cpu_cores)),
    memory_mb: rounded(by(a.memory_mb, b.memory_mb)),
    storage_mb: rounded(by(a.storage_mb, b.storage_mb)),
    bandwidth_mbps: rounded(by(a.bandwidth_mbps, b.bandwidth_mbps)),
  };
}

export const plus = (a: Amounts, b: Amounts) => combine(a, b, (x, y) => x + y);
export const minus = (a: Amounts, b: Amounts) => combine(a, b, (x, y) => Math.max(0, x - y));
export const share = (a: Amounts, parts: number) => combine(a, a, (x) => x / parts);

/** 56 letters of the alphabet of onion addresses that depend on the seed alone. */
export function onionOf(seed: number): string {
  const letters = 'abcdefghijklmnopqrstuvwxyz234567';
  let state = (seed * 2_654_435_761) >>> 0;
  let name = '';
  for (let i = 0; i < 55; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    name += letters[state >>> 27];
  }
  return `${name}d.onion`;
}
