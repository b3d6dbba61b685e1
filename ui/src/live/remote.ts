// Data that lives elsewhere is in one of three conditions; pages say something sensible in each.
import type { ControlError } from '$host';

export type Remote<T> =
  | { is: 'waiting' }
  | { is: 'ready'; value: T }
  /** `last` is what was known before it failed: still worth showing, under the error. */
  | { is: 'failed'; error: ControlError; last: T | null };

export const WAITING = { is: 'waiting' } as const;

export function ready<T>(value: T): Remote<T> {
  return { is: 'ready', value };
}

export function failed<T>(error: ControlError, before: Remote<T>): Remote<T> {
  return { is: 'failed', error, last: known(before) };
}

/** What is known, however old. */
export function known<T>(remote: Remote<T>): T | null {
  if (remote.is === 'ready') return remote.value;
  return remote.is === 'failed' ? remote.last : null;
}
