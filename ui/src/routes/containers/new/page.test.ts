// Putting a folder online: refusals, bounds, the allocator's answer, and the way to the new container.
import { fireEvent, screen, within } from '@testing-library/svelte';
import { expect, it } from 'vitest';
import { goto } from '$app/navigation';
import { asked, click, given, open, pass, shows, type, words } from '$test/given';
import Page from './+page.svelte';

const publish = () => screen.getByTestId<HTMLButtonElement>('publish');
const number = (of: string) => screen.getByTestId<HTMLInputElement>(`amount-${of}-number`);

it('shows why a folder can’t be put online, and does not let it be', async () => {
  await given('practice');
  await open(Page, '/containers/new');
  await type('folder-path', '/home/you/empty');
  await pass(1_000);
  expect(words('fault')).toContain('has no index.html');
  expect(words('fault')).toContain('Add an index.html');
  expect(shows('folder-summary')).toBe(false);
  expect(publish().disabled).toBe(true);
});

it('shows files and bytes of a dropped folder and proposes its name', async () => {
  const fake = await given('practice');
  await open(Page, '/containers/new');
  fake.drop('/home/you/my-site');
  await pass(500);
  expect(words('folder-summary')).toBe('24 files, 3.4 MB');
  expect(screen.getByTestId<HTMLInputElement>('name').value).toBe('my-site');
  expect(screen.getByTestId<HTMLInputElement>('folder-path').value).toBe('/home/you/my-site');
  expect(publish().disabled).toBe(false);
});

it('takes the folder of the dialog', async () => {
  await given('practice');
  await open(Page, '/containers/new');
  await click('choose-folder');
  expect(words('folder-summary')).toContain('24 files');
});

it('bounds sliders and numbers by what is free', async () => {
  await given('practice');
  await open(Page, '/containers/new');
  await pass(500);
  expect(words('amount-memory-free')).toBe('10.2 GB free');
  const thumb = screen.getByTestId('amount-memory');
  await fireEvent.keyDown(thumb, { key: 'End' });
  expect(number('memory').value).toBe('10240');
  expect(thumb.getAttribute('aria-valuetext')).toBe('10.2 GB');
  await fireEvent.keyDown(thumb, { key: 'Home' });
  expect(number('memory').value).toBe('16');
  await fireEvent.change(number('cpu'), { target: { value: '99' } });
  expect(number('cpu').value).toBe('10');
});

it('asks the allocator once a moment after the last change', async () => {
  const fake = await given('practice');
  await open(Page, '/containers/new');
  await pass(500);
  const before = asked(fake, 'fit').length;
  for (const memory of ['100', '200', '300']) {
    await fireEvent.change(number('memory'), { target: { value: memory } });
    await pass(100);
  }
  await pass(300);
  const after = asked(fake, 'fit').slice(before);
  expect(after).toMatchObject([{ requirements: { memory_mb: 300 }, instances: 2 }]);
});

it('says what is short and takes the largest that fits', async () => {
  await given('practice');
  await open(Page, '/containers/new');
  await type('folder-path', '/home/you/my-site');
  await pass(1_000);
  await fireEvent.change(number('cpu'), { target: { value: '9' } });
  await pass(500);
  expect(words('fit')).toContain('It does not fit');
  expect(publish().disabled).toBe(true);
  await click('use-largest');
  await pass(500);
  expect(Number(number('cpu').value)).toBe(4);
  expect(words('fit')).toContain('Fits: 4 of 6 devices');
  expect(publish().disabled).toBe(false);
});

it('offers strict only while the fog does, and says why not', async () => {
  const fake = await given('community');
  await open(Page, '/containers/new');
  await pass(10);
  const strict = () => within(screen.getByTestId('level')).queryByRole<HTMLInputElement>('radio', { name: /Strict/ });
  expect(strict()).toBeNull();
  expect(words('no-strict')).toContain('is not offered in this fog');
  fake.world.strict = true;
  await pass(5_100);
  expect(shows('no-strict')).toBe(false);
  await fireEvent.click(strict()!);
  // It is no longer offered: nobody publishes with a promise that is not kept.
  fake.world.strict = false;
  await pass(5_100);
  const balanced = within(screen.getByTestId('level')).getByRole<HTMLInputElement>('radio', { name: /Balanced/ });
  expect([strict(), balanced.checked]).toEqual([null, true]);
});

it('locks a site by its link’s key when asked to', async () => {
  const fake = await given('practice');
  await open(Page, '/containers/new?folder=%2Fhome%2Fyou%2Fmy-site');
  await pass(1_000);
  await click('private');
  await click('publish');
  await pass(10);
  expect(asked(fake, 'publish')).toMatchObject([{ level: 'balanced', private: true }]);
});

it('offers a direct connection only when asked to, in red, and never of what is private', async () => {
  const fake = await given('practice');
  await open(Page, '/containers/new?folder=%2Fhome%2Fyou%2Fmy-site');
  await pass(1_000);
  expect(shows('direct-warning')).toBe(false);
  await click('direct');
  expect(words('direct-warning')).toContain('not private');
  await click('private');
  expect([shows('direct'), shows('direct-warning')]).toEqual([false, false]);
  await click('publish');
  await pass(10);
  await click('private');
  await click('publish');
  await pass(10);
  expect(asked(fake, 'publish')).toMatchObject([
    { private: true, direct: false },
    { private: false, direct: true },
  ]);
});

it('publishes what was asked for, shows progress, and goes to its page', async () => {
  const fake = await given('practice', 20);
  fake.world.strict = true;
  await open(Page, '/containers/new?folder=%2Fhome%2Fyou%2Fmy-site');
  await pass(1_000);
  await fireEvent.click(within(screen.getByTestId('copies')).getByLabelText('3'));
  await fireEvent.click(within(screen.getByTestId('level')).getByRole('radio', { name: /Strict/ }));
  await type('name', 'News');
  await pass(1_000);
  await click('publish');
  await pass(380);
  expect(words('progress')).toMatch(/MB of 3\.4 MB/);
  expect(screen.getByRole<HTMLProgressElement>('progressbar').value).toBeGreaterThan(0);
  await pass(2_000);
  expect(asked(fake, 'publish')).toEqual([
    {
      ask: 'publish',
      folder: '/home/you/my-site',
      name: 'News',
      requirements: { cpu_cores: 0.1, memory_mb: 64, storage_mb: 15, bandwidth_mbps: 1 },
      instances: 3,
      level: 'strict',
      private: false,
      direct: false,
    },
  ]);
  expect(goto).toHaveBeenLastCalledWith('/containers/detail?id=c1');
});

it('shows why publishing failed and lets it be tried again', async () => {
  const fake = await given('practice');
  await open(Page, '/containers/new?folder=%2Fhome%2Fyou%2Fmy-site');
  await pass(1_000);
  fake.gone = true;
  await click('publish');
  expect(
    screen
      .getAllByTestId('fault')
      .map((fault) => fault.textContent)
      .join(),
  ).toContain('the control socket is closed');
  fake.gone = false;
  expect(publish().disabled).toBe(false);
});

it('tells when the allocator can’t be asked', async () => {
  await given('away');
  await open(Page, '/containers/new');
  expect(within(screen.getByTestId('fit')).getByTestId('waiting')).toBeTruthy();
  await pass(500);
  expect(within(screen.getByTestId('fit')).getByTestId('fault').dataset.kind).toBe('allocator_away');
  expect(publish().disabled).toBe(true);
});
