// A poller's conditions: waiting, ready, failed with what was known; silence is told; late answers are dropped.
import { expect, it, vi } from 'vitest';
import { Fault } from './ask';
import { Poller } from './poller.svelte';

const away = { kind: 'allocator_away', what: 'it is away', todo: '' } as const;

it('waits, is ready, fails with what was known, and recovers by itself', async () => {
  vi.useFakeTimers();
  const answers = [async () => 1, async () => Promise.reject(new Fault(away)), async () => 3];
  const poller = new Poller(() => (answers.shift() ?? (async () => 4))(), 1_000);
  expect(poller.remote).toEqual({ is: 'waiting' });
  const stop = poller.follow();
  await vi.advanceTimersByTimeAsync(0);
  expect(poller.remote).toEqual({ is: 'ready', value: 1 });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(poller.remote).toEqual({ is: 'failed', error: away, last: 1 });
  await vi.advanceTimersByTimeAsync(1_000);
  expect(poller.remote).toEqual({ is: 'ready', value: 3 });
  stop();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(poller.known).toBe(3);
});

it('tells that a node is silent instead of waiting for ever', async () => {
  vi.useFakeTimers();
  const poller = new Poller(() => new Promise<number>(() => {}), 1_000);
  const stop = poller.follow();
  await vi.advanceTimersByTimeAsync(11_000);
  expect(poller.remote.is).toBe('waiting');
  await vi.advanceTimersByTimeAsync(1_100);
  expect(poller.remote).toMatchObject({ is: 'failed', error: { kind: 'failed', what: expect.stringContaining('12 seconds') } });
  stop();
});

it('drops the answer to an older question', async () => {
  vi.useFakeTimers();
  let slow: (value: string) => void = () => {};
  const answers = [new Promise<string>((resolve) => (slow = resolve)), Promise.resolve('new')];
  const poller = new Poller(() => answers.shift() ?? Promise.resolve('later'), 60_000);
  const stop = poller.follow();
  await poller.refresh();
  slow('old');
  await vi.advanceTimersByTimeAsync(1);
  expect(poller.known).toBe('new');
  stop();
});
