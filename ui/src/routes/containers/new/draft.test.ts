// What a draft proposes, and what it leaves alone once a person has set it.
import { expect, it } from 'vitest';
import { given, pass } from '$test/given';
import { Draft, faultOfName, storageFor } from './draft.svelte';

it('proposes storage for the copies of a folder, at least 10 MB', () => {
  expect([storageFor(0, 2), storageFor(3_410_000, 2), storageFor(3_410_000, 3), storageFor(4e9, 1)]).toEqual([10, 10, 15, 4001]);
});

it('takes names of 1 to 64 characters', () => {
  expect([' ', 'a', '😀'.repeat(64), 'x'.repeat(65)].map(faultOfName)).toEqual(['empty', null, null, 'long']);
});

it('proposes name and storage until they are set by hand', async () => {
  await given('practice');
  const draft = new Draft();
  await Promise.all([draft.choose('/home/you/huge'), pass(1)]);
  expect([draft.name, draft.amounts.storage_mb]).toEqual(['huge', 8002]);
  draft.setCopies(3);
  expect(draft.amounts.storage_mb).toBe(12_003);
  draft.setName('Mine');
  draft.setAmount('storage_mb', 40);
  await Promise.all([draft.choose('/home/you/my-site'), pass(1)]);
  draft.setCopies(5);
  expect([draft.name, draft.amounts.storage_mb]).toEqual(['Mine', 40]);
});

it('keeps the answer about the folder that was chosen last', async () => {
  await given('practice');
  const draft = new Draft();
  const first = draft.choose('/home/you/empty');
  const second = draft.choose('/home/you/my-site');
  await Promise.all([first, second, pass(1)]);
  expect(draft.folder).toMatchObject({ is: 'ready', value: { name: 'my-site' } });
});
