// The fake's privacy meter: shapes and words of the real one, with its rules only as far as pages show them. It measures nothing.
import type { AdversaryDto, GradeDto, LevelDto, PrivacyDto } from '../bindings';
import type { World } from './world';

export function privacy(world: World): PrivacyDto {
  const test = world.fog?.test ?? false;
  const least = Math.max(1, Math.floor(world.clients / 2));
  const crowd: GradeDto = least < 2 ? 'none' : least < 16 ? 'weak' : least < 128 ? 'fair' : 'good';
  const levels = (['fast', 'balanced', 'strict'] as const).map((level) => ({
    level,
    offered: level !== 'strict' || world.strict,
    cover_bytes_s: level === 'strict' && world.strict ? 209_000 : 0,
    packet_bits: level === 'fast' ? 0 : level === 'strict' && world.strict ? 5.1 : null,
    pages_found: level === 'strict' && world.strict ? 0.001 : 1,
    mix_both_ends: 0.3,
    owner_both_ends: 0.3,
    views: views(test, crowd, least, level, world.strict),
  }));
  const mixes = world.usable;
  return { test, mixes, owners: test ? 1 : Math.min(mixes, 6), users_at_least: least, users_at_most: 2 * world.clients, levels };
}

function views(test: boolean, crowd: GradeDto, least: number, level: LevelDto, strict: boolean) {
  const hidden = level === 'strict' && strict;
  const said: [AdversaryDto, GradeDto, string][] = [
    [
      'host',
      crowd,
      `It sees a visitor, not your address: one of ${least} or more people who are online. It reads what you send it.`,
    ],
    [
      'mix',
      'weak',
      'It knows your address and when you are online, but not what you open. In 30 % of visits it stands beside the host too, and can try to match the two by timing.',
    ],
    [
      'allocator',
      'weak',
      'It knows who hosts what, and does not see what you open. It alone signs the list of relays: you trust it not to fill that with its own.',
    ],
    [
      'owner',
      'none',
      'Of the 6 people whose relays you use, the best placed one stands at both ends of 30 % of visits, and can try to match the two by timing.',
    ],
    [
      'global',
      hidden ? 'weak' : 'none',
      hidden
        ? 'Sees the same traffic whether you load a page or not.'
        : 'Finds which page you load, as surely as over Tor. Only single short messages are harder to follow.',
    ],
  ];
  return said.map(([adversary, grade, words]) => ({
    adversary,
    grade: test ? ('none' as const) : grade,
    words,
  }));
}
