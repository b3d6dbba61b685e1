// The network page: whether addresses can be opened and why not, the proxy, and links.
import { fireEvent, screen, within } from '@testing-library/svelte';
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

it('grades what each who might look could learn, at the level chosen', async () => {
  const fake = await given('community');
  fake.world.strict = true;
  await open(Page, '/network');
  const grade = (of: string) => screen.getByTestId(`view-${of}`).dataset.grade;
  expect([grade('host'), grade('global')]).toEqual(['fair', 'none']);
  expect(words('view-global')).toContain('None');
  expect(words('privacy-numbers')).toContain('32 to 128, an estimate');
  expect(words('privacy-numbers')).toContain('not measured with the cover that is sent');
  expect(shows('privacy-test')).toBe(false);
  await fireEvent.click(within(screen.getByTestId('privacy-level')).getByRole('radio', { name: /Strict/ }));
  expect(grade('global')).toBe('weak');
  expect(words('privacy-numbers')).toContain('5.1 bits');
});

it('says in a test fog that there is no privacy, for everyone who might look', async () => {
  await given('practice');
  await open(Page, '/network');
  expect(words('privacy-test')).toContain('No privacy here');
  const views = ['host', 'mix', 'allocator', 'owner', 'global'].map((of) => screen.getByTestId(`view-${of}`).dataset.grade);
  expect(views).toEqual(['none', 'none', 'none', 'none', 'none']);
});

it('marks what is verified, and tells of copies that were caught', async () => {
  const fake = await given('community');
  await open(Page, '/network');
  expect(screen.getAllByTestId('trust').map((mark) => mark.textContent)).toEqual(['Verified', 'Not verified', 'Not checked yet']);
  expect(words('visits')).toContain('1 copy was caught');
  for (const visit of fake.world.visits) visit.trust = 'broken';
  await pass(2_100);
  expect(words('visits')).toContain('No copy gives what its publisher signed');
});

it('shows in red a visit that is direct, beside one by mixes of the same address', async () => {
  const fake = await given('community');
  await open(Page, '/network');
  expect(shows('direct')).toBe(false);
  const [first] = fake.world.visits;
  if (first) fake.world.visits.push({ ...first, direct: 'none' });
  await pass(2_100);
  expect(screen.getAllByTestId('direct')).toHaveLength(1);
  expect(words('direct')).toMatch(/you and the host see each other’s address.*None/s);
  expect(screen.getByTestId('direct').className).toContain('text-danger');
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
