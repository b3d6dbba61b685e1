// The table of devices, and that others than administrators are told instead of asked for.
import { screen, within } from '@testing-library/svelte';
import { expect, it } from 'vitest';
import { asked, given, open, pass, words } from '$test/given';
import Page from './+page.svelte';

it('lists devices with what is free, and who is away', async () => {
  await given('community');
  await open(Page, '/devices');
  const rows = within(screen.getByTestId('devices')).getAllByRole('row').slice(1);
  expect(rows).toHaveLength(9);
  expect(screen.getByText('9 devices, 8 connected')).toBeTruthy();
  expect(rows[7]?.textContent).toMatch(/attic.*Away.*Not connected/s);
});

it('does not ask without the right', async () => {
  const fake = await given('community');
  if (fake.world.fog) fake.world.fog.roles = ['publish'];
  await pass(1_100);
  await open(Page, '/devices');
  expect(words('fault')).toContain('Only administrators');
  expect(asked(fake, 'devices')).toEqual([]);
});
