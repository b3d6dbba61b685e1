// What the four ways of the first start ask of the node, in order, and where they lead.
import type { ControlRequest } from '$host';

export const WAYS = ['practice', 'start', 'join', 'lend'] as const;
export type WayName = (typeof WAYS)[number];

export interface Answers {
  name: string;
  test: boolean;
  ticket: string;
  consents: boolean;
}

/** Whether all that a way needs is there. */
export function complete(way: WayName, answers: Answers): boolean {
  if (way === 'practice') return true;
  if (way === 'start') return answers.name.trim() !== '';
  return answers.ticket.trim() !== '' && (way === 'join' || answers.consents);
}

/** The first request brings the node into a fog; later ones may fail without undoing that. */
export function requests(way: WayName, answers: Answers): ControlRequest[] {
  const ticket = answers.ticket.trim();
  switch (way) {
    case 'practice':
      return [{ ask: 'practice' }];
    case 'start':
      return [{ ask: 'start_fog', name: answers.name.trim(), test: answers.test }];
    case 'join':
      return [{ ask: 'join', ticket }];
    case 'lend':
      return [
        { ask: 'join', ticket },
        { ask: 'lend', on: true },
        { ask: 'relay', on: true },
      ];
  }
}

export const leadsTo = (way: WayName): string => (way === 'lend' ? '/lend' : '/containers');
