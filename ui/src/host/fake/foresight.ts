// What the fake fog says of placement and of the coming week.
import type { ExplainedDto, RehearsedDto } from '../bindings';
import type { World } from './world';

export const explained = (world: World): ExplainedDto => ({
  plan: 'on 2 devices at cost 5.10 (the optimum); limited by the number of copies',
  load: null,
  devices: world.devices.slice(0, 2).map((d) => ({ name: d.name, runs: true, words: 'chosen: needed for the number of copies' })),
  others: [['cost more than they are worth', world.devices.length - 2]],
  remedies: [],
});

export const rehearsed = (world: World): RehearsedDto => ({
  devices: world.devices.length,
  watched_days: 12.4,
  outlooks: [1, 2, 3].map((copies) => ({
    copies,
    availability: 1 - 0.02 ** copies,
    within: 0.001,
    failed: 0.6 * 0.02 ** copies,
    losses_a_day: 1.3 * copies,
    longest_outage_s: Math.round(4_000 / copies),
  })),
});
