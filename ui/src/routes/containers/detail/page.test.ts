// One container: what is shown of it, copying, stopping and starting again, and that deleting asks first.
import { fireEvent, screen, within } from '@testing-library/svelte';
import { expect, it, vi } from 'vitest';
import { goto } from '$app/navigation';
import { asked, click, given, open, pass, shows, words } from '$test/given';
import Page from './+page.svelte';

const state = () => screen.getByTestId('state').dataset.state;
const steps = () =>
  within(screen.getByTestId('timeline'))
    .getAllByTestId('step')
    .map((step) => step.dataset.state);

it('shows state, address, copies, holders and history, newest first', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  const known = fake.world.containers.find((c) => c.container.id === 'c3');
  expect(screen.getByRole('heading', { level: 1 }).textContent).toBe('Harbour Street news');
  expect([state(), words('state')]).toEqual(['running', 'Running']);
  expect(words('onion')).toBe(known?.container.onion);
  expect(words('link')).toMatch(/^fogbank:\/\/.+\.onion\?via=/);
  expect(steps()).toEqual(['running', 'starting', 'allocating', 'pending']);
  expect(screen.getByTestId('timeline').querySelectorAll('time')).toHaveLength(4);
  expect(screen.getAllByTestId('instance').map((i) => i.textContent)).toEqual([
    expect.stringMatching(/this laptop.*Ready/s),
    expect.stringMatching(/kitchen laptop.*Ready/s),
  ]);
  expect(words('facts')).toContain('24 files, 812 kB');
  expect(words('facts')).toContain('2 other devices');
});

it('copies the address and the link, and confirms each', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  await click('copy-onion');
  expect(fake.copied).toEqual([words('onion')]);
  expect(words('copied')).toBe('Copied');
  await pass(3_000);
  await click('copy-link');
  expect(fake.copied.at(-1)).toBe(words('link'));
});

it('offers the link of a private site first, and no copy of its address alone', async () => {
  const fake = await given('community');
  const known = fake.world.containers.find((c) => c.container.id === 'c3');
  if (known) {
    known.container.private = true;
    known.link += '&key=qx7c2nveh5';
  }
  await open(Page, '/containers/detail?id=c3');
  expect(shows('copy-onion')).toBe(false);
  expect(words('link-hint')).toContain('holds the key');
  const order = screen.getByTestId('link').compareDocumentPosition(screen.getByTestId('onion'));
  expect(order & Node.DOCUMENT_POSITION_FOLLOWING).toBeTruthy();
  await click('copy-link');
  expect(fake.copied.at(-1)).toMatch(/&key=/);
});

it('says in red that a container offers direct connections', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  expect(shows('direct')).toBe(false);
  const known = fake.world.containers.find((c) => c.container.id === 'c3');
  if (known) known.container.direct = true;
  await pass(1_100);
  expect(words('direct')).toContain('see each other’s address');
});

it('stops and starts again', async () => {
  await given('community');
  await open(Page, '/containers/detail?id=c3');
  expect(shows('restart')).toBe(false);
  await click('stop');
  expect(state()).toBe('stopping');
  expect([shows('stop'), shows('restart')]).toEqual([false, false]);
  await pass(3_000);
  expect(state()).toBe('stopped');
  expect(words('ready')).toBe('0 of 2 copies ready');
  await click('restart');
  await pass(6_000);
  expect(state()).toBe('running');
  expect(words('ready')).toBe('2 of 2 copies ready');
});

it('puts a new folder online, shows how far it is, and goes back', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  expect([shows('update-folder'), shows('update-back'), shows('update-state')]).toEqual([true, false, false]);
  await click('update-folder');
  await pass(200);
  expect(asked(fake, 'update')).toEqual([{ ask: 'update', id: 'c3', folder: '/home/you/my-site' }]);
  expect(screen.getByTestId('update-state').dataset.state).toBe('coming');
  await pass(2_600);
  expect(words('update-state')).toContain('1 of 2 copies');
  await pass(3_000);
  expect([shows('update-state'), shows('update-back')]).toEqual([false, true]);
  await click('update-back');
  await pass(200);
  expect(asked(fake, 'update').at(-1)).toEqual({ ask: 'update', id: 'c3' });
  expect(screen.getByTestId('update-state').dataset.state).toBe('coming');
});

