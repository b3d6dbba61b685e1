// Which containers of the list are shown. Pure.
import type { ContainerDto } from '$host';

export type Filter = 'all' | 'running' | 'stopped';

const AT_REST = ['stopping', 'stopped', 'failed'];

/** Whether it is online or on its way there. */
export const lives = (container: ContainerDto): boolean => !AT_REST.includes(container.state);

export function filtered(all: ContainerDto[], filter: Filter, search: string): ContainerDto[] {
  const wanted = search.trim().toLocaleLowerCase();
  return all
    .filter((c) => filter === 'all' || lives(c) === (filter === 'running'))
    .filter((c) => wanted === '' || c.name.toLocaleLowerCase().includes(wanted) || c.onion.includes(wanted));
}
