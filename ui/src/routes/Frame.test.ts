// The frame: marks that must be seen everywhere, the connection and why it is away, navigation by what one may do.
import { createRawSnippet } from 'svelte';
import { expect, it, onTestFinished } from 'vitest';
import { node } from '$live/node.svelte';
import { given, open, pass, shows, words } from '$test/given';
import Frame from './Frame.svelte';
import Startup from './Startup.svelte';

const children = createRawSnippet(() => ({ render: () => '<p>page</p>' }));
const frame = () => open(Frame, '/containers', { children });

it('marks a practice fog and a test fog, and no other', async () => {
  await given('practice');
  await frame();
  expect(words('privacy-mark')).toContain('Practice fog: no privacy');
  await given('away');
  expect(words('privacy-mark')).toContain('Test fog: weak privacy');
  await given('community');
  expect(shows('privacy-mark')).toBe(false);
});

it('says that the allocator is away, and why', async () => {
  await given('away');
  await frame();
  expect(words('connection')).toBe('Allocator away');
  expect(words('allocator-away')).toContain('No answer for 40 s');
});

it('tells when the node is gone, and recovers', async () => {
  const fake = await given('community');
  await frame();
  expect(words('connection')).toBe('Connected');
  fake.gone = true;
  await pass(1_100);
  expect(words('connection')).toBe('Node does not answer');
  expect(words('fault')).toContain('control socket is closed');
  fake.gone = false;
  await pass(1_100);
  expect(words('connection')).toBe('Connected');
  expect(shows('fault')).toBe(false);
});

it('shows devices to administrators only', async () => {
  const fake = await given('community');
  await frame();
  expect(shows('nav-devices')).toBe(true);
  if (fake.world.fog) fake.world.fog.roles = ['publish'];
  await pass(1_100);
  expect([shows('nav-devices'), shows('nav-containers'), shows('nav-lend'), shows('nav-network')]).toEqual([
    false,
    true,
    true,
    true,
  ]);
});

it('says why the node did not start', async () => {
  await given('broken');
  await open(Startup, '/', { startup: { state: 'failed', what: 'the profile is damaged', todo: 'Restore it from a backup.' } });
  expect(words('startup-failed')).toContain('The profile is damaged.');
  expect(words('startup-failed')).toContain('Restore it from a backup.');
  expect(document.body.textContent).not.toMatch(/tried again/);
});

it('asks until the node has started or failed, which is for good', async () => {
  const fake = await given('broken');
  const outcome = fake.starts;
  fake.starts = { state: 'starting' };
  let asked = 0;
  fake.startup = async () => (asked++, fake.starts);
  onTestFinished(node.open());
  await pass(700);
  expect([node.startup.state, asked]).toEqual(['starting', 3]);
  fake.starts = outcome;
  await pass(2_000);
  expect([node.startup.state, asked]).toEqual(['failed', 4]);
});
