// How numbers, amounts and times are written for people, in the language of the texts.
import type { Amounts } from '$host';
import { text } from '$text';

const whole = new Intl.NumberFormat(text.language, { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat(text.language, { maximumFractionDigits: 2 });
const short = new Intl.NumberFormat(text.language, { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(text.language, { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' });
const day = new Intl.DateTimeFormat(text.language, { day: 'numeric', month: 'short', year: 'numeric' });
const full = new Intl.DateTimeFormat(text.language, { dateStyle: 'medium', timeStyle: 'medium' });

export const count = (n: number): string => whole.format(n);
export const bits = (n: number): string => text.amounts.bits(short.format(n));
export const percent = (share: number): string => `${short.format(share * 100)} %`;

/** Bytes in steps of 1,000, as file managers and the node's megabytes do. */
export function bytes(n: number): string {
  if (n < 1_000) return `${n} B`;
  const steps: [number, string][] = [
    [1e9, 'GB'],
    [1e6, 'MB'],
    [1e3, 'kB'],
  ];
  // From the unit in which it does not round up to 1,000 of it.
  const [size, unit] = steps.find(([size]) => n >= size * 0.99995) ?? [1e3, 'kB'];
  return `${short.format(n / size)} ${unit}`;
}

export const cores = (n: number): string => text.amounts.cores(fine.format(n), n === 1);
export const megabits = (n: number): string => `${fine.format(n)} Mbit/s`;

/** Megabytes, without fractions that nobody would miss. */
export function megabytes(n: number): string {
  if (n >= 10_000) return `${short.format(n / 1000)} GB`;
  return `${n >= 100 ? whole.format(n) : short.format(n)} MB`;
}

/** All four amounts in a line. */
export function amounts(a: Amounts): string {
  return text.amounts.line(cores(a.cpu_cores), megabytes(a.memory_mb), megabytes(a.storage_mb), megabits(a.bandwidth_mbps));
}

/** A time of today by its clock, any other with its day. */
export function moment(at_ms: number, now_ms = Date.now()): string {
  const at = new Date(at_ms);
  const time = clock.format(at);
  return at.toDateString() === new Date(now_ms).toDateString() ? time : `${day.format(at)}, ${time}`;
}

export const momentInFull = (at_ms: number): string => full.format(new Date(at_ms));

/** The first half and the end of an address, for narrow places. */
export function shortOnion(onion: string): string {
  const name = onion.replace(/\.onion$/, '');
  return name.length > 20 ? `${name.slice(0, 12)}…${name.slice(-6)}.onion` : onion;
}

/** The head of an id. */
export const shortId = (id: string): string => (id.length > 12 ? `${id.slice(0, 10)}…` : id);

/** A counter's name for people: `packets_in` → `packets in`. */
export const counterName = (name: string): string => name.replaceAll(/[._]/g, ' ');
