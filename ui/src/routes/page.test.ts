// The first start: nothing is done before it was said and confirmed.
import { fireEvent, screen } from '@testing-library/svelte';
import { expect, it } from 'vitest';
import { goto } from '$app/navigation';
import { asked, click, given, open, pass, shows, type, words } from '$test/given';
import Page from './+page.svelte';

const changes = (fake: Awaited<ReturnType<typeof given>>) => fake.asked.filter((request) => request.ask !== 'status');

it('offers four ways and says in red that practice is not private', async () => {
  await given('new');
  await open(Page, '/');
  expect(['practice', 'start', 'join', 'lend'].every((way) => shows(`first-${way}`))).toBe(true);
  expect(words('first-practice')).toContain('no privacy at all');
});

it('says what a practice fog does before it starts one', async () => {
  const fake = await given('new');
  await open(Page, '/');
  await click('first-practice');
  expect(screen.getByText(/Starts several nodes in this app/)).toBeTruthy();
  expect(changes(fake)).toEqual([]);
  await click('confirm-practice');
  await pass(10);
  expect(changes(fake)).toEqual([{ ask: 'practice' }]);
  expect(goto).toHaveBeenLastCalledWith('/containers');
});

it('starts a fog only with a name, as a test fog only when asked', async () => {
  const fake = await given('new');
  await open(Page, '/');
  await click('first-start');
  const confirm = screen.getByTestId<HTMLButtonElement>('confirm-start');
  expect(confirm.disabled).toBe(true);
  await type('fog-name-input', ' Ours ');
  await click('fog-test');
  expect(confirm.disabled).toBe(false);
  await click('confirm-start');
  expect(changes(fake)).toEqual([{ ask: 'start_fog', name: 'Ours', test: true }]);
});

it('shows why a ticket was refused and stays', async () => {
  const fake = await given('new');
  await open(Page, '/');
  await click('first-join');
  await type('ticket', 'hello');
  await click('confirm-join');
  expect(words('fault')).toContain('This is no ticket');
  expect(words('fault')).toContain('paste it again');
  expect(fake.world.fog).toBeNull();
  expect(shows('confirm-join')).toBe(true);
});

it('lends only after consent, then joins, lends and relays in that order', async () => {
  const fake = await given('new');
  await open(Page, '/');
  await click('first-lend');
  await type('ticket', 'fogbank1abc');
  expect(screen.getByTestId<HTMLButtonElement>('confirm-lend').disabled).toBe(true);
  expect(screen.getByText(/static websites of people you may not know/)).toBeTruthy();
  await fireEvent.click(screen.getByTestId('consent'));
  await click('confirm-lend');
  await pass(10);
  expect(changes(fake)).toEqual([
    { ask: 'join', ticket: 'fogbank1abc' },
    { ask: 'lend', on: true },
    { ask: 'relay', on: true },
  ]);
  expect(goto).toHaveBeenCalledWith('/lend');
});

it('sends whoever is in a fog to the containers', async () => {
  const fake = await given('practice');
  await open(Page, '/');
  expect(goto).toHaveBeenLastCalledWith('/containers', { replaceState: true });
  expect(asked(fake, 'practice')).toEqual([]);
});
