// The network page: whether addresses can be opened and why not, the proxy, and links.
import { expect, it } from 'vitest';
import { asked, click, given, open, pass, shows, type, words } from '$test/given';
import Page from './+page.svelte';

it('says how many mixes are usable, how many are needed, and why it waits', async () => {
  const fake = await given('community');
  fake.world.usable = 3;
  await open(Page, '/network');
  expect(words('mixes')).toBe('3 usable, 7 needed');
  expect(words('network-waiting')).toContain('Waiting for mixes: 3 of 7 are usable.');
  fake.world.usable = 9;
  await pass(2_100);
  expect(shows('network-waiting')).toBe(false);
});

it('says what the operator of the fog’s relay sees, if there is one', async () => {
  const fake = await given('community');
  await open(Page, '/network');
  expect(shows('fog-relay')).toBe(false);
  if (fake.world.fog) fake.world.fog.relay = '192.0.2.10:3340';
  await pass(2_100);
  expect(words('fog-relay')).toContain('192.0.2.10:3340');
  expect(words('fog-relay')).toContain('sees which devices talk with each other');
});

it('gives the proxy and a command to copy', async () => {
  const fake = await given('community');
  await open(Page, '/network');
  await click('copy-proxy');
  await click('copy-curl');
  expect(fake.copied).toEqual(['127.0.0.1:9250', 'curl --socks5-hostname 127.0.0.1:9250 http://….onion/']);
});

it('learns the way of a link without being in a fog, and refuses what is none', async () => {
  const fake = await given('new');
  await open(Page, '/network');
  await type('visit-link', 'http://example.onion');
  await click('visit');
  expect(words('fault')).toContain('This is no fogbank:// link');
  await type('visit-link', ' fogbank://abc.onion?via=x ');
  await click('visit');
  await pass(10);
  expect(shows('fault')).toBe(false);
  expect(asked(fake, 'visit').at(-1)).toEqual({ ask: 'visit', link: 'fogbank://abc.onion?via=x' });
  expect(words('visits')).toContain('abc.onion');
});