it('says why an update was given up', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  const known = fake.world.containers.find((c) => c.container.id === 'c3');
  const why = {
    revision: 2,
    state: 'given_up',
    words: 'it did not come up on 3 devices',
    ready: 0,
    wanted: 2,
    began_ms: 1,
    bytes: 1,
  };
  if (known) known.update = why;
  await pass(1_100);
  expect(words('update-state')).toContain('goes on');
  expect(words('update-state')).toContain('It did not come up on 3 devices.');
});

it('asks before it deletes, and says that the address is lost', async () => {
  vi.mocked(goto).mockClear();
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  await click('delete');
  await pass(100);
  expect(asked(fake, 'delete')).toEqual([]);
  expect(screen.getByRole('alertdialog').textContent).toMatch(/onion address is lost for ever/);
  await click('cancel');
  await pass(500);
  expect(shows('confirm-delete')).toBe(false);
  expect(asked(fake, 'delete')).toEqual([]);
  await click('delete');
  await pass(100);
  await click('confirm-delete');
  await pass(100);
  expect(asked(fake, 'delete')).toEqual([{ ask: 'delete', id: 'c3' }]);
  expect(goto).toHaveBeenCalledWith('/containers');
});

it('keeps the question open and shows why when deleting fails', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  await click('delete');
  await pass(100);
  if (fake.world.fog) fake.world.fog.connected = false;
  await click('confirm-delete');
  await pass(100);
  expect(within(screen.getByRole('alertdialog')).getByTestId('fault').dataset.kind).toBe('allocator_away');
});

it('stays open until deleting has come to an end', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  await click('delete');
  await pass(100);
  const answer = fake.call;
  let fail: () => void = () => {};
  fake.call = (request) =>
    request.ask === 'delete'
      ? new Promise(
          (resolve) => (fail = () => resolve({ reply: 'failed', value: { kind: 'failed', what: 'the disk is full', todo: '' } })),
        )
      : answer(request);
  await click('confirm-delete');
  expect(screen.getByTestId<HTMLButtonElement>('cancel').disabled).toBe(true);
  await fireEvent.keyDown(screen.getByRole('alertdialog'), { key: 'Escape' });
  await pass(500);
  expect(shows('confirm-delete')).toBe(true);
  fail();
  await pass(100);
  expect(within(screen.getByRole('alertdialog')).getByTestId('fault').textContent).toContain('The disk is full.');
  await fireEvent.keyDown(screen.getByRole('alertdialog'), { key: 'Escape' });
  await pass(500);
  expect(shows('confirm-delete')).toBe(false);
});

it('says when there is no such container', async () => {
  await given('community');
  await open(Page, '/containers/detail?id=c99');
  expect(screen.getByTestId('fault').dataset.kind).toBe('not_found');
  expect(words('fault')).toContain('You have no such container.');
  expect(shows('delete')).toBe(false);
});

it('shows how much a container is asked whose copies follow load, and nothing of others', async () => {
  const fake = await given('community');
  await open(Page, '/containers/detail?id=c3');
  expect([shows('load'), asked(fake, 'load').length]).toEqual([false, 0]);
  await fake.call({ ask: 'scale', id: 'c3', instances: 2, most: 6 });
  await pass(1_100);
  expect(words('load-why')).toBe('2 copies wanted, of 2 to 6: Load is as it should be.');
  expect(words('load')).toContain('35 %');
  const curve = () => screen.getByTestId('load-curve').querySelectorAll('rect').length;
  expect(curve()).toBe(48);
  await fireEvent.click(within(screen.getByTestId('load-span')).getByLabelText('The last 30 days'));
  await pass(1);
  expect(asked(fake, 'load').at(-1)).toEqual({ ask: 'load', id: 'c3', span: 'month' });
  expect(curve()).toBe(60);
  await fake.call({ ask: 'scale', id: 'c3', instances: 2 });
  await pass(1_100);
  expect(shows('load')).toBe(false);
});
