// What page tests begin with: a fake node in a scene, an address, and a clock that the test moves.
import { fireEvent, render, screen } from '@testing-library/svelte';
import type { Component } from 'svelte';
import { onTestFinished, vi } from 'vitest';
import { useHost } from '$host';
import { fakeHost, type FakeHost } from '$host/fake';
import type { Scene } from '$host/fake/scenes';
import { node } from '$live/node.svelte';

/** Lets time pass: timers, answers of the node, and the pages' reaction. */
export const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

/** A node in a scene whose status the frame has already read. Answers come at once, unless `delay_ms` is given. */
export async function given(scene: Scene, delay_ms = 0): Promise<FakeHost> {
  vi.useFakeTimers({ now: new Date('2026-03-01T12:00:00') });
  const fake = fakeHost(scene, delay_ms);
  useHost(fake);
  const stop = node.status.follow();
  onTestFinished(stop);
  await pass(delay_ms + 1);
  return fake;
}

/** Opens a page at an address and lets its first answers come. */
export async function open(page: Component<any>, address: string, props: Record<string, unknown> = {}) {
  window.history.replaceState({}, '', address);
  const rendered = render(page, props);
  await pass(1);
  return rendered;
}

export async function click(testid: string) {
  await fireEvent.click(screen.getByTestId(testid));
  await pass(1);
}

export async function type(testid: string, words: string) {
  await fireEvent.input(screen.getByTestId(testid), { target: { value: words } });
}

export const asked = (fake: FakeHost, ask: string) => fake.asked.filter((request) => request.ask === ask);
export const shows = (testid: string) => screen.queryByTestId(testid) !== null;
export const words = (testid: string) => screen.getByTestId(testid).textContent.trim();
