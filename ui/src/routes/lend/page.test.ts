// This device: lending begins with consent and ends by a click; pause, drain, invites, leaving.
import { fireEvent, screen } from '@testing-library/svelte';
import { expect, it } from 'vitest';
import { goto } from '$app/navigation';
import { asked, click, given, open, pass, shows, type, words } from '$test/given';
import Page from './+page.svelte';

const on = (testid: string) => screen.getByTestId(testid).getAttribute('aria-checked') === 'true';

it('lends only after consent, and stops by one click', async () => {
  const fake = await given('practice');
  await open(Page, '/lend');
  expect(on('lend')).toBe(false);
  await click('lend');
  await pass(100);
  expect(asked(fake, 'lend')).toEqual([]);
  expect(screen.getByTestId<HTMLButtonElement>('confirm-consent').disabled).toBe(true);
  await click('consent');
  await click('confirm-consent');
  await pass(100);
  expect(on('lend')).toBe(true);
  expect(words('why')).toBe('Lends what is free.');
  await click('lend');
  expect(on('lend')).toBe(false);
  expect(asked(fake, 'lend')).toEqual([
    { ask: 'lend', on: true, direct: false },
    { ask: 'lend', on: false },
  ]);
});

it('lets visitors come directly only when that is said, each time, and shows it in red', async () => {
  const fake = await given('practice');
  await open(Page, '/lend');
  await click('lend');
  await pass(100);
  await click('consent-direct');
  await click('consent');
  await click('confirm-consent');
  await pass(100);
  expect(words('lends-directly')).toContain('see this device’s address');
  await click('lend');
  await click('lend');
  await pass(100);
  expect(screen.getByTestId<HTMLInputElement>('consent-direct').checked).toBe(false);
  await click('consent');
  await click('confirm-consent');
  await pass(100);
  expect(shows('lends-directly')).toBe(false);
  expect(asked(fake, 'lend').at(-1)).toEqual({ ask: 'lend', on: true, direct: false });
});

it('pauses, resumes and drains, and says why it is closed', async () => {
  await given('community');
  await open(Page, '/lend');
  expect(words('running')).toContain('Ready');
  await click('pause');
  expect([words('why'), words('pause')]).toEqual(['Paused by its owner.', 'Resume']);
  await click('pause');
  await click('drain');
  expect([words('why'), words('drain')]).toEqual(['Being drained: its owner asked.', 'Take part again']);
});

it('leaves the switch as it was when it was refused', async () => {
  const fake = await given('community');
  await open(Page, '/lend');
  fake.gone = true;
  await click('relay');
  expect(on('relay')).toBe(true);
  expect(words('fault')).toContain('control socket is closed');
});

it('makes a ticket for the chosen roles, to be copied; another choice takes it away', async () => {
  const fake = await given('practice');
  await open(Page, '/lend');
  await click('invite-publish');
  await click('make-ticket');
  expect(asked(fake, 'invite')).toEqual([{ ask: 'invite', roles: ['contribute', 'publish'], valid_s: 86_400 }]);
  await click('copy-ticket');
  expect(fake.copied).toEqual([words('new-ticket')]);
  await click('invite-administer');
  expect(shows('new-ticket')).toBe(false);
});

it('invites only as administrator', async () => {
  const fake = await given('practice');
  if (fake.world.fog) fake.world.fog.roles = ['publish'];
  await pass(1_100);
  await open(Page, '/lend');
  expect(shows('make-ticket')).toBe(false);
  expect(screen.getByTestId<HTMLButtonElement>('lend').disabled).toBe(true);
});

it('asks before it leaves, and says that a practice fog ends', async () => {
  const fake = await given('practice');
  await open(Page, '/lend');
  await click('leave');
  await pass(100);
  expect(screen.getByRole('alertdialog').textContent).toContain('ends as a whole');
  expect(asked(fake, 'leave')).toEqual([]);
  await click('confirm-leave');
  await pass(100);
  expect(fake.world.fog).toBeNull();
  expect(goto).toHaveBeenLastCalledWith('/');
});

it('tells a coordinator that it can’t leave its fog', async () => {
  const fake = await given('community');
  if (fake.world.fog) fake.world.fog.allocator = true;
  await pass(1_100);
  await open(Page, '/lend');
  expect(shows('leave')).toBe(false);
  expect(words('cannot-leave')).toContain('depend on it');
});

it('offers publishers to stop what they put online before they leave', async () => {
  const fake = await given('community');
  await open(Page, '/lend');
  const { containers } = fake.world;
  const running = containers.map((c) => c.container).filter((c) => c.state !== 'stopped');
  await click('leave');
  await pass(100);
  const question = screen.getByRole('alertdialog').textContent;
  expect(question).toContain('no longer stop, delete or renew it');
  expect(question).toContain(`Stop ${running.length} containers that run first`);
  await click('confirm-leave');
  await pass(100);
  expect(asked(fake, 'stop')).toEqual(running.map(({ id }) => ({ ask: 'stop', id })));
  expect(asked(fake, 'leave')).toHaveLength(1);
});

it('lets publishers leave without stopping, and with the allocator away', async () => {
  const fake = await given('community');
  await open(Page, '/lend');
  await click('leave');
  await pass(100);
  await click('leave-stops');
  await click('cancel');
  await pass(500);
  if (fake.world.fog) fake.world.fog.connected = false;
  await click('leave');
  await pass(100);
  expect(screen.getByRole('alertdialog').textContent).toContain('not known now');
  await click('confirm-leave');
  await pass(100);
  expect([asked(fake, 'stop'), asked(fake, 'leave')]).toEqual([[], [{ ask: 'leave' }]]);
});

it('shows a relay whose month is used up as on, says that it rests, and turns it off', async () => {
  const fake = await given('community');
  Object.assign(fake.world.relay, { state: 'not_granted' });
  await open(Page, '/lend');
  expect([on('relay'), words('relay-rests').includes('does not let this device relay')]).toEqual([true, true]);
  Object.assign(fake.world.relay, { state: 'month_used', month_used_mb: 50_000 });
  await pass(3_000);
  expect(words('relay-rests')).toContain('rests until next month');
  expect(words('relayed')).toBe('50 GB relayed this month.');
  await click('relay');
  expect([on('relay'), shows('relay-rests')]).toEqual([false, false]);
  expect(fake.world.relay.on).toBe(false);
});

it('sets the relay’s limits: an empty field is none, and what is no number is refused', async () => {
  const fake = await given('community');
  await open(Page, '/lend');
  const set = () => screen.getByTestId<HTMLButtonElement>('limits-set');
  const value = (testid: string) => screen.getByTestId<HTMLInputElement>(testid).value;
  expect([value('limit-rate'), value('limit-month'), set().disabled]).toEqual(['1000', '50', true]);
  await type('limit-rate', '-5');
  expect(set().disabled).toBe(true);
  await type('limit-rate', '2000');
  await type('limit-month', '');
  await fireEvent.submit(set().closest('form') as HTMLFormElement);
  await pass(100);
  expect(asked(fake, 'relay_limits')).toEqual([{ ask: 'relay_limits', rate_kb_s: 2000, month_gb: null }]);
  expect(fake.world.relay).toMatchObject({ rate_kb_s: 2000, month_gb: null });
  expect(set().disabled).toBe(true);
});
