// The list: states, filter and search, copying, the empty fog, waiting and failure.
import { fireEvent, screen, within } from '@testing-library/svelte';
import { expect, it } from 'vitest';
import { goto } from '$app/navigation';
import { given, open, pass, shows, type, words } from '$test/given';
import { filtered } from './filter';
import Page from './+page.svelte';

const names = () => screen.queryAllByTestId('container').map((row) => within(row).getByRole('link').textContent);
const row = (name: string) => screen.getByRole('link', { name }).closest('li') as HTMLElement;
const choose = (name: RegExp) => fireEvent.click(within(screen.getByTestId('filter')).getByRole('radio', { name }));

it('lists containers with state and copies, and follows them', async () => {
  await given('community');
  await open(Page, '/containers');
  expect(names()).toEqual(['A page for the weekend', 'Harbour Street news', 'Tenants’ handbook', 'Summer fair 2024']);
  const young = row('A page for the weekend');
  expect(within(young).getByTestId('state').dataset.state).toBe('pending');
  await pass(6_000);
  expect(within(young).getByTestId('state').dataset.state).toBe('running');
  expect(young.textContent).toContain('2 of 2 ready');
});

it('filters by state and by name or address', async () => {
  const fake = await given('community');
  await open(Page, '/containers');
  await choose(/Stopped/);
  expect(names()).toEqual(['Summer fair 2024']);
  await choose(/Running/);
  expect(names()).toHaveLength(3);
  await type('search', 'HANDBOOK');
  expect(names()).toEqual(['Tenants’ handbook']);
  await type('search', fake.world.containers[1]?.container.onion.slice(0, 9) ?? '');
  expect(names()).toEqual(['Harbour Street news']);
  await type('search', 'nothing like it');
  expect(shows('no-match')).toBe(true);
});

it('counts each container as running or stopped', async () => {
  const fake = await given('community');
  const all = fake.world.containers.map((c) => c.container);
  expect(filtered(all, 'running', '').length + filtered(all, 'stopped', '').length).toBe(all.length);
});

it('copies an address by one click and confirms it', async () => {
  const fake = await given('community');
  await open(Page, '/containers');
  await fireEvent.click(within(row('Harbour Street news')).getByRole('button', { name: /Copy the address of Harbour/ }));
  await pass(1);
  expect(fake.copied).toEqual([fake.world.containers[1]?.container.onion]);
  expect(words('copied')).toBe('Copied');
  expect(row('Harbour Street news').querySelector('[aria-live]')?.textContent.trim()).toBe('Copied');
  await pass(3_000);
  expect(shows('copied')).toBe(false);
});

it('offers no address of a private site to be copied', async () => {
  const fake = await given('community');
  if (fake.world.containers[1]) fake.world.containers[1].container.private = true;
  await open(Page, '/containers');
  const news = within(row('Harbour Street news'));
  expect(news.queryByTestId('copy-onion')).toBeNull();
  expect(news.getByTestId('private').textContent).toContain('share its link');
});

it('says so when the clipboard can’t be reached', async () => {
  const fake = await given('community');
  fake.copy = async () => Promise.reject(new Error('no clipboard'));
  await open(Page, '/containers');
  await fireEvent.click(within(row('Harbour Street news')).getByTestId('copy-onion'));
  await pass(1);
  expect(row('Harbour Street news').textContent).toContain('copy it by hand');
});

it('leads from the empty fog to the first folder, by click or by drop', async () => {
  const fake = await given('practice');
  await open(Page, '/containers');
  expect(within(screen.getByTestId('empty')).getByTestId('create-first').getAttribute('href')).toBe('/containers/new');
  fake.drop('/home/you/my site');
  expect(goto).toHaveBeenLastCalledWith('/containers/new?folder=%2Fhome%2Fyou%2Fmy%20site');
});

it('tells who may not publish how to get there', async () => {
  const fake = await given('practice');
  if (fake.world.fog) fake.world.fog.roles = ['contribute'];
  await pass(1_100);
  await open(Page, '/containers');
  expect(shows('create')).toBe(false);
  expect(screen.getByText(/role Publish/)).toBeTruthy();
});

it('waits visibly, then shows the failure above what was known', async () => {
  const fake = await given('community', 50);
  await open(Page, '/containers');
  expect(shows('waiting')).toBe(true);
  await pass(60);
  expect(shows('waiting')).toBe(false);
  fake.gone = true;
  await pass(2_500);
  expect(words('fault')).toContain('The node can’t be reached: the control socket is closed');
  expect(names()).toHaveLength(4);
});
